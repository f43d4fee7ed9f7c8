"""Prepared folders: the same batches as the original files, resume, parts, and what is damaged."""
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import prepare_data
import pytest
import tensorflow as tf
from data_folders import write_camera, write_frames, write_kitti
from PIL import Image
from test_pipeline import take

from tfdepth.checks import UserError
from tfdepth.data import images, motion, pictures, pipeline, prepared, shards
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import load_drives
from tfdepth.data.prepare import prepare
from tfdepth.training.input_benchmark import repeat_frames

NETWORK = (16, 32)
AUGMENTED = dict(scale_crop=1.15, flip=True, color_jitter="monodepth2")


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    """A colour drive with poses, depth (a frame without), masks and stereo, cut out of its files;
    and one without anything, with a static pair and JPEG frames."""
    root = tmp_path_factory.mktemp("data")
    calibration = "P0: 31 0 18 0 0 29 11 0 0 0 1 0\nP1: 31 0 18 -16 0 29 11 0 0 0 1 0"
    write_kitti(root / "kitti", "00", count=9, calibration=calibration)
    for k, camera in enumerate(("image_0", "image_1")):
        write_frames(root / "kitti" / "sequences" / "00" / camera,
                     [f"{k:06d}.png" for k in range(9)], seed=k + 1)
    first, = load_drives(DataConfig("kitti_odometry", str(root / "kitti"), cameras=("image_0",),
                                    stereo=True))
    random = np.random.default_rng(5)
    paths = {"depth": [], "moving": []}
    for k in range(9):
        for kind, pixels in (("depth", random.integers(300, 60000, (24, 40)).astype(np.uint16)),
                             ("moving", random.integers(0, 2, (24, 40)).astype(np.uint8) * 3)):
            path = root / f"{kind}{k}.png"
            Image.fromarray(pixels).save(path)
            paths[kind].append(str(path))
    paths["depth"][3] = ""
    first = dataclasses.replace(
        first, file_size=(24, 40), size=(19, 33), corner=(2, 4), depth_divisor=1000.0,
        travel=np.linspace(0.9, 1.1, 9), depth_paths=tuple(paths["depth"]),
        moving_paths=tuple(paths["moving"]))
    walk = write_frames(root / "walk", [f"{k}.jpg" for k in range(4)], size=(96, 160), seed=7)
    write_frames(walk, ["4.jpg", "5.jpg", "6.jpg", "7.jpg"], size=(96, 160), seed=8, moving=False)
    write_camera(walk, units="pixels", fx=100.3, fy=90.7, cx=70.1, cy=50.9, width=160, height=96)
    second, = load_drives(DataConfig("folder", str(walk)))
    return first, second


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


def assert_same_batches(expected, found):
    for one, two in zip(expected, found):
        for field, first, second in zip(one._fields, one, two):
            assert (first is None) == (second is None), field
            if first is not None:
                np.testing.assert_array_equal(first, second, err_msg=field)
    assert len(expected) == len(found) > 0


def test_png_shards_give_the_same_batches(drives, tmp_path):
    assert prepare(drives, tmp_path, NETWORK, "png", processes=1, frames_per_shard=5).missing == ()
    ready = prepared.load(str(tmp_path), NETWORK, stereo=False)
    for k in range(100):                               # cameras too, to the last bit
        camera = np.random.default_rng(k).uniform(1, 1500, (3, 3))
        one = pictures.intrinsics_at(dataclasses.replace(drives[0], intrinsics=camera), NETWORK)
        two = dataclasses.replace(ready[0], intrinsics=np.array(json.loads(json.dumps(
            one.tolist()))))
        np.testing.assert_array_equal(pictures.intrinsics_at(two, NETWORK), one)
    config = DataConfig(size=NETWORK, offsets=(-2, 1), **AUGMENTED)
    sources = [pipeline.open_source(each, config) for each in (drives, ready)]
    np.testing.assert_array_equal(sources[0].table.indices, sources[1].table.indices)
    assert sources[0].table.counts == sources[1].table.counts
    assert sources[0].table.counts.static > 0          # by images: measured on thumbnails
    assert_same_batches(*(take(pipeline.training_batches(source, 3, 4), 5) for source in sources))
    assert_same_batches(*(take(pipeline.training_batches(source, 3, 4, cache_megabytes=9), 2)
                          for source in sources))
    # the other camera, depth with a hole, and a gap
    config = DataConfig(size=NETWORK, offsets=(-1, 1), frame_gap=2, stereo=True)
    batches = [list(pipeline.evaluation_batches(pipeline.open_source(each[:1], config), 2,
                                                with_depth=True)) for each in (drives, ready)]
    assert_same_batches(*batches)
    depth = np.concatenate([batch.target_depth for batch in batches[1]])
    assert depth.shape == (5, *NETWORK, 1)
    assert [bool(each.any()) for each in depth] == [True, False, True, True, True]
    for one, two in zip(drives, ready):
        assert (one.name, one.frame_numbers) == (two.name, two.frame_numbers)
        np.testing.assert_array_equal(motion.motion(one, 3), motion.motion(two, 3))
    np.testing.assert_array_equal(drives[0].world_from_camera, ready[0].world_from_camera)
    assert ready[1].world_from_camera is None and ready[1].travel is None
    masks = [images.read_image(path)[..., 0] for path in ready[0].moving_paths]
    assert np.unique(masks).tolist() == [0, 3] and masks[0].shape == NETWORK


