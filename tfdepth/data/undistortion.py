"""Lens distortion taken out of frames, so that straight lines of the world are straight in them.

A pinhole camera sees the point (X, Y, Z) at x = X / Z, y = Y / Z; a lens puts it at (x', y')
instead, in pixels fx x' + cx, fy y' + cy. With r^2 = x^2 + y^2:

brown, coefficients k1 k2 p1 p2 [k3] (Brown 1966; the order is OpenCV's):
    x' = x (1 + k1 r^2 + k2 r^4 + k3 r^6) + 2 p1 x y + p2 (r^2 + 2 x^2)
    y' = y (1 + k1 r^2 + k2 r^4 + k3 r^6) + p1 (r^2 + 2 y^2) + 2 p2 x y
fisheye, coefficients k1 k2 k3 k4 (Kannala and Brandt 2006; OpenCV's fisheye), a = atan(r):
    (x', y') = (x, y) a (1 + k1 a^2 + k2 a^4 + k3 a^6 + k4 a^8) / r

The undistorted frame keeps the camera matrix. Shape letters: H rows, W columns of the distorted
frame; h, w of the undistorted one, which is as large or, cropped, smaller.
"""
from typing import NamedTuple, Sequence, Tuple

import numpy as np
import scipy.sparse

from tfdepth.checks import UserError, check_choice, check_shape
from tfdepth.data.intrinsics_file import DISTORTIONS, Distortion

_ROUNDING = 1e-3  # pixels by which a place may lie outside the frame and still count as in it


class Undistortion(NamedTuple):
    """What is computed once for all frames of a camera."""
    intrinsics: np.ndarray              # [3, 3] float64, pixels of the undistorted frame
    size: Tuple[int, int]               # (h, w), pixels
    valid: np.ndarray                   # [h, w] bool: the distorted frame shows what belongs there
    weights: scipy.sparse.csr_matrix    # [h w, H W] float32: of the four pixels of the distorted
    #                                     frame around the place that each pixel comes from


def distort(points: np.ndarray, distortion: Distortion) -> np.ndarray:
    """Where the lens puts points.

    Args:
      points: [..., 2], (x, y) = (X / Z, Y / Z).
      distortion: see the module.

    Returns:
      float64 [..., 2], (x', y').

    Raises:
      ValueError: `points` has another shape.
      UserError: an unknown model.
    """
    points = np.asarray(points, np.float64)
    check_shape("points", points, ["...", 2])
    check_choice("the model of the lens", distortion.model, DISTORTIONS)
    x, y = np.moveaxis(points, -1, 0)
    square = x * x + y * y                                                   # [...]
    if distortion.model == "fisheye":
        radius = np.sqrt(square)
        angle = np.arctan(radius)
        bent = angle * _radial(distortion, angle**2)
        scale = np.where(radius > 1e-9, bent / np.maximum(radius, 1e-9), 1.0)
        return np.stack([x * scale, y * scale], axis=-1)
    p1, p2 = distortion.coefficients[2:4]
    scale = _radial(distortion, square)
    return np.stack([x * scale + 2 * p1 * x * y + p2 * (square + 2 * x * x),
                     y * scale + p1 * (square + 2 * y * y) + 2 * p2 * x * y], axis=-1)


def plan_undistortion(where: str, intrinsics: np.ndarray, distortion: Distortion,
                      size: Tuple[int, int], crop: bool = True) -> Undistortion:
    """Computes once what `undistort` does to every frame of a camera.

    Args:
      where: the camera file, for messages.
      intrinsics: [3, 3], pixels of the distorted frame, without skew.
      distortion: see the module.
      size: (H, W) of the distorted frame.
      crop: cut off edges until every pixel is valid; else the size stays and pixels that the
        lens did not see are black.

    Raises:
      UserError: hardly a pixel is valid, so the coefficients cannot belong to the camera.
    """
    height, width = size
    focal, centre = np.diag(intrinsics)[:2], np.asarray(intrinsics)[:2, 2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)   # [H, W, 2] (u, v)
    points = (grid - centre) / focal
    with np.errstate(over="ignore", invalid="ignore"):  # far out, of coefficients of any size
        places = distort(points, distortion) * focal + centre                # [H, W, 2] (u, v)
        valid = ((places >= -_ROUNDING) & (places <= [width - 1 + _ROUNDING,
                                                      height - 1 + _ROUNDING])).all(axis=-1)
    valid &= np.hypot(*np.moveaxis(points, -1, 0)) < _fold(distortion)
    top, bottom, left, right = _largest_full(valid) if crop else (0, height, 0, width)
    if min(height, width, bottom - top, right - left) < 2 or not valid.any():
        raise UserError(f"{where}: the distortion ({distortion.model}, coefficients "
                        f"{', '.join(f'{value:g}' for value in distortion.coefficients)}) leaves "
                        f"no picture of {width} x {height} frames; is it of this camera, and in "
                        f"the order {DISTORTIONS[distortion.model]}?")
    moved = np.array(intrinsics, np.float64)
    moved[:2, 2] -= [left, top]
    valid = valid[top:bottom, left:right]
    return Undistortion(moved, valid.shape, valid,
                        _bilinear_weights(places[top:bottom, left:right], valid, size))


