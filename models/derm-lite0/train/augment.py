"""Training pictures as no two epochs see them alike: geometry, sharpness, hairs, vignette and colour by chance, seeded.

All on 8-bit RGB arrays [height, width, 3], by OpenCV, which is quick enough to run beside the training.
"""

import math
import os
import typing

import cv2
import numpy as np
import torch

cv2.setNumThreads(1)

# The side and the JPEG quality of the smallest pictures, those of BCN20000, and the chance that another is made like them.
COARSE_SIDE, COARSE_QUALITY, COARSE = 84, 75, 0.25


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


def coarse(picture):
    """As small as BCN20000's pictures and compressed as they are, so that neither tells a source."""
    if picture.shape[0] <= COARSE_SIDE:
        return picture
    small = cv2.resize(picture, (COARSE_SIDE, COARSE_SIDE), interpolation=cv2.INTER_AREA)
    return cv2.imdecode(cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, COARSE_QUALITY))[1], cv2.IMREAD_COLOR)


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


class View(typing.NamedTuple):
    """How a training view is made: its side in pixels, and the share of the frame's side that is seen (least, most)."""

    size: int
    zoom: tuple

    def of(self, picture, random):
        """[size, size, 3]"""
        if random.random() < COARSE:
            picture = coarse(picture)
        picture = colour(geometry(picture, self.size, self.zoom, random), random)
        for change, chance in ((blur, 0.3), (hairs, 0.15), (vignette, 0.15)):
            if random.random() < chance:
                picture = change(picture, random)
        return picture


class Batches(torch.utils.data.Dataset):
    """For each row of `chosen` (indices [batch]): uint8 [batch, size, size, 3], seeded by its place."""

    def __init__(self, pictures, chosen, view, seed):
        self.pictures, self.chosen, self.view, self.seed = pictures, chosen, view, seed

    def __len__(self):
        return len(self.chosen)

    def __getitem__(self, step):
        random = np.random.default_rng((*self.seed, step))
        return torch.from_numpy(np.stack([self.view.of(self.pictures[i], random) for i in self.chosen[step]]))


def batches(pictures, chosen, view, seed):
    """The batches in order, made ahead by processes: one beside a training on the processor, some beside one on a GPU."""
    gpu = torch.cuda.is_available()
    workers = max(1, min(6, os.cpu_count() // 3)) if gpu else 1
    # Forked: the pictures are not copied.
    return torch.utils.data.DataLoader(
        Batches(pictures, chosen, view, seed),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="fork",
        pin_memory=gpu,
    )
