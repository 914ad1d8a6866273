"""Training pictures as no two epochs see them alike: geometry, sharpness, hairs, vignette and colour by chance, seeded.

All on 8-bit RGB arrays [height, width, 3], by OpenCV, which is quick enough to run beside the training.
"""

import concurrent.futures
import math

import cv2
import numpy as np

cv2.setNumThreads(1)


def geometry(picture, size, zoom, random):
    """Flip, rotate, scale, stretch and shift at once, by one resampling to size x size.

    `zoom`: the least and the most of the frame's side that is seen.
    """
    side = picture.shape[0]
    angle = random.uniform(0, 2 * math.pi)
    seen = math.exp(random.uniform(*np.log(zoom)))
    stretch = math.exp(random.uniform(-0.15, 0.15))
    flip = random.choice((-1.0, 1.0))
    room = max(0.0, 1 - seen) * side / 2
    to_source = np.array(
        [
            [math.cos(angle) * flip * stretch, -math.sin(angle) / stretch],
            [math.sin(angle) * flip * stretch, math.cos(angle) / stretch],
        ]
    ) * (seen * side / size)
    centre = np.full(2, (side - 1) / 2) + random.uniform(-room, room, 2)
    shift = centre - to_source @ np.full(2, (size - 1) / 2)
    matrix = np.column_stack([to_source, shift])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, matrix, (size, size), flags=how, borderMode=cv2.BORDER_REFLECT)


def blur(picture, random):
    """Another camera's sharpness: through fewer pixels."""
    size = picture.shape[0]
    fewer = int(size * random.uniform(0.4, 0.9))
    small = cv2.resize(picture, (fewer, fewer), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)


def hairs(picture, random):
    """A few dark curves, one to two pixels wide."""
    size = picture.shape[0]
    out = picture.copy()
    shade = random.uniform(10, 70) * np.array([1.0, 0.85, 0.75])
    t = np.linspace(0, 1, 12)[:, None]
    for _ in range(int(random.integers(2, 14))):
        start, middle, end = random.uniform(-0.1, 1.1, (3, 2)) * size
        middle = 0.7 * (start + end) / 2 + 0.3 * middle
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        cv2.polylines(out, [np.int32(curve * 16)], False, shade.tolist(), int(random.integers(1, 3)), cv2.LINE_AA, 4)
    return out


def vignette(picture, random):
    """The dark frame around a dermatoscope's round field."""
    size = picture.shape[0]
    radius, soft = random.uniform(0.5, 0.68) * size, random.uniform(0.01, 0.12) * size
    x, y = (np.arange(size) - size * random.uniform(0.44, 0.56) for _ in range(2))
    distance = np.sqrt(x[None, :] ** 2 + y[:, None] ** 2)
    light = np.clip((radius - distance) / soft, random.uniform(0.0, 0.5), 1)
    return (picture * light[..., None]).astype(np.uint8)


def colour(picture, random):
    """Gamma, brightness, white balance, saturation and contrast."""
    gamma = math.exp(random.uniform(-0.25, 0.25))
    gains = random.uniform(0.85, 1.15, 3) * random.uniform(0.8, 1.2)
    curve = (np.arange(256) / 255) ** gamma * 255
    table = np.clip(np.outer(curve, gains) + 0.5, 0, 255).astype(np.uint8)
    picture = cv2.LUT(picture, table[:, None, :])
    saturation, contrast = random.uniform(0.7, 1.3), random.uniform(0.8, 1.25)
    level = float(np.mean(cv2.mean(picture)[:3]))
    mix = contrast * (saturation * np.eye(3) + (1 - saturation) / 3)
    return cv2.transform(picture, np.column_stack([mix, np.full(3, (1 - contrast) * level)]))


def view(picture, size, zoom, random):
    """One training view [size, size, 3]."""
    picture = colour(geometry(picture, size, zoom, random), random)
    for change, chance in ((blur, 0.3), (hairs, 0.15), (vignette, 0.15)):
        if random.random() < chance:
            picture = change(picture, random)
    return picture


def batches(pictures, chosen, size, zoom, seed):
    """For each row of `chosen` (indices [batch]): uint8 [batch, size, size, 3], made one ahead by a thread."""

    def batch(step):
        random = np.random.default_rng((*seed, step))
        return np.stack([view(pictures[i], size, zoom, random) for i in chosen[step]])

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        following = pool.submit(batch, 0)
        for step in range(len(chosen)):
            made = following.result()
            if step + 1 < len(chosen):
                following = pool.submit(batch, step + 1)
            yield made
