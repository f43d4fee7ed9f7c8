"""Lens distortion: OpenCV's numbers, and pictures of known lines and textures."""
import numpy as np
import pytest
import scipy.optimize

from tfdepth.checks import UserError
from tfdepth.data.intrinsics_file import Distortion
from tfdepth.data.undistortion import distort, plan_undistortion, undistort

SIZE = (200, 320)
INTRINSICS = np.array([[310.0, 0, 170.3], [0, 290.0, 95.6], [0, 0, 1]])
BARREL = Distortion("brown", (-0.28, 0.09, 0.0013, -0.0021, -0.011))
PINCUSHION = Distortion("brown", (0.2, 0.04, -0.004, 0.006))
FISHEYE = Distortion("fisheye", (0.05, -0.012, 0.004, -0.0009))
LENSES = [BARREL, PINCUSHION, FISHEYE]


@pytest.mark.parametrize("distortion, expected", [
    (BARREL, [[0.2887220499, -0.1924943666], [-0.5196883254, 0.4327991045], [0, 0],
              [0.7964127, 0.5112899]]),
    (BARREL._replace(coefficients=BARREL.coefficients[:4]),
     [[0.2887293, -0.1924992], [-0.5211864, 0.4340475], [0, 0], [0.85586, 0.54912]]),
    (FISHEYE, [[0.289604779097, -0.193069852732], [-0.519551292073, 0.432959410060], [0, 0],
               [0.800653561167, 0.509506811652]])])
def test_points_as_of_opencv(distortion, expected):
    """cv2.projectPoints and cv2.fisheye.projectPoints of OpenCV 5.0."""
    points = [[0.3, -0.2], [-0.6, 0.5], [0, 0], [1.1, 0.7]]
    np.testing.assert_allclose(distort(points, distortion), expected, atol=1e-10)
    np.testing.assert_allclose(distort(np.reshape(points, (2, 2, 2)), distortion).reshape(4, 2),
                               expected, atol=1e-10)


@pytest.mark.parametrize("distortion, expected", [
    (BARREL, [(0, 0, 16.605606, 9.626508), (319, 0, 305.719940, 8.523745),
              (17, 188, 29.601368, 180.399338), (200, 100, 199.905090, 99.990395)]),
    (FISHEYE, [(0, 0, 16.555349, 9.293550), (319, 0, 306.723297, 7.892755),
               (17, 188, 29.891077, 180.230042), (200, 100, 199.921188, 99.988327)])])
def test_map_as_of_opencv(distortion, expected):
    """cv2.initUndistortRectifyMap of OpenCV 5.0 with the same camera matrix before and after."""
    plan = plan_undistortion("", INTRINSICS, distortion, SIZE, crop=False)
    places = np.stack(np.meshgrid(np.arange(320.0), np.arange(200.0)), axis=-1)
    found = undistort(places, plan)  # a picture of the places (u, v) themselves
    for u, v, column, row in expected:
        np.testing.assert_allclose(found[v, u], [column, row], atol=1e-4)


def _texture(x, y):
    """Smooth colours of the world at the ray (x, y, 1), in [0, 255]."""
    return 127.5 + 120 * np.stack([np.sin(9 * x + 2 * y), np.cos(7 * y - 3 * x),
                                   np.sin(5 * x + 6 * y + 1)], axis=-1)


def _rays_of_distorted_pixels(distortion):
    """(x, y) that each pixel of the distorted frame sees [H, W, 2]: distort, turned around."""
    grid = np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0])), -1)
    wanted = (grid - INTRINSICS[:2, 2]) / np.diag(INTRINSICS)[:2]
    points = wanted.copy()
    for _ in range(60):
        points -= distort(points, distortion) - wanted
    assert np.abs(distort(points, distortion) - wanted).max() < 1e-9
    return np.moveaxis(points, -1, 0)


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("distortion", LENSES)
def test_a_distorted_picture_becomes_the_pinhole_picture(distortion, crop):
    image = np.rint(_texture(*_rays_of_distorted_pixels(distortion))).astype(np.uint8)
    plan = plan_undistortion("", INTRINSICS, distortion, SIZE, crop)
    found = undistort(image, plan)
    assert found.dtype == np.uint8 and found.shape == (*plan.size, 3)
    v, u = np.mgrid[:plan.size[0], :plan.size[1]]
    x = (u - plan.intrinsics[0, 2]) / plan.intrinsics[0, 0]
    y = (v - plan.intrinsics[1, 2]) / plan.intrinsics[1, 1]
    expected = _texture(x, y)
    assert np.abs(found - expected)[plan.valid].max() < 1.5  # two roundings and bilinear sampling
    assert abs((found - expected)[plan.valid].mean()) < 0.1  # rounded, not cut
    assert not found[~plan.valid].any()
    if crop:
        assert plan.valid.all()
    # The lens moved it far: without undistortion the pictures differ by much.
    if not crop:
        assert np.abs(image - expected)[plan.valid].max() > 25


