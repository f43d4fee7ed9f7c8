"""Files of results, written whole or not at all, and where the cache is."""
import os
import pathlib
from typing import Union

Path = Union[str, pathlib.Path]


def cache_path(*names: str) -> str:
    """A path below tfdepth's cache, $XDG_CACHE_HOME/tfdepth or ~/.cache/tfdepth; makes nothing."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return os.path.join(os.path.expanduser(base), "tfdepth", *names)


def write_atomically(path: Path, content: Union[str, bytes]):
    """Writes `content` to a temporary neighbour of `path` and renames it to `path`.

    A reader sees the old file or the new one, never half of it. Text is written as UTF-8 with
    "\\n" line ends. Missing folders are made.

    Raises:
      OSError: as `open` does; the temporary file is gone then.
    """
    path = pathlib.Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # still there only when something failed
