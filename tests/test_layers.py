"""Imports point down only, nothing imports TensorFlow too early, and modules stay short."""
import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tfdepth"
# From the top to the bottom; a part may import itself and what stands below it.
LAYERS = ("tuning", "training", "prediction", "export", "evaluation", "inference", "weights",
          "runs", "systems", "networks", "losses", "data", "geometry", "console", "structures",
          "stopping", "heap", "tracing", "files", "checks")
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].replace(".py", "")


def imported_parts(path):
    """The parts of tfdepth that the module at `path` imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "tfdepth":
            names.update(f"tfdepth.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("tfdepth.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    part = part_of(path)
    if part == "__init__":
        assert not imported_parts(path)
        return
    assert part in LAYERS, f"{part} has no place in LAYERS"
    allowed = set(LAYERS[LAYERS.index(part):])
    assert imported_parts(path) <= allowed


def test_modules_are_short_and_the_loop_names_no_method():
    for path in MODULES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
    for path in (*(PACKAGE / "training").glob("*.py"), PACKAGE / "inference.py",
                 PACKAGE / "systems" / "base.py", PACKAGE / "runs" / "config.py"):
        text = path.read_text(encoding="utf-8").lower()
        methods = ("sfmlearner", "monodepth", "hma_depth", "idce")
        assert not [name for name in methods if name in text], path


@pytest.mark.parametrize("statement", [
    "import tfdepth, tfdepth.console, tfdepth.checks",
    "import tfdepth.data.datasets, tfdepth.data.check, tfdepth.evaluation.odometry",
])
def test_no_tensorflow(statement):
    check = f"{statement}; import sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
