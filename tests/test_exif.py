"""Focal lengths in EXIF notes."""
import math

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from tfdepth.checks import UserError
from tfdepth.data.exif import is_turned, read_focal_length

SIZE = (30, 40)  # (height, width)


def write_photo(path, tags, orientation=1, size=SIZE):
    """A picture with tags of EXIF's photo block."""
    notes = Image.Exif()
    notes.get_ifd(0x8769).update(tags)
    notes[0x0112] = orientation
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path, exif=notes)
    return str(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_the_equivalent_on_film_goes_by_the_diagonal(tmp_path, name):
    """40 x 30 has a diagonal of 50 pixels, film of sqrt(24^2 + 36^2) mm."""
    path = write_photo(tmp_path / name, {0xA405: 26, 0x920A: IFDRational(43, 10)})
    found = read_focal_length(path)
    assert found.tag == "FocalLengthIn35mmFilm" and found.size == SIZE
    np.testing.assert_allclose(found.pixels, 26 * 50 / math.sqrt(24**2 + 36**2))


@pytest.mark.parametrize("unit, per_unit", [(None, 25.4), (2, 25.4), (3, 10), (4, 1), (5, 0.001)])
def test_focal_plane(tmp_path, unit, per_unit):
    """A sensor with 4 mm for 40 pixels: 10 a millimetre; 5.5 mm are 55 pixels."""
    tags = {0xA405: 0, 0x920A: IFDRational(11, 2),
            0xA20E: IFDRational(round(10 * per_unit * 10_000), 10_000)}
    if unit:
        tags[0xA210] = unit
    found = read_focal_length(write_photo(tmp_path / "a.jpg", tags))
    assert found.tag == "FocalLength and FocalPlaneXResolution"
    np.testing.assert_allclose(found.pixels, 55, rtol=1e-6)


def test_a_resized_picture(tmp_path):
    """100 pixels a millimetre of the 400 x 300 that the camera took."""
    tags = {0x920A: 5.5, 0xA20E: 100.0, 0xA210: 4, 0xA002: 400, 0xA003: 300}
    np.testing.assert_allclose(
        read_focal_length(write_photo(tmp_path / "a.jpg", tags)).pixels, 55)
    cropped = write_photo(tmp_path / "b.jpg", {**tags, 0xA405: 26, 0xA003: 200})
    with pytest.raises(UserError, match="400 x 200; found 40 x 30, which was cropped or turned"):
        read_focal_length(cropped)


@pytest.mark.parametrize("tags, words", [
    ({}, "found none"), ({0xA405: 0}, "found none"),
    ({0x920A: IFDRational(0, 0)}, "found none"),
    ({0x920A: 4.3}, "FocalLength 4.3 mm, and not how large the pixels are"),
    ({0x920A: 4.3, 0xA20E: 100.0, 0xA210: 1}, "not how large the pixels are")])
def test_no_focal_length(tmp_path, tags, words):
    path = write_photo(tmp_path / "a.jpg", tags)
    with pytest.raises(UserError) as caught:
        read_focal_length(path)
    for word in (path, words, "FocalLengthIn35mmFilm", "--horizontal_fov or --intrinsics"):
        assert word in str(caught.value)


def test_turned(tmp_path):
    assert is_turned(write_photo(tmp_path / "a.jpg", {}, orientation=6))
    assert not is_turned(write_photo(tmp_path / "b.jpg", {}, orientation=1))
    Image.new("RGB", (40, 30)).save(tmp_path / "c.png")  # no notes at all
    assert not is_turned(str(tmp_path / "c.png"))


def test_damaged_notes_end_in_a_number_or_a_user_error(tmp_path):
    path = tmp_path / "a.jpg"
    good = open(write_photo(path, {0xA405: 26, 0x920A: 4.3, 0xA002: 40, 0xA003: 30}), "rb").read()
    random, refused = np.random.default_rng(5), 0
    for _ in range(300):
        data = bytearray(good)
        for place in random.integers(2, 140, size=4):
            data[place] = random.integers(256)
        path.write_bytes(data)
        try:
            found = read_focal_length(str(path)).pixels
            assert math.isfinite(found) and found > 0
            is_turned(str(path))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and str(path) in str(error)
    assert refused > 50