def test_cut_and_resize_against_numpy(drives, tmp_path):
    """What is stored, from the files by Pillow and NumPy alone."""
    prepare(drives[:1], tmp_path, (19, 33), "png", processes=1)   # the size of the part: no resize
    drive, = prepared.load(str(tmp_path), (19, 33))
    for record, path in ((drive.image_paths[4], drives[0].image_paths[4]),
                         (drive.stereo_paths[4], drives[0].stereo_paths[4])):
        np.testing.assert_array_equal(images.read_image(record),
                                      np.asarray(Image.open(path))[2:21, 4:37])
    steps = np.asarray(Image.open(drives[0].depth_paths[4]))[2:21, 4:37]
    np.testing.assert_allclose(images.read_depth(drive.depth_paths[4], 1000), steps / 1000.0,
                               rtol=1e-6)
    np.testing.assert_array_equal(drive.intrinsics, drives[0].intrinsics)
    np.testing.assert_array_equal(drive.stereo_from_camera, drives[0].stereo_from_camera)
    assert images.read_size(drive.image_paths[0]) == (19, 33)


def test_shards_are_tfrecords_of_examples(drives, tmp_path):
    prepare(drives, tmp_path, NETWORK, "jpeg", quality=97, processes=1, frames_per_shard=6)
    ready = prepared.load(str(tmp_path), NETWORK)
    paths = sorted(str(path) for path in tmp_path.glob("*.tfrecord"))
    assert [os.path.basename(path) for path in paths] == [
        f"shard-0000{k}-of-00003.tfrecord" for k in range(3)]
    examples = [tf.train.Example.FromString(record.numpy()).features.feature
                for record in tf.data.TFRecordDataset(paths)]
    names = [example["drive"].bytes_list.value[0].decode() for example in examples]
    assert names == ["00/image_0"] * 9 + ["walk"] * 8
    assert [example["number"].int64_list.value[0] for example in examples] == [
        *range(9), *range(8)]
    assert ["depth" in example for example in examples] == [k < 9 and k != 3 for k in range(17)]
    stored = [example["image"].bytes_list.value[0] for example in examples]
    read = [shards.frame_bytes(path) for drive in ready for path in drive.image_paths]
    assert stored == read
    # 4:4:4: all three components are sampled once a pixel
    frame = stored[0].index(b"\xff\xc0")
    assert [stored[0][frame + 11 + 3 * k] for k in range(3)] == [0x11] * 3
    expected = pipeline.resize_image(images.read_image(drives[1].image_paths[0]), NETWORK)
    found = tf.io.decode_image(read[9])
    assert np.abs(np.asarray(expected, int) - np.asarray(found, int)).mean() < 4


