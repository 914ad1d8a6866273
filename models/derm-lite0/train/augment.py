"""Training pictures as no two epochs see them alike: sharpness, geometry and colour by chance, seeded.

All on 8-bit RGB arrays [height, width, 3], by OpenCV, which is quick enough to run beside the training.
"""

import concurrent.futures
import math

import cv2
import numpy as np

cv2.setNumThreads(1)


def soften(picture):
    """As the other image set came to be: through 150x150."""
    small = cv2.resize(picture, (150, 150), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)


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
        [[math.cos(angle) * flip * stretch, -math.sin(angle) / stretch], [math.sin(angle) * flip * stretch, math.cos(angle) / stretch]]
    ) * (seen * side / size)
    centre = np.full(2, (side - 1) / 2) + random.uniform(-room, room, 2)
    shift = centre - to_source @ np.full(2, (size - 1) / 2)
    matrix = np.column_stack([to_source, shift])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, matrix, (size, size), flags=how, borderMode=cv2.BORDER_REFLECT)


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


def view(picture, sharp, size, zoom, random):
    """One training view [size, size, 3]; half of the sharp pictures lose their sharpness first."""
    if sharp and random.random() < 0.5:
        picture = soften(picture)
    return colour(geometry(picture, size, zoom, random), random)


def batches(pictures, sharp, chosen, size, zoom, seed):
    """For each row of `chosen` (indices [batch]): uint8 [batch, size, size, 3], made one ahead by a thread."""

    def batch(step):
        random = np.random.default_rng((*seed, step))
        return np.stack([view(pictures[i], sharp[i], size, zoom, random) for i in chosen[step]])

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        following = pool.submit(batch, 0)
        for step in range(len(chosen)):
            made = following.result()
            if step + 1 < len(chosen):
                following = pool.submit(batch, step + 1)
            yield made
