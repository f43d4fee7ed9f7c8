"""Two predictions of an image, one of them through a mirror, made one."""
import numpy as np

from tfdepth.checks import check_shape


def post_process(disparity: np.ndarray, disparity_of_mirrored: np.ndarray) -> np.ndarray:
    """Blends the disparity of an image with that of its mirror image.

    A network trained with stereo pairs guesses at the left border, which its other camera did not
    see; of the mirrored image it guesses at the other border. So the left 5 % of the columns come
    from the mirrored image and the right 5 % from the plain one. In the middle it is the mean of
    both; the next 5 % from either border lead over, linearly.

    Args:
      disparity: [..., H, W], 1 / depth in any unit.
      disparity_of_mirrored: [..., H, W], what the same network predicts of the mirrored image, as
        it comes: not mirrored back.

    Returns:
      [..., H, W].

    Raises:
      ValueError: the shapes differ from the above.

    Source: Godard et al., Unsupervised Monocular Depth Estimation with Left-Right Consistency,
      CVPR 2017, section 3.4, and its code, whose ramp ends at 10 %.
    """
    check_shape("disparity", disparity, ["...", "H", "W"])
    check_shape("disparity_of_mirrored", disparity_of_mirrored, list(disparity.shape))
    mirrored_back = disparity_of_mirrored[..., ::-1]
    across = np.linspace(0, 1, disparity.shape[-1])              # [W], 0 = left border, 1 = right
    at_left = 1 - np.clip(20 * (across - 0.05), 0, 1)            # [W]
    at_right = at_left[::-1]
    mean = 0.5 * (disparity + mirrored_back)
    return at_right * disparity + at_left * mirrored_back + (1 - at_left - at_right) * mean