def test_killed_and_started_again(drives, tmp_path):
    """A process is killed after its first shards; the same call completes them, byte by byte."""
    prepare(drives, tmp_path / "whole", NETWORK, "png", processes=1, frames_per_shard=2)
    script = tmp_path / "script.py"
    script.write_text(
        "import pickle, sys\n"
        "from tfdepth.data.prepare import prepare\n"
        "if __name__ == '__main__':\n"
        f"    drives = pickle.load(open({str(tmp_path / 'drives')!r}, 'rb'))\n"
        f"    prepare(drives, {str(tmp_path / 'parts')!r}, {NETWORK}, 'png', processes=2,\n"
        "            frames_per_shard=2)\n")
    import pickle  # of our own objects, from one process of the test to the other
    (tmp_path / "drives").write_bytes(pickle.dumps(drives))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, script], env=environment,
                          stderr=subprocess.DEVNULL) as process:
        deadline = time.time() + 120
        while (not list((tmp_path / "parts").glob("*.npz"))[1:] and time.time() < deadline
               and process.poll() is None):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    there = set(files_of(tmp_path / "parts"))
    whole = files_of(tmp_path / "whole")
    assert "manifest.json" in there and len(there & set(whole)) < len(whole) == 2 + 2 * 9
    with pytest.raises(UserError, match=r"of 9 shards are missing \(shard-0000\d-of-00009"):
        prepared.load(str(tmp_path / "parts"), NETWORK)
    time.sleep(0.2)                                    # its workers follow it
    done = prepare(drives, tmp_path / "parts", NETWORK, "png", processes=1, frames_per_shard=2)
    assert len(done.kept) >= 1 and done.made and done.missing == ()
    assert files_of(tmp_path / "parts") == whole


def test_wrong_checksum_is_named_and_mended(drives, tmp_path, capsys):
    prepare(drives, tmp_path, NETWORK, "png", processes=1, frames_per_shard=5)
    before = files_of(tmp_path)
    ready = prepared.load(str(tmp_path), NETWORK)
    path = ready[0].image_paths[6]
    name, _, place = path.partition("#")
    offset = int(place.split("+")[0])
    damaged = bytearray(before[os.path.basename(name)])
    damaged[offset + 50] ^= 4
    with open(name, "wb") as file:
        file.write(damaged)
    source = pipeline.open_source(ready, DataConfig(size=NETWORK, min_image_change=0))
    with pytest.raises(UserError, match=r"shard-00001-of-00004.tfrecord: expected \d+ bytes with "
                                        r"checksum [0-9a-f]{8} at \d+; found .* is damaged"):
        list(pipeline.evaluation_batches(source, 4))
    done = prepare(drives, tmp_path, NETWORK, "png", processes=1, frames_per_shard=5)
    assert done.remade == ("shard-00001-of-00004",) and len(done.kept) == 3 and not done.made
    assert "shard-00001-of-00004: the checksum was wrong" in "".join(capsys.readouterr())
    assert files_of(tmp_path) == before
    os.truncate(name, 1000)
    with pytest.raises(UserError, match="1 of 4 shards are missing .shard-00001-of-00004"):
        prepared.load(str(tmp_path), NETWORK)


def test_parts_make_the_same_folder(drives, tmp_path):
    options = dict(image_format="png", processes=1, frames_per_shard=3)
    prepare(drives, tmp_path / "whole", NETWORK, **options)
    for part in (3, 1):
        done = prepare(drives, tmp_path / "parts", NETWORK, part=(part, 4), **options)
    assert done.missing == (1, 3, 5)                   # of 6 shards
    with pytest.raises(UserError, match="3 of 6 shards are missing .*, of the parts 2/4, 4/4"):
        prepared.load(str(tmp_path / "parts"), NETWORK)
    with pytest.raises(UserError, match=r"another command; expected size .16, 32., not .16, 48."):
        prepare(drives, tmp_path / "parts", (16, 48), **options)
    with pytest.raises(UserError, match="expected the same frames, cameras and poses"):
        prepare(drives[:1], tmp_path / "parts", NETWORK, **options)
    for part in (2, 4):
        done = prepare(drives, tmp_path / "parts", NETWORK, part=(part, 4), **options)
    assert done.missing == ()
    whole, parts = files_of(tmp_path / "whole"), files_of(tmp_path / "parts")
    assert {**json.loads(parts.pop("manifest.json")), "parts": 1} == json.loads(
        whole.pop("manifest.json"))
    assert parts == whole


