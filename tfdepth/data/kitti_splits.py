"""Splits of KITTI raw as facts: which frames and drives the papers test, train and validate on.

A frame is (drive, number), the drive as "2011_09_26_drive_0002", always of the left colour camera.
The order of the Eigen test frames counts: prediction files of other projects are in this order.

Sources: Eigen et al., NeurIPS 2014 (test frames); Uhrig et al., Sparsity Invariant CNNs, 3DV 2017
(improved ground truth); Zhou et al., CVPR 2017 and Godard et al., ICCV 2019 (training frames);
the development kit of the KITTI odometry benchmark (sequences).
"""
from typing import Dict, Tuple

EIGEN_TEST_FRAMES: Dict[str, Tuple[int, ...]] = {  # 28 drives, 697 frames, in published order
    "2011_09_26_drive_0002": (69, 54, 42, 57, 30, 27, 12, 75, 36, 33, 15, 72, 3, 39, 9, 51, 60, 21,
        0, 24, 45, 18, 48, 6, 63),
    "2011_09_26_drive_0009": (0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 196, 212, 228,
        244, 260, 276, 292, 308, 324, 340, 356, 372, 388),
    "2011_09_26_drive_0013": (90, 50, 110, 115, 60, 105, 125, 20, 140, 85, 70, 80, 65, 95, 130,
        100, 10, 30, 0, 135, 40, 5, 120, 45, 35),
    "2011_09_26_drive_0020": (3, 69, 57, 12, 72, 18, 63, 0, 84, 15, 66, 6, 48, 60, 9, 33, 21, 75,
        27, 45, 78, 36, 51, 54, 42),
    "2011_09_26_drive_0023": (18, 90, 126, 378, 36, 288, 198, 450, 144, 72, 252, 180, 432, 396, 54,
        468, 306, 108, 162, 342, 270, 414, 216, 360, 324),
    "2011_09_26_drive_0027": (77, 35, 91, 112, 7, 175, 42, 98, 133, 161, 14, 126, 168, 70, 84, 140,
        49, 0, 182, 147, 56, 63, 21, 119, 28),
    "2011_09_26_drive_0029": (380, 394, 324, 0, 268, 366, 296, 14, 28, 182, 168, 196, 140, 84, 56,
        112, 352, 126, 70, 310, 154, 98, 408, 42, 338),
    "2011_09_26_drive_0036": (0, 128, 192, 32, 352, 608, 224, 576, 672, 64, 448, 704, 640, 512,
        768, 160, 416, 480, 800, 288, 544, 96, 384, 256, 320),
    "2011_09_26_drive_0046": (0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85,
        90, 95, 100, 105, 110, 115, 120),
    "2011_09_26_drive_0048": (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
        20, 21),
    "2011_09_26_drive_0052": (46, 14, 36, 28, 26, 50, 40, 8, 16, 44, 18, 32, 42, 10, 20, 48, 52, 6,
        30, 12, 38, 0, 2, 4, 22),
    "2011_09_26_drive_0056": (11, 33, 242, 253, 286, 154, 99, 220, 22, 77, 187, 143, 66, 176, 110,
        275, 264, 198, 55, 88, 121, 209, 165, 231, 44),
    "2011_09_26_drive_0059": (56, 0, 344, 358, 316, 238, 98, 112, 28, 14, 330, 154, 42, 302, 182,
        288, 140, 274, 224, 372, 196, 126, 84, 210, 70),
    "2011_09_26_drive_0064": (528, 308, 44, 352, 66, 0, 506, 176, 22, 242, 462, 418, 110, 440, 396,
        154, 374, 88, 286, 550, 264, 220, 330, 484, 198),
    "2011_09_26_drive_0084": (283, 361, 270, 127, 205, 218, 153, 335, 192, 348, 101, 49, 179, 140,
        374, 322, 309, 244, 62, 257, 88, 114, 75, 296, 231),
    "2011_09_26_drive_0086": (7, 196, 439, 169, 115, 34, 304, 331, 277, 520, 682, 628, 88, 601,
        574, 223, 655, 358, 412, 142, 385, 61, 493, 466, 250),
    "2011_09_26_drive_0093": (0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224,
        240, 256, 305, 321, 337, 353, 369, 385, 401, 417),
    "2011_09_26_drive_0096": (0, 19, 38, 57, 76, 95, 114, 133, 152, 171, 190, 209, 228, 247, 266,
        285, 304, 323, 342, 361, 380, 399, 418, 437, 456),
    "2011_09_26_drive_0101": (692, 930, 760, 896, 284, 148, 522, 794, 624, 726, 216, 318, 488, 590,
        454, 862, 386, 352, 420, 658, 828, 556, 114, 182, 80),
    "2011_09_26_drive_0106": (15, 35, 43, 51, 59, 67, 75, 83, 91, 99, 107, 115, 123, 131, 139, 147,
        155, 163, 171, 179, 187, 195, 203, 211, 219),
    "2011_09_26_drive_0117": (312, 494, 104, 130, 156, 182, 598, 416, 364, 26, 78, 572, 468, 260,
        624, 234, 442, 390, 546, 286, 0, 338, 208, 650, 52),
    "2011_09_28_drive_0002": (24, 21, 36, 0, 51, 18, 33, 90, 45, 54, 12, 39, 9, 3, 30, 78, 60, 48,
        84, 81, 6, 57, 72, 87, 63),
    "2011_09_29_drive_0071": (252, 540, 1054, 36, 360, 807, 879, 288, 771, 0, 216, 951, 324, 432,
        504, 576, 108, 180, 72, 612, 915, 735, 144, 396, 468),
    "2011_09_30_drive_0016": (132, 11, 154, 22, 242, 198, 176, 231, 275, 220, 88, 143, 55, 33, 187,
        110, 44, 77, 66, 0, 165, 264, 253, 209, 121),
    "2011_09_30_drive_0018": (107, 2247, 1391, 535, 1819, 1177, 428, 1926, 749, 1284, 2140, 1605,
        1498, 642, 2740, 2419, 856, 2526, 1712, 1070, 0, 2033, 214, 963, 2633),
    "2011_09_30_drive_0027": (533, 1040, 82, 205, 835, 451, 164, 794, 328, 615, 917, 369, 287, 123,
        876, 410, 492, 958, 656, 0, 753, 574, 1081, 41, 246),
    "2011_10_03_drive_0027": (2906, 2544, 362, 4535, 734, 1096, 4173, 543, 1277, 4354, 1458, 1820,
        3449, 3268, 915, 2363, 2725, 181, 1639, 3992, 3087, 2001, 3811, 3630, 0),
    "2011_10_03_drive_0047": (96, 800, 320, 576, 0, 480, 640, 32, 384, 160, 704, 736, 672, 64, 288,
        352, 512, 544, 608, 128, 224, 416, 192, 448, 768),
}

