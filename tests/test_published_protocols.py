"""tools/evaluate.py on published test sets and on anyone's files, in their exact layouts."""
import json
import shutil

import evaluate
import numpy as np
import pytest
from data_folders import write_kitti
from helpers import PARITY, needs_shared, parity
from kitti_raw_folder import write_kitti_raw
from PIL import Image
from scipy.io import savemat
from toy_system import ToyConfig

from tfdepth.data import images
from tfdepth.data.config import DataConfig
from tfdepth.data.kitti_splits import EIGEN_TEST
from tfdepth.evaluation.odometry import cut_snippets
from tfdepth.evaluation.published import published_rows
from tfdepth.evaluation.scored_frames import find_frames
from tfdepth.evaluation.snippet_files import write_snippets
from tfdepth.evaluation.trajectories import write_kitti_poses
from tfdepth.runs.config import ExperimentConfig, TrainConfig
from tfdepth.training.loop import train

DRIVE = "2011_09_26_drive_0048"   # all its 22 frames are in the Eigen test set
SIZE = (36, 120)


@pytest.fixture(scope="module")
def kitti(tmp_path_factory):
    return write_kitti_raw(tmp_path_factory.mktemp("raw"), drives=(DRIVE,), frames=27, size=SIZE)


def score(output, *flags):
    assert evaluate.main([*flags, f"--output={output}"]) == 0
    return json.loads((output / "evaluation.json").read_text())


def dense(frames, factor):
    """`factor` times the truth where it is known, else something positive."""
    truths = [frame.truth() for frame in frames]
    return np.stack([np.where(truth > 0, factor * truth, 7.0) for truth in truths])


def test_frames_are_those_of_the_split_in_its_order(kitti):
    expected = [f"{DRIVE}/image_02 frame {number}"
                for drive, number in EIGEN_TEST if drive == DRIVE]
    frames = find_frames("eigen", str(kitti), [DRIVE])
    assert [frame.name for frame in frames] == expected and len(frames) == 22
    assert frames[0].previous is None or "frame 0" not in frames[0].name
    image = images.read_image(
        str(kitti / "2011_09_26" / f"{DRIVE}_sync" / "image_02" / "data" / "0000000007.png"))
    seventh = next(frame for frame in frames if frame.name.endswith(" 7"))
    eighth = next(frame for frame in frames if frame.name.endswith(" 8"))
    np.testing.assert_array_equal(seventh.image(), image)
    np.testing.assert_array_equal(eighth.previous(), image)
    improved = find_frames("improved", str(kitti), [DRIVE])
    assert [frame.name.split()[-1] for frame in improved] == [str(k) for k in range(5, 17)]


@pytest.mark.parametrize("kind", ["npy", "npz", "folder", "disparity"])
def test_perfect_predictions_have_no_error(kitti, tmp_path, capsys, kind):
    frames = find_frames("eigen", str(kitti), [DRIVE])
    depths = dense(frames, 0.5)
    path, flags = tmp_path / "mine.npy", []
    if kind == "npz":
        path = tmp_path / "mine.npz"
        np.savez(path, **{f"frame{k}": depth for k, depth in enumerate(depths)})
    elif kind == "folder":
        path = tmp_path / "mine"
        path.mkdir()
        for k, depth in enumerate(depths):
            images.write_depth(str(path / f"{k}.png"), depth)
    else:
        np.save(path, 1 / depths if kind == "disparity" else depths)
        flags = ["--prediction_kind=disparity"] if kind == "disparity" else []
    found = score(tmp_path / "scores", "--protocol=eigen", f"--data_root={kitti}",
                  f"--predictions={path}", f"--drives={DRIVE}", *flags)
    row = found["protocols"]["eigen"][path.name]
    assert row["images"] + row["without_truth"] == 22 and row["images"] > 10
    np.testing.assert_allclose(row["abs_rel"], 0, atol=2e-3 if kind == "folder" else 1e-6)
    np.testing.assert_allclose(row["scale"], 2, rtol=2e-3)
    assert row["scale_spread"] < 2e-3
    # the papers' rows stand beside, in the file and on the screen
    rows = found["published"]["eigen"]
    assert rows["SfMLearner, 1: Ours (CS + K, M (none), 128x416)"]["abs_rel"] == 0.198
    assert "as printed in the papers" in capsys.readouterr().out