def test_what_is_refused(drives, tmp_path):
    folder = tmp_path / "folder"
    prepare(drives[1:], folder, NETWORK, "png", processes=1)
    with pytest.raises(UserError, match="data.size: expected .16, 32., the size at which .*folder "
                                        "was prepared; got .32, 32."):
        prepared.load(str(folder), (32, 32))
    with pytest.raises(UserError, match="without them"):
        prepared.load(str(folder), NETWORK, stereo=True)
    with pytest.raises(UserError, match="none: no such folder"):
        prepared.load(str(tmp_path / "none"), NETWORK)
    with pytest.raises(UserError, match="manifest.json: no such file"):
        prepared.load(str(tmp_path), NETWORK)
    text = (folder / "manifest.json").read_text()
    for change, word in ((("\"version\": 1", "\"version\": 7"), "expected version 1; found 7"),
                         (("\"frames\": 8", "\"frames\": 7"), "damaged"),
                         (("\"frames\": 8", "\"frames\": \"8\""), "damaged"),
                         (("\"kinds\"", "\"kind\""), "damaged"), (("{", "[", 1), "damaged")):
        (folder / "manifest.json").write_text(text.replace(*change))
        with pytest.raises(UserError, match=word):
            prepared.load(str(folder), NETWORK)
    (folder / "manifest.json").write_text(text)
    (folder / "drives.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="drives.npz: expected the checksum"):
        prepared.load(str(folder), NETWORK)
    broken = dataclasses.replace(drives[0], file_size=(24, 41))
    with pytest.raises(UserError, match="000000.png: expected 41 x 24 pixels .* found 40 x 24"):
        prepare([broken], tmp_path / "broken", NETWORK, processes=1)
    with pytest.raises(ValueError, match="do not lie in files of"):
        prepare([dataclasses.replace(drives[0], corner=(6, 4))], tmp_path / "c", NETWORK)
    with pytest.raises(UserError, match="does-not-exist.png: no such file"):
        shards.frame_bytes("does-not-exist.png")


def test_tool(tmp_path, capsys):
    root = write_kitti(tmp_path / "kitti", count=6)
    arguments = ["kitti_odometry", f"--root={root}", f"--output={tmp_path / 'out'}", "--size=32,64",
                 "--processes=1"]
    assert prepare_data.main(arguments) == 0
    assert "1 shards made, 0 were there, 0 made again; complete" in capsys.readouterr().out
    drive, = load_drives(DataConfig("prepared", str(tmp_path / "out"), size=(32, 64)))
    assert drive.size == (32, 64) and len(drive) == 6
    for more, word in ((["--size=32x64"], "--size: expected two numbers as 128,416"),
                       (["--part=3/2"], "--part: expected i/n"), (["--part=0/2"], "--part"),
                       (["--format=gif"], "--format must be one of png, jpeg"),
                       (["--quality=0"], "--quality"), (["--size=64,64"], "size [32, 64], not")):
        assert prepare_data.main([*arguments, *more]) == 2
        error = capsys.readouterr().err
        assert word in error and error.count("\n") == 1, error
    with open(drive.image_paths[0].partition("#")[0], "r+b") as file:
        file.write(b"\xff" * 200)
    assert prepare_data.main(arguments) == 0
    assert "0 were there, 1 made again; complete" in capsys.readouterr().out


def test_a_million_frames(tmp_path):
    """Reading from a list of a million frames starts in seconds and takes few bytes a frame."""
    code = (
        "import resource, sys, time\n"
        "from tfdepth.data import prepared\n"
        "from tfdepth.data.config import DataConfig\n"
        "from tfdepth.training.input_benchmark import measure_million\n"
        "drives = prepared.load(sys.argv[1], (16, 32))\n"
        "speed, memory, start = measure_million(drives, DataConfig(size=(16, 32)), 4, 1.0)\n"
        "print(speed, memory, start, time.process_time())")
    root = write_kitti(tmp_path / "kitti", count=6)
    drives = load_drives(DataConfig("kitti_odometry", str(root)))
    prepare(drives, tmp_path / "out", NETWORK, processes=1)
    assert len(repeat_frames(drives[0], 100)) == 100
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "out"], env=environment,
                          capture_output=True, text=True, check=True)
    speed, memory, start, seconds = map(float, done.stdout.split())
    assert speed > 0 and memory < 1000 and start < 30 and seconds < 60, done.stdout
