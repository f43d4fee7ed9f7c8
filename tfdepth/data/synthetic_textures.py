"""Textures of the synthetic world: made from noise and structure, read without aliasing.

Axes of a texture: rows run along v, columns along u, both in metres on the surface; textures
repeat. Letters: H rows, W columns, N samples.
"""
import dataclasses
from typing import List, Tuple

import numpy as np

# Red, green and blue share one 64-bit integer, 21 bits each: NumPy then gathers and blends
# three channels at the price of one. 8 bits of colour x 13 bits of weight fit into 21.
_CHANNEL_BITS = 21
_WEIGHT_ONE = 1 << 13
_TAPS = 4  # samples along the long side of a pixel's footprint


def noise(random: np.random.Generator, size: Tuple[int, int], falloff: float = 1.0):
    """Repeating noise whose amplitude falls as 1 / frequency ** falloff.

    With falloff 1 every octave has the same contrast, so that a surface is textured at any
    distance. Returns [H, W] float64, mean 0, standard deviation 1.

    Source: D. J. Field, Relations between the statistics of natural images and the response
    properties of cortical cells, JOSA A 4(12), 1987 (1/f amplitude).
    """
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(random.standard_normal(size)) / frequency ** falloff
    values = np.fft.irfft2(spectrum, size)
    return values / values.std()