def undistort(image: np.ndarray, undistortion: Undistortion) -> np.ndarray:
    """Takes the distortion out of one frame; bilinear.

    Args:
      image: [H, W, C], any number type; whole numbers are rounded.
      undistortion: of its camera.

    Returns:
      [h, w, C] of the same type; 0 where the lens did not see (nowhere, if cropped).
    """
    pixels = image.reshape(-1, image.shape[-1])                              # [H W, C]
    if np.issubdtype(image.dtype, np.integer):
        result = np.rint(undistortion.weights @ pixels.astype(np.float32))
    else:
        result = undistortion.weights @ pixels
    return result.astype(image.dtype).reshape(*undistortion.size, image.shape[-1])


def _bilinear_weights(places: np.ndarray, valid: np.ndarray, size: Tuple[int, int]
                      ) -> scipy.sparse.csr_matrix:
    """[h w, H W] of places [h, w, 2], (u, v) in the frame of `size`; rows not `valid` are empty."""
    height, width = size
    u, v = np.clip(places[valid], 0, [width - 1, height - 1]).T              # [n]
    left = np.minimum(u.astype(np.int32), width - 2)
    top = np.minimum(v.astype(np.int32), height - 2)
    right_share, bottom_share = u - left, v - top
    corner = top * width + left
    indices = np.stack([corner, corner + 1, corner + width, corner + width + 1], axis=1)
    shares = np.stack([(1 - right_share) * (1 - bottom_share), right_share * (1 - bottom_share),
                       (1 - right_share) * bottom_share, right_share * bottom_share], axis=1)
    starts = np.concatenate([[0], np.cumsum(4 * valid.ravel())])
    return scipy.sparse.csr_matrix((shares.astype(np.float32).ravel(), indices.ravel(), starts),
                                   shape=(valid.size, height * width))


def _series(distortion: Distortion) -> Sequence[float]:
    """The radial coefficients k1, k2 ... in order."""
    values = distortion.coefficients
    return values if distortion.model == "fisheye" else (*values[:2], *values[4:])


def _radial(distortion: Distortion, square: np.ndarray) -> np.ndarray:
    """1 + k1 s + k2 s^2 + ... of s = `square`."""
    return np.polynomial.polynomial.polyval(square, [1.0, *_series(distortion)])


def _fold(distortion: Distortion) -> float:
    """The radius r, of the undistorted picture, at which the lens stops to push points outwards.

    Beyond it the polynomial, which was fitted to what the lens sees, falls again and would show
    the inner part of the frame a second time, mirrored. It is where the derivative of
    t (1 + k1 t^2 + k2 t^4 + ...) vanishes, t = r or atan(r).
    """
    slope = [1.0, *((2 * k + 3) * value for k, value in enumerate(_series(distortion)))]
    roots = np.roots(slope[::-1])
    real = roots.real[(np.abs(roots.imag) <= 1e-9 * np.abs(roots)) & (roots.real > 0)]
    if not len(real):
        return np.inf
    turn = np.sqrt(real.min())
    if distortion.model == "fisheye":
        return np.tan(turn) if turn < np.pi / 2 else np.inf
    return turn


def _largest_full(valid: np.ndarray) -> Tuple[int, int, int, int]:
    """(top, bottom, left, right), ends excluded, of a rectangle in which all of [H, W] is valid.

    Takes off the edge with the largest share of invalid pixels until none has any. What a lens
    sees has no holes, so the edges suffice; the result is the largest one or close to it.
    """
    top, left, (bottom, right) = 0, 0, valid.shape
    while top < bottom and left < right:
        part = valid[top:bottom, left:right]
        shares = [1 - edge.mean() for edge in (part[0], part[-1], part[:, 0], part[:, -1])]
        worst = int(np.argmax(shares))
        if shares[worst] == 0:
            break
        top, left = top + (worst == 0), left + (worst == 2)
        bottom, right = bottom - (worst == 1), right - (worst == 3)
    return top, bottom, left, right