def test_metres_are_compared_as_predicted(kitti, tmp_path):
    frames = find_frames("eigen", str(kitti), [DRIVE])
    np.save(tmp_path / "mine.npy", dense(frames, 0.5))
    found = score(tmp_path / "scores", "--protocol=eigen_stereo", f"--data_root={kitti}",
                  f"--predictions={tmp_path / 'mine.npy'}", f"--drives={DRIVE}")
    np.testing.assert_allclose(found["protocols"]["eigen_stereo"]["mine.npy"]["abs_rel"], 0.5,
                               atol=1e-6)


def test_a_run_on_the_eigen_split(kitti, tmp_path, toy, capsys):
    """Trained on KITTI raw by the split's own names; every protocol that fits its frames."""
    del toy
    run = tmp_path / "run"
    train(ExperimentConfig(ToyConfig(), DataConfig(dataset="kitti_raw", root=str(kitti),
                                                   size=(16, 48)),
                           train=TrainConfig(steps=2, batch_size=2)), run)
    for protocol in ("eigen", "eigen_50m", "eigen_monodepth2", "improved"):
        found = score(tmp_path / protocol, f"--workdir={run}", f"--protocol={protocol}",
                      f"--drives={DRIVE}")["protocols"][protocol]["Toy"]
        assert found["images"] > 5 and found["abs_rel"] > 0
        assert (tmp_path / protocol / "pictures" / f"depth-{protocol}.png").stat().st_size > 5000
    flipped = score(tmp_path / "flip", f"--workdir={run}", "--protocol=improved",
                    f"--drives={DRIVE}", "--flip")["protocols"]["improved"]["Toy"]
    assert flipped != found
    # beside another run it has the same row
    shutil.copytree(run, tmp_path / "other")
    both = score(tmp_path / "both", f"--workdir={run},{tmp_path / 'other'}", "--protocol=improved",
                 f"--drives={DRIVE}")["protocols"]["improved"]
    assert both["run"] == both["other"] == found
    assert {path.name for path in (tmp_path / "both" / "pictures").iterdir()} == {
        "depth-improved-run.png", "depth-improved-other.png"}
    # the run saw this drive, and the table says so; its own baseline is in metres
    text = capsys.readouterr().out
    assert f"THE RUN WAS TRAINED on 1 of these drives: {DRIVE}" in text
    scores = json.loads((tmp_path / "improved" / "evaluation.json").read_text())
    assert "training mean, in metres" in scores["protocols"]["improved"]
    assert evaluate.main([f"--workdir={run}", "--protocol=eigen_stereo", f"--drives={DRIVE}"]) == 2
    assert "video of one camera" in capsys.readouterr().err
    assert evaluate.main([f"--workdir={run}", "--protocol=eigen"]) == 2
    assert "27 are not there" in capsys.readouterr().err


def test_make3d_and_nyu(tmp_path):
    """The truth itself, through the crops of both sets."""
    random = np.random.default_rng(0)
    make3d, nyu = tmp_path / "make3d", tmp_path / "nyu" / "official_splits" / "test" / "office"
    for folder in (make3d / "Test134", make3d / "Gridlaserdata", nyu):
        folder.mkdir(parents=True)
    truths = random.uniform(1, 90, (2, 55, 305))
    for k, truth in enumerate(truths):
        Image.new("RGB", (17, 23)).save(make3d / "Test134" / f"img-{k}.jpg")
        grid = np.zeros((55, 305, 4))
        grid[..., 3] = truth
        savemat(make3d / "Gridlaserdata" / f"depth_sph_corr-{k}.mat", {"Position3DGrid": grid})
    found = find_frames("make3d", str(make3d))
    rows = found[0].truth().shape[0]
    top = (55 - rows) // 2
    np.save(tmp_path / "grids.npy", 3 * truths[:, top:top + rows])
    row = score(tmp_path / "m", "--protocol=make3d", f"--data_root={make3d}",
                f"--predictions={tmp_path / 'grids.npy'}")["protocols"]["make3d"]["grids.npy"]
    assert row["images"] == 2 and row["abs_rel"] < 1e-6 and row["log10"] < 1e-6
    assert found[0].image().shape == (8, 17, 3)

    metres = random.uniform(0.5, 12, (480, 640))
    Image.new("RGB", (640, 480)).save(nyu / "rgb_00003.jpg")
    images.write_depth(str(nyu / "sync_depth_00003.png"), metres, 1000)
    np.save(tmp_path / "rooms.npy", 1.1 * metres[np.newaxis])
    row = score(tmp_path / "n", "--protocol=nyu", f"--data_root={tmp_path / 'nyu'}",
                f"--predictions={tmp_path / 'rooms.npy'}")["protocols"]["nyu"]["rooms.npy"]
    np.testing.assert_allclose(row["silog"], 0, atol=3)  # what the clip at 10 m leaves
    assert 0.08 < row["abs_rel"] < 0.1