def ground(random, road_half_width: float, pavement_width: float):
    """Texture of a street: road with markings and patches, kerbs, pavement, what lies beyond.

    Args:
      road_half_width, pavement_width: metres.

    Returns: [2048, 1024, 3] float64 in [0, 1]; 64 m along the street by 32 m across, the
      street's middle in the middle.
    """
    size, texels_per_metre = (2048, 1024), 32.0
    across = (np.arange(size[1]) + 0.5) / texels_per_metre - 16.0
    along = (np.arange(size[0]) + 0.5) / texels_per_metre
    beyond = np.array([[0.30, 0.40, 0.16], [0.52, 0.45, 0.33], [0.45, 0.44, 0.42],
                       [0.24, 0.33, 0.18]])[random.integers(4)]
    road = random.uniform(0.32, 0.58) * (1 + random.uniform(-0.08, 0.08, 3))
    pavement = random.uniform(0.42, 0.62) * (1 + random.uniform(-0.12, 0.12, 3))
    kerb = np.abs(across) > road_half_width
    outside = np.abs(across) > road_half_width + pavement_width
    colour = np.where(outside[:, None], beyond, np.where(kerb[:, None], pavement, road))
    colour = np.broadcast_to(colour, (*size, 3)).copy()                     # [H, W, 3]

    slab = random.uniform(0.7, 1.5)
    joints = ((along % slab < 0.07)[:, None] | (across % slab < 0.07)[None]) & kerb & ~outside
    colour[joints] *= 0.6
    colour[:, (np.abs(across) > road_half_width) & (np.abs(across) < road_half_width + 0.2)] = (
        0.72 * (1 + random.uniform(-0.1, 0.1, 3)))
    for _ in range(26):  # asphalt that was mended
        row, column = random.integers(0, size[0] - 130), random.integers(200, size[1] - 300)
        patch = colour[row:row + random.integers(20, 130), column:column + random.integers(15, 90)]
        patch *= random.choice([0.55, 0.7, 1.3])
    paint = np.array([0.86, 0.85, 0.8]) if random.random() < 0.7 else np.array([0.9, 0.75, 0.3])
    dash = along % random.choice([4.0, 6.4, 8.0]) < random.uniform(1.5, 3.0)
    colour[np.ix_(dash, np.abs(across) < 0.09)] = paint
    if random.random() < 0.7:
        colour[:, np.abs(np.abs(across) - road_half_width + 0.4) < 0.08] = paint
    grain = random.uniform(0.22, 0.32) * noise(random, size)
    grain *= np.where(outside, 1.25, 1.0)
    colour *= 1 + grain[..., None]
    for channel in (0, 2):  # blotches of tint need no fine detail
        tint = noise(random, (size[0] // 4, size[1] // 4), 1.5)
        colour[..., channel] *= 1 + 0.05 * np.repeat(np.repeat(tint, 4, axis=0), 4, axis=1)
    return np.clip(colour, 0.02, 1.0)


def facade(random):
    """Texture of a house: storeys of windows on plaster or brick.

    Returns: [512, 512, 3] float64 in [0, 1]; 12 x 12 m, the first row at the ground.
    """
    size, texels_per_metre = (512, 512), 512 / 12.0
    colour = np.empty((*size, 3))
    colour[:] = random.uniform(0.35, 0.8) * (1 + random.uniform(-0.3, 0.3, 3))
    up = (np.arange(512) + 0.5) / texels_per_metre
    if random.random() < 0.5:  # courses of brick or stone
        course = random.uniform(0.3, 0.6)
        colour[up % course < 0.06] *= 0.75
    storey = random.choice([3.0, 4.0])
    spacing = 12.0 / random.integers(4, 8)
    width, height = spacing * random.uniform(0.4, 0.7), storey * random.uniform(0.4, 0.65)
    colour[up % storey < random.uniform(0.1, 0.3)] *= random.choice([0.6, 1.35])
    for floor in range(int(round(12.0 / storey))):
        for column in range(int(round(12.0 / spacing))):
            left = column * spacing + 0.5 * (spacing - width)
            low = floor * storey + 0.3 * (storey - height) + 0.3
            rim = [int(x * texels_per_metre) for x in (low, low + height, left, left + width)]
            glass = random.uniform(0.05, 0.3) * np.array([0.85, 0.95, 1.1])
            if random.random() < 0.25:
                glass = random.uniform(0.5, 0.9) * np.array([1.0, 0.93, 0.75])
            colour[rim[0]:rim[1], rim[2]:rim[3]] = random.uniform(0.6, 0.95)
            colour[rim[0] + 4:rim[1] - 4, rim[2] + 4:rim[3] - 4] = glass
    colour *= 1 + random.uniform(0.14, 0.22) * noise(random, size)[..., None]
    colour[:28] *= 0.6  # a dark plinth
    return np.clip(colour, 0.02, 1.0)


def car(random, part: str, paint):
    """Texture of a car's "body" or "cabin" in the colour `paint` [3].

    Returns: [256, 256, 3] float64 in [0, 1]; 4 x 4 m, the first row at the part's foot.
    """
    colour = np.empty((256, 256, 3))
    colour[:] = paint
    if part == "body":
        colour[:18] = 0.08              # tyres and the shadow below
        colour[:18, 90:150] = 0.2
        colour[40:46] *= 1.5
        colour[18:58, ::64] *= 0.5      # doors
    else:
        colour[5:26] = [0.2, 0.25, 0.3]  # windows
        colour[5:26, ::48] = paint
    return np.clip(colour * (1 + 0.14 * noise(random, (256, 256))[..., None]), 0.02, 1.0)


def cover(random, kind: str):
    """Texture of small things: "crate", "pole", "leaves" or "coat" (a person).

    Returns: [256, 256, 3] float64 in [0, 1]; 4 x 4 m, the first row at the ground.
    """
    size = (256, 256)
    colour = np.empty((*size, 3))
    lively = 0.15 + 0.7 * random.random(3)
    up = (np.arange(256) + 0.5) / 64.0
    contrast = 0.16
    if kind == "crate":
        colour[:] = lively
        stripes = (np.add.outer(up, up) % 0.8) < 0.4
        colour[stripes] = 0.15 + 0.7 * random.random(3)
    elif kind == "pole":
        colour[:] = random.uniform(0.2, 0.6)
        colour[(up % 1.0) < 0.3] *= 1.5
    elif kind == "leaves":
        colour[:] = [0.22, 0.38, 0.13]
        colour *= random.uniform(0.7, 1.3)
        contrast = 0.42
    else:
        colour[:] = lively
        colour[:52] = 0.2
        colour[90:] = [0.75, 0.55, 0.45]
    colour *= 1 + contrast * noise(random, size)[..., None]
    return np.clip(colour, 0.02, 1.0)


def sky(random):
    """Texture of the sky: [256, 1024, 3] float64 in [0, 1].

    Columns go once round the horizon. Rows are 2 ** -8 of a half circle each, from 90 degrees
    below the horizon (row 0) to the zenith.
    """
    size = (256, 1024)
    high = np.clip(np.linspace(-1, 1, 256), 0, 1)[:, None, None] ** 0.6
    low_colour = np.array([0.80, 0.84, 0.88]) * random.uniform(0.85, 1.1)
    high_colour = np.array([0.35, 0.52, 0.80]) * random.uniform(0.7, 1.15)
    clouds = np.clip(0.5 + 0.5 * noise(random, size, 1.8), 0, 1)[..., None]
    cover_share = random.uniform(0.3, 0.9)
    colour = low_colour + high * (high_colour - low_colour)
    return np.clip(colour + cover_share * clouds * (0.9 - colour), 0, 1)


@dataclasses.dataclass(frozen=True)
class TexturePool:
    """All textures of a world with all their levels, in one array; made by `build_pool`."""
    texels: np.ndarray             # uint64, three channels in one integer
    level_count: int               # levels a texture; coarsest ones are repeated
    offsets: np.ndarray            # [T * level_count], where a level starts in `texels`
    width_bits: np.ndarray         # [T * level_count], log2 of the columns of a level
    row_masks: np.ndarray          # [T * level_count], rows - 1
    column_masks: np.ndarray       # [T * level_count], columns - 1
    texels_per_metre: np.ndarray   # [T * level_count]


def build_pool(textures: List[Tuple[np.ndarray, float]]) -> TexturePool:
    """Packs (colours [H, W, 3] in [0, 1], texels per metre); H and W are powers of two."""
    level_count = 10
    texels, rows, start = [], [], 0
    for colour, density in textures:
        for level in range(level_count):
            height, width = colour.shape[:2]
            packed = np.round(colour * 255).astype(np.uint64) << np.array(
                [0, _CHANNEL_BITS, 2 * _CHANNEL_BITS], np.uint64)
            texels.append(packed.sum(axis=-1, dtype=np.uint64).ravel())
            rows.append((start, width.bit_length() - 1, height - 1, width - 1, density))
            start += height * width
            if min(height, width) > 2:
                colour = colour.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
                density *= 0.5
    offsets, width_bits, row_masks, column_masks, densities = zip(*rows)
    return TexturePool(np.concatenate(texels), level_count, np.array(offsets, np.int32),
                       np.array(width_bits, np.int32), np.array(row_masks, np.int32),
                       np.array(column_masks, np.int32), np.array(densities, np.float32))


def sample(pool: TexturePool, texture, uv, long_axis, short_side):
    """Mean colours of the footprints of pixels: trilinear, several taps along the long side.

    Args:
      pool: the textures.
      texture: [N] int32, which texture.
      uv: [N] complex64, u + i v of the footprint's middle, metres.
      long_axis: [N] complex64, the footprint's long side as a vector in (u, v), metres.
      short_side: [N] float32, metres.

    Returns: three [N] float32, red, green and blue in [0, 255].

    Source: L. Williams, Pyramidal Parametrics, SIGGRAPH 1983 (trilinear lookup).
    """
    width = np.maximum(short_side, np.abs(long_axis) * np.float32(1 / _TAPS))
    first = texture * np.int32(pool.level_count)
    level = np.log2(width * pool.texels_per_metre[first])
    level = np.clip(level, 0, pool.level_count - 1.001)
    floor = level.astype(np.int32)
    fraction = level - floor
    total = np.zeros(texture.shape, np.uint64)
    for step, share in ((0, 1 - fraction), (1, fraction)):
        _add_level(pool, first + floor + step, uv, long_axis,
                   share * np.float32(_WEIGHT_ONE / _TAPS), total)
    mask = np.uint64((1 << _CHANNEL_BITS) - 1)
    return tuple(
        ((total >> np.uint64(channel * _CHANNEL_BITS)) & mask).astype(np.float32)
        * np.float32(1 / _WEIGHT_ONE) for channel in range(3))


def _add_level(pool, row, uv, long_axis, weight, total):
    """Adds to `total` the taps at one level, `row` of the pool's tables, times `weight`."""
    half = np.float32(0.5)
    density, offset = pool.texels_per_metre[row], pool.offsets[row]
    bits, row_mask, column_mask = pool.width_bits[row], pool.row_masks[row], pool.column_masks[row]
    for tap in range(_TAPS):
        place = (uv + long_axis * np.float32((tap + 0.5) / _TAPS - 0.5)) * density
        x, y = place.real - np.float32(0.5), place.imag - np.float32(0.5)
        left, low = np.floor(x), np.floor(y)
        right_share, high_share = x - left, y - low
        left, low = left.astype(np.int32), low.astype(np.int32)
        columns = (left & column_mask, (left + 1) & column_mask)
        rows = [offset + ((r & row_mask) << bits) for r in (low, low + 1)]
        high = weight * high_share
        for start, amount in zip(rows, (weight - high, high)):
            right = amount * right_share
            # Rounded: 32 weights sum to at most _WEIGHT_ONE + 16, and 255 x 8208 < 2 ** 21.
            total += pool.texels[start + columns[0]] * (amount - right + half).astype(np.uint64)
            total += pool.texels[start + columns[1]] * (right + half).astype(np.uint64)