@pytest.mark.parametrize("distortion", LENSES)
def test_straight_lines_of_the_world_become_straight(distortion):
    """A thin bright line of the world, drawn through the lens, read from the picture."""
    slope, offset, width = 0.13, -0.22, 0.012                  # y = slope x + offset, rays
    x, y = _rays_of_distorted_pixels(distortion)
    line = 1000 * np.exp(-((y - slope * x - offset) / width) ** 2)[..., None]  # floats: no rounding

    def centres(picture):
        """Row of the line in columns 30 to 290."""
        weights = picture[:100, 30:290, 0]
        return (weights * np.arange(100)[:, None]).sum(0) / weights.sum(0)

    columns = np.arange(30, 290)
    wanted = 290 * (slope * (columns - 170.3) / 310 + offset) + 95.6
    plan = plan_undistortion("", INTRINSICS, distortion, SIZE, crop=False)
    np.testing.assert_allclose(centres(undistort(line, plan)), wanted, atol=0.02)
    bent = centres(line)
    assert np.abs(bent - np.polyval(np.polyfit(columns, bent, 1), columns)).max() > 0.3


def test_no_distortion_is_the_same_picture():
    image = np.random.default_rng(3).integers(0, 256, (*SIZE, 3), np.uint8)
    plan = plan_undistortion("", INTRINSICS, Distortion("brown", (0, 0, 0, 0, 0)), SIZE)
    np.testing.assert_array_equal(undistort(image, plan), image)
    np.testing.assert_array_equal(plan.intrinsics, INTRINSICS)


def test_the_crop_is_near_the_largest():
    """By trying all rectangles of a small frame."""
    size = (24, 36)
    intrinsics = np.array([[30.0, 0, 16], [0, 28.0, 13], [0, 0, 1]])
    plan = plan_undistortion("", intrinsics, PINCUSHION, size)
    valid = plan_undistortion("", intrinsics, PINCUSHION, size, crop=False).valid
    assert not valid.all()
    total = np.pad(valid.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    largest = max((b - t) * (r - left)
                  for t in range(24) for b in range(t + 1, 25)
                  for left in range(36) for r in range(left + 1, 37)
                  if total[b, r] - total[t, r] - total[b, left] + total[t, left]
                  == (b - t) * (r - left))
    assert plan.valid.size >= 0.95 * largest
    left, top = np.round(intrinsics[:2, 2] - plan.intrinsics[:2, 2]).astype(int)
    assert valid[top:top + plan.size[0], left:left + plan.size[1]].all()


@pytest.mark.parametrize("distortion", [Distortion("brown", (-0.5, 0, 0, 0)),
                                        Distortion("fisheye", (-0.5, 0, 0, 0))])
def test_what_the_polynomial_folds_back_is_not_shown(distortion):
    """t (1 - t^2 / 2) rises until t = sqrt(2 / 3); beyond, the frame would show again, mirrored."""
    intrinsics = np.array([[100.0, 0, 170.3], [0, 100.0, 95.6], [0, 0, 1]])
    valid = plan_undistortion("", intrinsics, distortion, SIZE, crop=False).valid
    v, u = np.mgrid[:SIZE[0], :SIZE[1]]
    radius = np.hypot(u - 170.3, v - 95.6) / 100
    turn = scipy.optimize.minimize_scalar(lambda t: -t * (1 - t * t / 2), (0, 1)).x
    limit = np.tan(turn) if distortion.model == "fisheye" else turn
    np.testing.assert_array_equal(valid, radius < limit)
    assert valid.any() and not valid.all()


def test_a_lens_that_never_folds():
    """1 - 0.84 s + 1.5 s^2 has no real root."""
    plan = plan_undistortion("", INTRINSICS, Distortion("brown", (-0.28, 0.3, 0, 0)), SIZE, False)
    assert plan.valid.all()


def test_impossible_coefficients():
    with pytest.raises(UserError) as caught:
        plan_undistortion("cam.json", INTRINSICS, Distortion("brown", (1e5, 1e5, 3e5, 1e5)), SIZE)
    assert "cam.json" in str(caught.value) and "k1, k2, p1, p2[, k3]" in str(caught.value)
    with pytest.raises(UserError, match="brown, fisheye; got 'fish'"):
        distort([[0, 0]], Distortion("fish", (0, 0, 0, 0)))
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        distort(np.zeros((2, 3)), BARREL)
