"""The pinhole camera: rays of pixels, projection, and what image operations do to it.

Shape letters: B batch, H rows, W columns, N points.

Pixel convention of the whole library, stated here once: the centre of the top-left pixel is
(0, 0), u grows to the right, v downwards; an image covers [-0.5, W - 0.5] x [-0.5, H - 0.5].
Camera frame: x right, y down, z forward. `intrinsics` [3, 3] = [[fx, s, cx], [0, fy, cy],
[0, 0, 1]] in pixels of the image beside it. Lenses are free of distortion.
"""
import tensorflow as tf

from tfdepth.checks import check_shape
from tfdepth.geometry.products import matmul
from tfdepth.geometry.selection import select
from tfdepth.tracing import sizes

# Points nearer to the camera plane than this (in the unit of the depth), or behind it, have no
# picture. The bound also keeps the gradient of 1 / z finite.
MIN_DEPTH = 1e-3


def pixel_grid(height, width, dtype=tf.float32):
    """Homogeneous coordinates of all pixel centres in row-major order: [3, H * W], rows u, v, 1."""
    u, v = tf.meshgrid(tf.range(width), tf.range(height), indexing="xy")
    grid = tf.stack([u, v, tf.ones_like(u)])                               # [3, H, W]
    return tf.cast(tf.reshape(grid, [3, -1]), dtype)


def inverse_intrinsics(intrinsics):
    """Inverse of upper triangular intrinsics in closed form: [..., 3, 3] -> [..., 3, 3]."""
    check_shape("intrinsics", intrinsics, ["...", 3, 3])
    shape = sizes(intrinsics)
    fx, skew, cx, _, fy, cy, *_ = tf.unstack(tf.reshape(intrinsics, [*shape[:-2], 9]), axis=-1)
    zero, one = tf.zeros_like(fx), tf.ones_like(fx)
    inverse = [1.0 / fx, -skew / (fx * fy), (skew * cy - cx * fy) / (fx * fy),
               zero, 1.0 / fy, -cy / fy,
               zero, zero, one]
    return tf.reshape(tf.stack(inverse, axis=-1), shape)


def unproject(depth, intrinsics):
    """Lifts every pixel to a point in its own camera frame.

    Args:
      depth: [B, H, W, 1], metres along the optical axis (z, not ray length).
      intrinsics: [B, 3, 3], pixels of this H x W image.

    Returns: [B, H * W, 3] points in row-major order of their pixels, unit of `depth`.
    Raises: ValueError: if a static shape differs from the above.
    Source: Hartley and Zisserman, Multiple View Geometry, 2nd ed., section 6.1.
    """
    check_shape("depth", depth, ["B", "H", "W", 1])
    check_shape("intrinsics", intrinsics, ["B", 3, 3])
    batch, height, width, _ = sizes(depth)
    rays = matmul(inverse_intrinsics(intrinsics), pixel_grid(height, width, depth.dtype))
    points = rays * tf.reshape(depth, [batch, 1, -1])                      # [B, 3, H * W]
    return tf.linalg.matrix_transpose(points)


def project(points, intrinsics):
    """Projects points of the camera frame into the image.

    Args:
      points: [B, N, 3], in the camera frame.
      intrinsics: [B, 3, 3], pixels.

    Returns:
      pixels: [B, N, 2], (u, v); (-2, -2), outside every image, where not `in_front`.
      in_front: [B, N] bool, whether the point lies at least MIN_DEPTH before the camera plane.

    Raises: ValueError: if a static shape differs from the above.
    Source: Hartley and Zisserman, Multiple View Geometry, 2nd ed., eq. 6.2.
    """
    check_shape("points", points, ["B", "N", 3])
    check_shape("intrinsics", intrinsics, ["B", 3, 3])
    homogeneous = matmul(intrinsics, tf.linalg.matrix_transpose(points))   # [B, 3, N]
    u, v, in_front = divide_by_depth(*tf.unstack(homogeneous, axis=-2))
    return tf.stack([u, v], axis=-1), in_front


