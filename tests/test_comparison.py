"""Two runs side by side by one command: the same tables, and figure 1 of the attention maps."""
import json
import shutil

import evaluate
import pytest

from data_folders import write_kitti, write_poses
from tfdepth.data.config import DataConfig
from tfdepth.evaluation import odometry_report
from tfdepth.runs.config import ExperimentConfig, TrainConfig
from tfdepth.systems import SYSTEMS
from tfdepth.training.loop import train
from toy_system import Toy, ToyConfig


@pytest.fixture(name="runs", scope="module")
def _runs(tmp_path_factory):
    """Two toy runs of different seeds on a drive of 240 m."""
    folder = tmp_path_factory.mktemp("runs")
    root = write_kitti(folder / "kitti", count=13)
    write_poses(root / "poses" / "00.txt", [(0, 0, 20 * k) for k in range(13)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SYSTEMS, ToyConfig, Toy)
        for seed, name in enumerate(("baseline", "attention")):
            train(ExperimentConfig(ToyConfig(), DataConfig("kitti_odometry", str(root),
                                                           size=(16, 24)),
                                   train=TrainConfig(steps=2, batch_size=2, seed=seed)),
                  folder / name)
        yield folder / "baseline", folder / "attention"


def test_one_command_draws_figure_1(runs, tmp_path, monkeypatch):
    drawn = {}
    draw = odometry_report.draw_errors_by_length

    def remember(errors, title):
        drawn[next(iter(errors.values())).protocol] = errors
        return draw(errors, title)

    monkeypatch.setattr(odometry_report, "draw_errors_by_length", remember)
    command = [f"--workdir={runs[0]},{runs[1]}", f"--output={tmp_path / 'figure1'}",
               "--protocol=odometry_attention,odometry_attention_25"]
    assert evaluate.main(command) == 0
    scores = json.loads((tmp_path / "figure1" / "evaluation.json").read_text())
    assert set(scores["checkpoint_step"]) == {"baseline", "attention"}
    for protocol, lengths in (("odometry_attention", [100, 200]),
                              ("odometry_attention_25", [25, 50, 75, 100, 125, 150, 175, 200])):
        rows = scores["protocols"][protocol]
        assert set(rows) == {"mean motion", "baseline", "attention"} == set(drawn[protocol])
        assert rows["baseline"]["translation_percent"] != rows["attention"]["translation_percent"]
        for errors in drawn[protocol].values():
            assert [each.length for each in errors.per_length if each.num_segments] == lengths
        assert (tmp_path / "figure1" / "pictures" / f"{protocol}-00-image_0.png").stat().st_size > (
            10_000)

    # alone each has the numbers that it has beside the other
    assert evaluate.main([f"--workdir={runs[1]}", "--protocol=odometry_attention"]) == 0
    alone = json.loads((runs[1] / "evaluation.json").read_text())
    assert alone["protocols"]["odometry_attention"][Toy.__name__] == (
        scores["protocols"]["odometry_attention"]["attention"])


def test_default_protocols_and_pictures_of_both(runs, tmp_path):
    assert evaluate.main([f"--workdir={runs[0]},{runs[1]}", f"--output={tmp_path / 'both'}"]) == 0
    scores = json.loads((tmp_path / "both" / "evaluation.json").read_text())["protocols"]
    for protocol in ("odometry_sfmlearner", "view_synthesis"):
        assert {"baseline", "attention"} <= set(scores[protocol])
    assert scores["view_synthesis"]["baseline"] != scores["view_synthesis"]["attention"]
    assert {path.name for path in (tmp_path / "both" / "pictures").iterdir()} >= {
        "depth-baseline.png", "depth-attention.png", "trajectory-00-image_0.png"}


def test_runs_that_cannot_be_compared(runs, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(runs[0], other)
    config = json.loads((other / "config.json").read_text())
    config["data"]["test_drives"] = ["00"]
    (other / "config.json").write_text(json.dumps(config))
    for flags, words in (
            ([f"--workdir={runs[0]},{runs[1]}"], "needs --output"),
            ([f"--workdir={runs[0]},{runs[0]}", "--output=x"], "expected different runs"),
            ([f"--workdir={runs[0]},{other}", "--output=x"], "data.test_drives () and ('00',)"),
            ([f"--workdir={runs[0]}", "--protocol=odometry_kitti,odometri"], "Did you mean")):
        assert evaluate.main(flags) == 2
        message = capsys.readouterr().err
        assert words in message and message.count("\n") == 1, message


def test_runs_of_different_data_are_scored_on_others(runs, tmp_path, capsys):
    """No drive of other data counts as one of training, nor is a baseline fitted on what is scored."""
    other = tmp_path / "other"
    shutil.copytree(runs[0], other)
    config = json.loads((other / "config.json").read_text())
    config["data"].update(test_drives=["00"], dataset="folder", intrinsics="gone.json")
    (other / "config.json").write_text(json.dumps(config))
    root = write_kitti(write_kitti(tmp_path / "unseen", "01", count=8), "02", count=7)
    flags = [f"--workdir={runs[0]},{other}", f"--output={tmp_path / 'both'}",
             "--dataset=kitti_odometry", f"--data_root={root}"]
    sfm = "odometry_sfmlearner"
    for drives, names, baseline in ((), "01/image_0, 02/image_0", set()), (
            ["--drives=02"], "02/image_0", {"mean motion"}):
        assert evaluate.main([*flags, *drives, f"--protocol={sfm}"]) == 0
        report = json.loads((tmp_path / "both" / "evaluation.json").read_text())
        assert {row.split(",")[0] for row in report["protocols"][sfm]} == (
            {"baseline", "other"} | baseline)
        assert report["scored"][sfm].startswith(f"drives {names} of kitti_odometry, ")
        assert "training drives" not in capsys.readouterr().out

    config["data"]["crop"] = "kb"
    (other / "config.json").write_text(json.dumps(config))
    assert evaluate.main(flags) == 2
    assert "found data.crop (none) and kb" in capsys.readouterr().err


def test_a_new_report_takes_the_place_of_the_former_pictures(runs, tmp_path):
    output = tmp_path / "scores"
    pictures = lambda: {path.name for path in (output / "pictures").iterdir()}
    call = lambda *flags: evaluate.main([*flags, f"--output={output}"])
    assert call(f"--workdir={runs[0]},{runs[1]}", "--protocol=odometry_attention_25") == 0
    before = pictures()
    assert {"depth-baseline.png", "odometry_attention_25-00-image_0.png"} <= before
    for mine in ("mine.png", "depth-mine.png"):
        (output / "pictures" / mine).write_bytes(b"mine")
    (output / "keep.png").write_bytes(b"mine")
    report = json.loads((output / "evaluation.json").read_text())
    report["pictures"] += ["../keep.png", 7, "gone.png"]  # a damaged report reaches no other folder
    (output / "evaluation.json").write_text(json.dumps(report))
    assert call(f"--workdir={runs[0]}", "--protocol=view_synthesis") == 0
    assert pictures() == {"depth.png", "trajectory-00-image_0.png", "mine.png", "depth-mine.png"}
    assert (output / "keep.png").exists()