def test_trivial_baselines(kitti, tmp_path):
    """Mean depth of a drive that is not scored, and mean motion of a sequence that is not."""
    root = tmp_path / "raw"
    write_kitti_raw(root, drives=("2011_09_26_drive_0001", DRIVE), frames=27, size=SIZE)
    row = score(tmp_path / "d", "--baseline", "--protocol=eigen", f"--data_root={root}",
                f"--drives={DRIVE}")["protocols"]["eigen"]["training mean, in metres"]
    assert row["images"] > 10 and row["abs_rel"] > 0 and row["scale"] is None
    sequences = tmp_path / "odometry"
    for sequence in ("00", "09"):
        write_kitti(sequences, sequence, count=9)
    row = score(tmp_path / "m", "--baseline", "--protocol=odometry_sfmlearner", "--drives=09",
                f"--data_root={sequences}")["protocols"]["odometry_sfmlearner"]["mean motion"]
    # all steps turn by the same angle, so the mean motion is the first one with the mean shift
    poses = np.tile(np.eye(4), (9, 1, 1))
    poses[:, :3] = np.loadtxt(sequences / "poses" / "09.txt").reshape(9, 3, 4)
    steps = [np.linalg.inv(poses[k]) @ poses[k + 1] for k in range(8)]
    mean = steps[0].copy()
    mean[:3, 3] = np.mean([step[:3, 3] for step in steps], axis=0)
    guess = np.stack([np.linalg.matrix_power(mean, k)[:3, 3] for k in range(5)])
    errors = []
    for start in range(5):
        true = (np.linalg.inv(poses[start]) @ poses[start:start + 5])[:, :3, 3]
        errors.append(np.linalg.norm((guess * true).sum() / (guess**2).sum() * guess - true) / 5)
    assert row["num_snippets"] == 5
    np.testing.assert_allclose(row["ate_sfmlearner_mean"], np.mean(errors), rtol=1e-6)


@needs_shared
def test_trajectories_of_others(tmp_path):
    """The published result of sequence 10, as KITTI text with frame numbers: the known errors."""
    arrays = parity("evaluation", "odometry.npz")
    write = lambda path, rows: path.write_text(
        "\n".join(" ".join(f"{value:.17g}" for value in row) for row in rows))
    write(tmp_path / "10.txt", arrays["gt_seq10"].reshape(-1, 12))
    numbered = np.column_stack([arrays["result_seq10_index"],
                                arrays["result_seq10"].reshape(-1, 12)])
    write(tmp_path / "slam.txt", numbered)
    flags = [f"--trajectory={tmp_path / 'slam.txt'}", f"--truth={tmp_path / '10.txt'}"]
    row = score(tmp_path / "k", *flags, "--protocol=odometry_kitti")["protocols"][
        "odometry_kitti"]["slam.txt"]
    expected = json.loads((PARITY / "evaluation" / "odometry_metrics.json").read_text())
    expected = expected["7dof"]["seq10"]
    np.testing.assert_allclose(row["translation_percent"], expected["translation_error_percent"],
                               rtol=1e-6)
    np.testing.assert_allclose(row["ate_m"], expected["ate_m"], rtol=1e-6)
    assert row["num_skipped"] > 0
    assert (tmp_path / "k" / "pictures" / "odometry_kitti-10.txt.png").stat().st_size > 10_000
    unscaled = score(tmp_path / "k", *flags, "--protocol=odometry_kitti", "--alignment=6dof")
    found = unscaled["protocols"]["odometry_kitti"]["slam.txt"]
    expected = json.loads((PARITY / "evaluation" / "odometry_metrics.json").read_text())
    np.testing.assert_allclose(found["ate_m"], expected["6dof"]["seq10"]["ate_m"], rtol=1e-6)
    row = score(tmp_path / "s", *flags, "--protocol=odometry_sfmlearner")
    assert row["protocols"]["odometry_sfmlearner"]["slam.txt"]["num_snippets"] == 1193
    short = tmp_path / "short.txt"
    write(short, arrays["gt_seq10"][:30].reshape(-1, 12))
    row = score(tmp_path / "h", f"--trajectory={short}", f"--truth={short}",
                "--protocol=odometry_kitti")["protocols"]["odometry_kitti"]["short.txt"]
    assert row["translation_percent"] is None and row["num_segments"] == 0  # not available, not 0
    write(short, arrays["gt_seq10"][:3].reshape(-1, 12))
    row = score(tmp_path / "h", f"--trajectory={short}", f"--truth={short}",
                "--protocol=odometry_kitti")["protocols"]["odometry_kitti"]["short.txt"]
    assert row["ate_m"] is None and row["rpe_m"] is None and row["num_frames"] == 3


