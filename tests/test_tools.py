"""The commands as users run them: good runs, a killed process, and every mistake in one line."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import check_data
import evaluate
import import_weights
import numpy as np
import pytest
import tensorflow as tf
import train
from data_folders import SIZE, write_camera, write_frames, write_kitti
from helpers import DATA, needs_shared, reference_weights

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOOLS = sorted((ROOT / "tools").glob("*.py"))
QUICK = f"{ROOT}/configs/sfmlearner.py:quick"


def arguments(root, workdir, *more, dataset="kitti_odometry", size="32,64"):
    return [f"--config={QUICK}", f"--config.data.dataset={dataset}", f"--config.data.root={root}",
            f"--config.data.size={size}", f"--workdir={workdir}", *more]


def checkpoint_arrays(workdir, step):
    prefix = pathlib.Path(workdir) / "checkpoints" / f"step-{step:08d}" / "state"
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if "CHECKPOINTABLE" not in name and not name.startswith("save_counter")}


def test_help_for_a_reader_that_has_gone():
    """As `head` goes when it has seen enough."""
    nobody, pipe = os.pipe()
    os.close(nobody)
    done = subprocess.run([sys.executable, str(TOOLS[0]), "--help"], stdout=pipe,
                          stderr=subprocess.PIPE, text=True, check=False)
    os.close(pipe)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_help_loads_no_tensorflow(tool):
    code = ("import runpy, sys\n"
            f"sys.argv = ['x', '--help']; sys.path.insert(0, {str(tool.parent)!r})\n"
            f"try: runpy.run_path({str(tool)!r}, run_name='__main__')\n"
            "except SystemExit as end: assert not end.code\n"
            "assert 'tensorflow' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Examples:" in done.stdout and "--verbose" in done.stdout


@needs_shared
def test_train_evaluate_resume_after_sigkill(tmp_path, capsys):
    """A process killed after its first checkpoint, and started again, ends with the same bits."""
    root = DATA / "kitti_odometry"
    steps = ("--config.train.steps=6", "--config.train.save_every=2", "--config.train.log_every=1",
             "--config.train.keep_checkpoints=3", "--config.data.scale_crop=1.15")
    assert train.main(arguments(root, tmp_path / "whole", *steps)) == 0

    command = [sys.executable, ROOT / "tools" / "train.py",
               *arguments(root, tmp_path / "parts", *steps)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        first = tmp_path / "parts" / "checkpoints" / "step-00000002"
        deadline = time.time() + 240
        while not first.exists() and time.time() < deadline and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert first.exists()
    assert train.main(arguments(root, tmp_path / "parts", *steps)) == 0
    output = capsys.readouterr()
    assert re.search(r"parts: resumes at step [24] of 6", output.out) and "Traceback" not in output.err
    assert re.search(r"step 6 of 6: .*total [\d.]+.* samples_per_second", output.out)
    expected = checkpoint_arrays(tmp_path / "whole", 6)
    found = checkpoint_arrays(tmp_path / "parts", 6)
    assert set(expected) == set(found) and len(expected) > 250
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)

    assert evaluate.main([f"--workdir={tmp_path / 'whole'}", f"--output={tmp_path / 'scores'}"]) == 0
    text = capsys.readouterr().out
    assert "mean motion" in text and "view_synthesis" in text and "training drives" in text
    scores = json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    mean = scores["protocols"]["odometry_sfmlearner"]["mean motion"]
    assert mean["num_snippets"] == 47 and 0.003 < mean["ate_sfmlearner_mean"] < 0.005
    assert scores["protocols"]["view_synthesis"]["SfMLearner"]["num_samples"] == 49
    for name in ("depth.png", "trajectory-06-image_0.png"):
        assert (tmp_path / "scores" / "pictures" / name).stat().st_size > 10_000


@needs_shared
@pytest.mark.parametrize("frames, masks", [(3, True), (5, False)])
def test_import_weights(tmp_path, capsys, frames, masks):
    """A TensorFlow 1 checkpoint written with reference weights, and damaged versions of it."""
    arrays = {**reference_weights("sfmlearner/spec_disp_net.json"),
              **reference_weights(f"sfmlearner/spec_pose_exp_net_{frames}frame.json")}
    arrays = {name: value for name, value in arrays.items() if masks or "/exp/" not in name}
    write_checkpoint(tmp_path / "model-7", {**arrays, "train_op/global_step": np.int32(7)})
    call = lambda source, output: import_weights.main(
        ["--format=sfmlearner", f"--source={source}", f"--output={output}"])
    assert call(tmp_path / "model-7", tmp_path / "run") == 0
    from tfdepth.inference import load_predictor
    from tfdepth.weights.sfmlearner import published_variables
    predictor = load_predictor(tmp_path / "run")
    assert predictor.offsets == {3: (-1, 1), 5: (-2, -1, 1, 2)}[frames]
    variables = published_variables(predictor.system)
    assert set(variables) == set(arrays)
    for name, variable in variables.items():
        np.testing.assert_array_equal(variable, arrays[name])
    if not masks:
        return
    wrong = dict(arrays)
    del wrong["depth_net/cnv3/weights"]
    wrong["depth_net/cnv9/weights"] = np.zeros(3, np.float32)
    wrong["depth_net/icnv1/biases"] = np.zeros(7, np.float32)
    write_checkpoint(tmp_path / "wrong-1", wrong)
    capsys.readouterr()
    assert call(tmp_path / "wrong-1", tmp_path / "run2") == 2
    error = capsys.readouterr().err
    assert "missing: depth_net/cnv3/weights" in error and "extra: depth_net/cnv9/weights" in error
    assert "misshapen: depth_net/icnv1/biases is [7], expected [16]" in error
    assert error.count("\n") == 1 and not (tmp_path / "run2").exists()
    assert call(tmp_path / "nothing-1", tmp_path / "run3") == 2


def write_checkpoint(prefix, arrays):
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=list(arrays),
                      shape_and_slices=[""] * len(arrays), tensors=list(arrays.values()))


def bad_kitti(tmp_path, calibration):
    return write_kitti(tmp_path / "kitti", calibration=calibration), "kitti_odometry", ()


def bad_folder(tmp_path, count=4, **camera):
    folder = write_frames(tmp_path / "frames", [f"{k}.png" for k in range(count)])
    write_camera(folder, **camera)
    return folder, "folder", ()


def truncated(tmp_path):
    folder, dataset, more = bad_folder(tmp_path)
    data = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(data[:len(data) // 2])
    return folder, dataset, more


def text_as_png(tmp_path):
    folder, dataset, more = bad_folder(tmp_path)
    (folder / "1.png").write_text("not a picture")
    return folder, dataset, more


def other_size(tmp_path):
    folder, dataset, more = bad_folder(tmp_path)
    write_frames(folder, ["3.png"], size=(24, 48))
    return folder, dataset, more


def other_run(tmp_path):
    (tmp_path / "run").mkdir()
    from tfdepth.console import load_config_file
    from tfdepth.runs.config import to_json
    (tmp_path / "run" / "config.json").write_text(to_json(load_config_file(QUICK)))
    folder, dataset, _ = bad_folder(tmp_path)
    return folder, dataset, ()


def empty(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty", "folder", ()


PIXELS = {"units": "pixels", "cx": 20, "cy": 12, "width": SIZE[1], "height": SIZE[0]}
MISTAKES = {
    "no such folder": (lambda path: (path / "none", "kitti_odometry", ()), "none: no such folder"),
    "empty folder": (empty, "empty"),
    "one frame only": (lambda path: bad_folder(path, count=1), "one"),
    "truncated PNG": (truncated, "2.png"),
    "text named PNG": (text_as_png, "1.png"),
    "frames of two sizes": (other_size, "3.png"),
    "calibration without the row": (lambda path: bad_kitti(path, "P2: 30 0 19 0 0 32 12 0 0 0 1 0"),
                                    "P0"),
    "letters in the calibration": (lambda path: bad_kitti(path, "P0: 30 0 x 0 0 32 12 0 0 0 1 0"),
                                   "calib.txt"),
    "zero focal length": (lambda path: bad_kitti(path, "P0: 0 0 19 0 0 32 12 0 0 0 1 0"),
                          "calib.txt"),
    "impossible field of view": (lambda path: bad_folder(path, fx=0.58, fy=1.92, **PIXELS),
                                 "field of view"),
    "unknown config field": (lambda path: (path, "folder", ("--config.data.sise=1,2",)),
                             "Did you mean 'size'?"),
    "unknown flag": (lambda path: (path, "folder", ("--wordkir=x",)), "--wordkir"),
    "a word for a count": (lambda path: (path, "folder", ("--config.train.steps=many",)),
                           "--config.train.steps: expected a whole number; got many."),
    "a word for a number": (lambda path: (path, "folder", ("--config.optimizer.beta_1=x",)),
                            "--config.optimizer.beta_1: expected a number; got x."),
    "a word for a switch": (lambda path: (path, "folder", ("--config.train.xla=maybe",)),
                            "--config.train.xla: expected true or false; got maybe."),
    "a word behind a flag": (lambda path: (path, "folder", ("--config.train.seed", "x")),
                             "--config.train.seed: expected a whole number; got x."),
    "size of no use": (lambda path: (path, "folder", ("--config.data.size=33,64",)),
                       "--config.data.size must be (height, width), both positive multiples of 32"),
    "run of another config": (other_run, "run of another config"),
    "no such config": (lambda path: (path, "folder", ("--config=configs/none.py",)),
                       "configs/none.py"),
    "no such variant": (lambda path: (path, "folder", (f"--config={QUICK}er",)),
                        "Did you mean 'quick'?"),
    "left-over argument": (lambda path: (path, "folder", ("extra",)), "extra"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_line(mistake, tmp_path, capsys):
    make, expected = MISTAKES[mistake]
    root, dataset, more = make(tmp_path)
    code = train.main([*arguments(root, tmp_path / "run", dataset=dataset), *more])
    output = capsys.readouterr()
    assert code == 2, output
    assert expected in output.err and output.err.startswith("train.py: ")
    assert output.err.count("\n") == 1 and "Traceback" not in output.err + output.out


def test_console_stays_ours(tmp_path):
    """A real process shows none of TensorFlow's lines, and Ctrl-C no traceback."""
    root = write_kitti(tmp_path / "kitti", count=6)
    command = [sys.executable, ROOT / "tools" / "train.py", *arguments(
        root, tmp_path / "run", "--config.train.steps=100000", "--config.train.log_every=1")]
    heeded = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # shells mute it in the background
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=heeded) as run:
        deadline = time.time() + 240
        while not (tmp_path / "run" / "metrics.jsonl").exists() and time.time() < deadline:
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate()
    assert run.returncode == 130
    first, *others = out.splitlines()
    assert first.startswith("1 training drives, 6 frames: 4 samples")
    assert others and all(re.match(r"step \d+ of 100000: ", line) for line in others), others
    assert re.fullmatch(r"train.py: interrupted; saved at step \d+ of 100000; the same command goes "
                        "on from there", err.strip())


def test_check_data(tmp_path, capsys):
    root = write_kitti(tmp_path / "kitti", count=6)
    assert check_data.main(["kitti_odometry", f"--root={root}", "--full"]) == 0
    assert "00/image_0" in capsys.readouterr().out
    (root / "sequences" / "00" / "image_0" / "000003.png").write_bytes(b"")
    assert check_data.main(["kitti_odometry", f"--root={root}", "--full"]) == 1
    assert "000003.png" in capsys.readouterr().out
    assert check_data.main(["kiti_odometry", f"--root={root}"]) == 2
    assert "Did you mean 'kitti_odometry'?" in capsys.readouterr().err


def test_evaluate_mistakes(tmp_path, capsys):
    assert evaluate.main([f"--workdir={tmp_path}"]) == 2
    assert "expected a run folder with a config.json" in capsys.readouterr().err
    assert evaluate.main([]) == 2
    assert "--workdir" in capsys.readouterr().err
    assert evaluate.main([f"--workdir={tmp_path}", "--protocol=eigne"]) == 2
    assert "Did you mean 'eigen'?" in capsys.readouterr().err
