"""Reading and writing pictures, good and bad."""
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data_folders import SIZE, write_frames
from tfdepth.checks import UserError
from tfdepth.data import images


def _refuses(path, *words, read=images.read_image):
    """`read` must raise a UserError of one line that names the file and says `words`."""
    with pytest.raises(UserError) as caught:
        read(str(path))
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message


def test_colour_grey_palette_and_transparency_become_rgb(tmp_path):
    random = np.random.default_rng(3)
    rgb = random.integers(0, 256, (*SIZE, 3), np.uint8)
    alpha = random.integers(0, 256, (*SIZE, 1), np.uint8)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(np.concatenate([rgb, alpha], -1)).save(tmp_path / "rgba.png")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(rgb[..., 0] & 7).convert("P").save(tmp_path / "palette.png")
    np.testing.assert_array_equal(images.read_image(str(tmp_path / "rgb.png")), rgb)
    np.testing.assert_array_equal(images.read_image(str(tmp_path / "rgba.png")), rgb)
    grey = images.read_image(str(tmp_path / "grey.png"))
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(grey, np.repeat(rgb[..., :1], 3, -1))
    np.testing.assert_array_equal(images.read_image(str(tmp_path / "palette.png"))[..., 1],
                                  rgb[..., 0] & 7)


def test_jpeg_and_sizes(tmp_path):
    smooth = np.broadcast_to(np.linspace(0, 255, SIZE[1])[None, :, None], (*SIZE, 3))
    Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / "a.JPG", format="JPEG", quality=95)
    path = str(tmp_path / "a.JPG")
    assert images.read_size(path) == SIZE
    assert np.abs(images.read_image(path).astype(int) - smooth).max() < 12
    write_frames(tmp_path, ["a.png"])
    assert images.read_size(str(tmp_path / "a.png")) == SIZE


def test_thumbnail_is_the_mean_of_blocks(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (64, 96), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    blocks = pixels.reshape(16, 4, 24, 4).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(images.read_thumbnail(str(tmp_path / "a.png"), 16), blocks,
                               atol=1.01 / 255)  # rounded twice


def test_bad_files_are_named(tmp_path):
    write_frames(tmp_path, ["good.png"])
    data = (tmp_path / "good.png").read_bytes()
    for name, content, word in (
            ("empty.png", b"", "empty"),
            ("short.png", data[:20], "truncated"),
            ("half.png", data[:len(data) // 2], "truncated"),
            ("text.png", b"this is text\n", "text ('this is text"),
            ("picture.png", b"GIF89a" + data, "a GIF"),
            ("header.png", data[:20] + b"\xff" + data[21:], "header is damaged"),
            ("other.png", bytes(range(128, 256)), "unknown bytes")):
        (tmp_path / name).write_bytes(content)
        _refuses(tmp_path / name, "expected a PNG or JPEG image", word)
    _refuses(tmp_path / "absent.png", "no such file")
    _refuses(tmp_path)


def test_a_truncated_jpeg_is_named(tmp_path):
    write_frames(tmp_path, ["good.jpg"])
    data = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[:len(data) // 2])
    _refuses(tmp_path / "half.jpg", "truncated")


def test_a_decompression_bomb_is_refused(tmp_path):
    header = b"IHDR" + struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
        + struct.pack(">I", zlib.crc32(header)) + bytes(100))
    _refuses(tmp_path / "bomb.png", "at most", "200000 x 200000")
    _refuses(tmp_path / "bomb.png", "at most", read=images.read_size)


def test_a_depth_map_is_no_frame_and_a_frame_no_depth_map(tmp_path):
    images.write_depth(str(tmp_path / "depth.png"), np.full(SIZE, 3.0))
    _refuses(tmp_path / "depth.png", "8 bits a channel", "16-bit grey")
    write_frames(tmp_path, ["frame.png"], grey=True)
    _refuses(tmp_path / "frame.png", "16-bit", "8-bit grey", read=images.read_depth)


def test_verify_sees_what_decoding_does_not(tmp_path):
    write_frames(tmp_path, ["good.png"])
    images.verify_image(str(tmp_path / "good.png"))
    data = bytearray((tmp_path / "good.png").read_bytes())
    data[-13] ^= 1  # the checksum of the pixels, before the 12 bytes of the end mark
    (tmp_path / "flipped.png").write_bytes(data)
    images.read_image(str(tmp_path / "flipped.png"))
    _refuses(tmp_path / "flipped.png", "damaged", read=images.verify_image)


def test_depth_round_trip(tmp_path):
    depth = np.random.default_rng(5).uniform(0.1, 80, SIZE)
    depth[3, 4], depth[5, 6] = 0, 1e-4
    path = str(tmp_path / "depth.png")
    images.write_depth(path, depth)
    read = images.read_depth(path)
    assert read.dtype == np.float32 and read[3, 4] == 0 and read[5, 6] > 0
    np.testing.assert_allclose(read, depth, atol=1 / 256)
    np.testing.assert_array_equal(np.asarray(Image.open(path))[0, 0], round(depth[0, 0] * 256))
    images.write_depth(path, depth / 10, divisor=1000)
    np.testing.assert_allclose(images.read_depth(path, divisor=1000), depth / 10, atol=1e-3)
    assert [entry.name for entry in tmp_path.iterdir()] == ["depth.png"]


@pytest.mark.parametrize("steps, divisor, word", [
    (np.full(SIZE, 200), 256, "8-bit values"),
    (np.full(SIZE, 65535), 256, "65535"),
    (np.full(SIZE, 60000), 10, "6000 m")])
def test_implausible_depth_is_refused(tmp_path, steps, divisor, word):
    Image.fromarray(steps.astype(np.uint16)).save(tmp_path / "d.png")
    _refuses(tmp_path / "d.png", word, read=lambda path: images.read_depth(path, divisor))


@pytest.mark.parametrize("depth", [
    np.full(SIZE, np.nan), np.full(SIZE, -1.0), np.full(SIZE, 300.0), np.full(SIZE, np.inf),
    np.ones((*SIZE, 1))])
def test_depth_that_cannot_be_written(tmp_path, depth):
    with pytest.raises(ValueError, match="`depth` must"):
        images.write_depth(str(tmp_path / "d.png"), depth)
    assert not list(tmp_path.iterdir())


def test_depth_into_no_folder(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        images.write_depth(str(tmp_path / "absent" / "d.png"), np.ones(SIZE))


def test_check_same_size_names_the_first_that_differs(tmp_path):
    write_frames(tmp_path, [f"{k}.png" for k in range(6)])
    paths = [str(tmp_path / f"{k}.png") for k in range(6)]
    assert images.check_same_size(paths) == SIZE
    write_frames(tmp_path, ["3.png", "5.png"], size=(24, 41))
    with pytest.raises(UserError, match=r"3\.png: expected 40 x 24 .* as in 0\.png; "
                                        r"found 41 x 24 \(2 of 6"):
        images.check_same_size(paths)
    for k in (2, 4):
        (tmp_path / f"{k}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"2\.png: .* empty\. 2 of 6 files are bad; "
                                        r"the others: 4\.png"):
        images.check_same_size(paths)