EIGEN_TEST_DRIVES = tuple(EIGEN_TEST_FRAMES)
EIGEN_TEST = tuple((drive, frame) for drive, frames in EIGEN_TEST_FRAMES.items()
                   for frame in frames)

# The improved ground truth lacks the first and the last five frames of each drive. Of the 697 that
# makes 45: those below number 5, and these:
_FIRST_FRAMES = 5
_LAST_FRAMES = {
    "2011_09_26_drive_0002": (72, 75),
    "2011_09_26_drive_0013": (140,),
    "2011_09_26_drive_0020": (84,),
    "2011_09_26_drive_0036": (800,),
    "2011_09_26_drive_0046": (120,),
    "2011_09_26_drive_0048": (17, 18, 19, 20, 21),
    "2011_09_26_drive_0059": (372,),
    "2011_09_29_drive_0071": (1054,),
    "2011_09_30_drive_0016": (275,),
}
EIGEN_IMPROVED_IDS = tuple(  # 652 indices into EIGEN_TEST: the frames with improved ground truth
    k for k, (drive, frame) in enumerate(EIGEN_TEST)
    if frame >= _FIRST_FRAMES and frame not in _LAST_FRAMES.get(drive, ()))

# Ours, by drive, so that no validation frame is the neighbour of a training frame (the published
# lists draw frames): a tenth of the published training and validation frames, 2,223 of 22,117 a
# camera, from three dates.
EIGEN_VALIDATION_DRIVES = (
    "2011_09_26_drive_0005",   # 152 frames with both neighbours
    "2011_09_26_drive_0014",   # 312
    "2011_09_26_drive_0091",   # 338
    "2011_09_29_drive_0004",   # 319 that are not static
    "2011_09_30_drive_0020",   # 1,102
)

# Images in Monodepth2's eigen_zhou lists: of 32 drives, both colour cameras, every frame but the
# first and the last of its drive and but those of SfMLearner's list of static frames.
EIGEN_ZHOU_TRAIN_IMAGES, EIGEN_ZHOU_VALIDATION_IMAGES = 39_810, 4_424

NAMED_DRIVES = {  # what a tuple of drive names may hold in place of names
    "eigen_test": EIGEN_TEST_DRIVES,
    "eigen_validation": EIGEN_VALIDATION_DRIVES,
}

# Sequence of KITTI odometry -> (drive, number of its first frame, of its last). Those of 01, 02,
# 06, 08, 09 and 10 are in the training lists of the Eigen split, those of 00, 04, 05 and 07 are
# among its test drives: a model trained on the Eigen split must not be scored on 09 and 10.
ODOMETRY_FRAMES = {
    "00": ("2011_10_03_drive_0027", 0, 4540),
    "01": ("2011_10_03_drive_0042", 0, 1100),
    "02": ("2011_10_03_drive_0034", 0, 4660),
    "03": ("2011_09_26_drive_0067", 0, 800),
    "04": ("2011_09_30_drive_0016", 0, 270),
    "05": ("2011_09_30_drive_0018", 0, 2760),
    "06": ("2011_09_30_drive_0020", 0, 1100),
    "07": ("2011_09_30_drive_0027", 0, 1100),
    "08": ("2011_09_30_drive_0028", 1100, 5170),
    "09": ("2011_09_30_drive_0033", 0, 1590),
    "10": ("2011_09_30_drive_0034", 0, 1200),
}