@needs_shared
def test_snippets_of_others(tmp_path, capsys):
    """SfMLearner's folder form: scored as they are, not joined."""
    poses = parity("evaluation", "odometry.npz")["gt_seq10"][:40]
    world_from_camera = np.concatenate([poses, np.tile([[[0, 0, 0, 1.0]]], (40, 1, 1))], axis=1)
    write_kitti_poses(tmp_path / "10.txt", world_from_camera)
    for length in (5, 3):
        snippets = cut_snippets(world_from_camera, length)
        write_snippets(tmp_path / f"of{length}", snippets.starts, snippets.first_from_camera,
                       0.1 * np.arange(40))
    flags = [f"--truth={tmp_path / '10.txt'}", "--protocol=odometry_sfmlearner"]
    row = score(tmp_path / "s", f"--trajectory={tmp_path / 'of5'}", *flags)[
        "protocols"]["odometry_sfmlearner"]["of5"]
    assert row["num_snippets"] == 36 and row["ate_sfmlearner_mean"] < 1e-5
    assert evaluate.main([f"--trajectory={tmp_path / 'of3'}", *flags,
                          f"--output={tmp_path / 's'}"]) == 2
    assert "expected snippets of 5 frames; found 3" in capsys.readouterr().err


def test_published_rows_keep_protocols_apart():
    by_protocol = {name: dict(published_rows(name)) for name in
                   ("eigen", "eigen_50m", "odometry_sfmlearner", "odometry_monodepth2", "nyu")}
    assert len(by_protocol["eigen"]) == 67 and len(by_protocol["eigen_50m"]) == 5
    stereo = dict(published_rows("eigen_stereo"))
    assert len(stereo) == 6 and not set(stereo) & set(by_protocol["eigen"])
    assert dict(published_rows("eigen_monodepth2")) == by_protocol["eigen"]
    assert not by_protocol["nyu"]
    assert not set(by_protocol["odometry_sfmlearner"]) & set(by_protocol["odometry_monodepth2"])
    assert len(by_protocol["odometry_monodepth2"]) == 2


@pytest.mark.parametrize("flags, words", [
    ([], "expected one of --workdir, --predictions, --trajectory and --baseline; found none"),
    (["--predictions=x.npy"], "--predictions needs --protocol"),
    (["--predictions=x.npy", "--protocol=eigen", "--output=o"], "needs --data_root"),
    (["--trajectory=x.txt", "--protocol=odometry_kitti", "--output=o"], "needs --truth"),
    (["--trajectory=x", "--truth=y", "--protocol=eigen", "--output=o"], "one of odometry"),
    (["--trajectory=x", "--truth=y", "--protocol=odometry_kitti", "--output=o", "--flip"],
     "--flip says nothing about --trajectory"),
    (["--predictions=x", "--data_root=y", "--protocol=depth", "--output=o"], "frames of its own"),
])
def test_mistakes(flags, words, capsys):
    assert evaluate.main(flags) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1


@pytest.mark.parametrize("content, words", [
    (np.ones((3, 4, 5)), "expected 22 predictions"),
    (np.zeros((22, 4, 5)), "positive and finite"),
    (np.ones((22, 5)), "expected numbers [n, h, w]"),
    (np.array([{}] * 22), "without Python objects"),
])
def test_wrong_predictions(kitti, tmp_path, capsys, content, words):
    np.save(tmp_path / "mine.npy", content, allow_pickle=True)
    assert evaluate.main([f"--predictions={tmp_path / 'mine.npy'}", "--protocol=eigen",
                          f"--data_root={kitti}", f"--drives={DRIVE}",
                          f"--output={tmp_path / 'o'}"]) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1
