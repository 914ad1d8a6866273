"""Draws the example lesion, bins/derm-server/src/page/example.jpg (pip install numpy pillow)."""

import pathlib

import numpy as np
from PIL import Image, ImageFilter

HEIGHT, WIDTH = 600, 800
random = np.random.default_rng(7)
y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)


def noise(scale):
    small = random.normal(size=(HEIGHT // scale + 2, WIDTH // scale + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def shaded(red, green, blue, texture):
    return np.stack([red + texture, green + 0.85 * texture, blue + 0.8 * texture], -1)


angle, radius = np.arctan2(y - 300, x - 410), np.hypot((x - 410) / 1.25, y - 300)
edge = 150 + 18 * np.sin(3 * angle + 0.6) + 10 * np.sin(7 * angle) + 5 * noise(40)
inside = 1 / (1 + np.exp((radius - edge) / 9))[..., None]
core = 1 / (1 + np.exp((np.hypot(x - 365, y - 325) - 70) / 18))[..., None]
skin = shaded(226, 184, 166, 5 * noise(60) + 2 * noise(5))
lesion = shaded(120, 72, 52, 14 * noise(30) + 7 * noise(8)) * (1 - 0.45 * core)
picture = np.clip(skin * (1 - inside) + lesion * inside, 0, 255).astype(np.uint8)
target = pathlib.Path(__file__).parent.parent / "bins/derm-server/src/page/example.jpg"
Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1)).save(target, quality=85)
