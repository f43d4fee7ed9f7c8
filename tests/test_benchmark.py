"""tools/benchmark.py: what it measures of a small run."""
import json

import benchmark
import pytest
from data_folders import write_kitti

SMALL = ["--config=configs/sfmlearner.py:quick", "--config.data.dataset=kitti_odometry",
         "--config.data.size=32,64", "--config.train.batch_size=2", "--repeats=3"]


@pytest.fixture(scope="module", name="root")
def _root(tmp_path_factory):
    root = tmp_path_factory.mktemp("kitti")
    write_kitti(root, "00", count=9)
    return root


def test_precisions_are_compared(root, capsys):
    names = ("float32", "mixed_bfloat16")
    assert benchmark.main([f"--config.data.root={root}", *SMALL,
                           f"--precisions={','.join(names)}"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found.keys() == {
        *(f"{name}_{part}_seconds" for name in names
          for part in ("step", "inference", "inference_network", "inference_batch")),
        *(f"mixed_bfloat16_{part}_share" for part in ("step", "inference", "inference_batch"))}
    assert found["mixed_bfloat16_step_share"] == pytest.approx(
        found["mixed_bfloat16_step_seconds"] / found["float32_step_seconds"])
    assert benchmark.main([f"--config.data.root={root}", *SMALL, "--precisions=half"]) == 2
    assert "--precisions must be one of" in capsys.readouterr().err
    assert benchmark.main(["--input", "--precisions=float32"]) == 2
    assert "expected one of them" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [(), ("--config.train.accumulate=2",
                                        "--config.train.rematerialize=true")])
def test_benchmark(root, capsys, flags):
    assert benchmark.main([f"--config.data.root={root}", *SMALL, *flags]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"step_seconds", "network_seconds", "losses_seconds", "optimizer_seconds",
            "tracing_seconds", "start_seconds", "step_samples_per_second",
            "input_samples_per_second", "peak_memory_megabytes", "inference_seconds",
            "inference_network_seconds", "inference_images_per_second",
            "render_frames_per_second"} == set(found)
    assert all(value > 0 for value in found.values())
    assert found["step_samples_per_second"] == pytest.approx(2 / found["step_seconds"])
    assert found["tracing_seconds"] < found["start_seconds"]
    assert found["peak_memory_megabytes"] > 300  # TensorFlow alone
