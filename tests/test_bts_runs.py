"""A run of HMA-Depth from the command line with the published training, small."""
import json

import evaluate
import numpy as np
import pytest
import tensorflow as tf
import train
from data_folders import write_kitti
from PIL import Image

from tfdepth.runs.checkpoints import PREFIX

FLAGS = ("--config=configs/hma_depth.py:kitti_resnet50", "--config.data.dataset=kitti_odometry",
         "--config.data.cameras=image_2", "--config.data.crop=", "--config.data.size=64,96",
         "--config.data.random_crop=32,64", "--config.data.validation_drives=",
         "--config.data.test_drives=", "--config.system.encoder=resnet18",
         "--config.system.decoder_width=64", "--config.train.batch_size=2",
         "--config.train.steps=2", "--config.train.save_every=1")


@pytest.fixture(scope="module", name="root")
def _root(tmp_path_factory):
    """Two sequences with depth."""
    root = tmp_path_factory.mktemp("kitti")
    random = np.random.default_rng(4)
    for sequence in ("00", "01"):
        write_kitti(root, sequence, camera="image_2", calibration="P2: 30 0 19 0 0 32 12 0 0 0 1 0")
        folder = root / "sequences" / sequence / "depth_2"
        folder.mkdir()
        for k in range(5):
            depth = random.integers(0, 20_000, (24, 40)).astype(np.uint16)  # up to 78 m
            Image.fromarray(depth).save(folder / f"{k:06d}.png")
    return root


def values_of(workdir, step):
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / f"step-{step:08d}" / PREFIX))
    return {name.replace("/.ATTRIBUTES/VARIABLE_VALUE", ""): reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
            if name.endswith("VARIABLE_VALUE") and not name.startswith("save_counter")}


def test_published_training(root, tmp_path):
    workdir = tmp_path / "run"
    flags = [*FLAGS, f"--config.data.root={root}", f"--workdir={workdir}"]
    assert train.main(flags) == 0
    first, last = values_of(workdir, 1), values_of(workdir, 2)
    changed = {name for name in first if np.any(first[name] != last[name])}
    encoder = "system/depth_encoder"
    for name in ("conv1/kernel", "bn1/gamma", "layer1/0/bn2/beta", "layer4/1/bn2/gamma"):
        assert f"{encoder}/{name}" not in changed
    for name in ("bn1/moving_mean", "layer2/0/downsample/1/gamma", "layer4/1/conv2/kernel"):
        assert f"{encoder}/{name}" in changed
    assert "system/depth_decoder/attentions/0/last/bias" in changed

    # The same run once more from its middle: the same bits.
    for file in (workdir / "checkpoints" / "step-00000002").iterdir():
        file.unlink()
    (workdir / "checkpoints" / "step-00000002").rmdir()
    assert train.main(flags) == 0
    again = values_of(workdir, 2)
    assert set(again) == set(last) and len(last) > 200
    for name, value in last.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)

    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    rate = next(line["learning_rate"] for line in lines
                if line["step"] == 2 and "learning_rate" in line)
    assert rate == pytest.approx(1e-5, rel=1e-5)
    assert evaluate.main([f"--workdir={workdir}"]) == 0
    protocols = json.loads((workdir / "evaluation.json").read_text())["protocols"]
    assert protocols["depth_metres"]["HmaDepth"]["images"] == 10
    width, height = Image.open(workdir / "pictures" / "depth.png").size
    assert height > 1.7 * width  # four samples beside each other, of 12 pictures: 8 of scales