@tf.custom_gradient
def divide_by_depth(x, y, z):
    """Returns x / z, y / z and whether z >= MIN_DEPTH, tensors of one shape.

    Where it is not, -2, -2 with a zero gradient: dividing by a depth that is nearly zero or
    negative would mirror points behind the camera into the picture.
    """
    in_front = z >= MIN_DEPTH                                              # False for NaN
    inverse_z = select(in_front, 1.0 / z, 0.0)
    u, v = (select(in_front, each * inverse_z, -2.0) for each in (x, y))

    def gradient(of_u, of_v, _):  # two thirds of the passes that automatic differentiation takes
        times = tf.math.multiply_no_nan  # 0 where inverse_z is, whatever comes from above
        return times(of_u, inverse_z), times(of_v, inverse_z), -times(of_u * u + of_v * v, inverse_z)

    return (u, v, in_front), gradient


def resize_intrinsics(intrinsics, scale_yx, keep_pixel_centres=True):
    """The camera of an image after a resize by `scale_yx`.

    Args:
      intrinsics: [..., 3, 3], pixels before the resize.
      scale_yx: (vertical, horizontal) factors, new size / old size.
      keep_pixel_centres: True maps u' = (u + 0.5) s - 0.5, what resizing does to an image. False
        multiplies the principal point only, as SfMLearner published.

    Returns: [..., 3, 3], pixels after the resize.
    Raises: ValueError: if the last axes of `intrinsics` are not 3 x 3.
    """
    check_shape("intrinsics", intrinsics, ["...", 3, 3])
    scale_y, scale_x = scale_yx
    shift = 0.5 if keep_pixel_centres else 0.0
    new_from_old = _pixel_map(intrinsics.dtype, scale_x, scale_y,
                              shift * scale_x - shift, shift * scale_y - shift)
    return matmul(new_from_old, intrinsics)


def crop_intrinsics(intrinsics, offset_yx):
    """The camera of an image after its first rows and columns were cut.

    Args:
      intrinsics: [..., 3, 3], pixels before the crop.
      offset_yx: how many (rows, columns) were cut; floats.

    Returns: [..., 3, 3], pixels after the crop.
    Raises: ValueError: if the last axes of `intrinsics` are not 3 x 3.
    """
    check_shape("intrinsics", intrinsics, ["...", 3, 3])
    new_from_old = _pixel_map(intrinsics.dtype, 1.0, 1.0, -offset_yx[1], -offset_yx[0])
    return matmul(new_from_old, intrinsics)


def flip_left_right(image, intrinsics):
    """Mirrors an image together with the camera that took it.

    Args:
      image: [..., H, W, C], W static.
      intrinsics: [..., 3, 3], pixels of the image.

    Returns:
      The mirrored image and its camera, shapes as given. A world mirrored in x and seen through
      the new camera gives the new image: cx' = W - 1 - cx, focal lengths stay positive.

    Raises: ValueError: if the last axes of `intrinsics` are not 3 x 3.
    """
    check_shape("intrinsics", intrinsics, ["...", 3, 3])
    mirror_pixels = _pixel_map(intrinsics.dtype, -1.0, 1.0, image.shape[-2] - 1.0, 0.0)
    mirror_camera = tf.constant([-1.0, 1.0, 1.0], intrinsics.dtype)  # times each column
    return tf.reverse(image, axis=[-2]), matmul(mirror_pixels, intrinsics) * mirror_camera


def _pixel_map(dtype, scale_x, scale_y, shift_x, shift_y):
    """[3, 3] matrix of u' = scale_x u + shift_x, v' = scale_y v + shift_y."""
    return tf.convert_to_tensor(
        [[scale_x, 0.0, shift_x], [0.0, scale_y, shift_y], [0.0, 0.0, 1.0]], dtype)
