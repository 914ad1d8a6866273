"""Draws example.jpg, the image behind the page's "try it" button: a synthetic lesion, no patient's.

    python example.py    # numpy 2.4.6, pillow 13.0.0

A brown spot with an irregular edge, a pigment network, dots and two hairs on pale skin, as dermatoscopes show.
Its parameters were searched for an image that the bundled model does not call uncertain. The class that it predicts
means nothing.
"""

import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 800, 600
SKIN, BROWN, DARK = (np.array(colour) for colour in ((222.0, 172.0, 160.0), (150.0, 98.0, 82.0), (84.0, 52.0, 46.0)))

random = np.random.default_rng(7)


def clouds(cell):
    """Smooth noise, [HEIGHT, WIDTH], about -1 to 1, its clouds about `cell` pixels large."""
    values = random.normal(0, 0.5, (HEIGHT // cell + 2, WIDTH // cell + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(values).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def mixed(base, colour, share):
    return base + (colour - base) * np.clip(share, 0, 1)[..., None]


def blot(x, y, radius, uneven):
    """1 inside, 0 outside, soft between."""
    distance = np.hypot(x, y * 1.2) / radius + uneven
    return 1 / (1 + np.exp((distance - 1) * 14))


def network(x, y):
    """Dark lines around paler holes: a honeycomb, bent."""
    x, y = x + 16 * clouds(60), y + 16 * clouds(60)
    waves = [np.cos((x * np.cos(a) + y * np.sin(a)) * 2 * np.pi / 11) for a in np.radians((0, 60, 120))]
    return np.clip(0.6 - sum(waves) / 2, 0, 1)


def hairs(count):
    layer = Image.new("L", (WIDTH, HEIGHT), 0)
    draw = ImageDraw.Draw(layer)
    for _ in range(count):
        start, bend = random.uniform((0, 0), (WIDTH, HEIGHT)), random.uniform(-0.006, 0.006)
        angle, points = random.uniform(0, 2 * np.pi), []
        for step in range(60):
            points.append((start[0], start[1]))
            start = start + 6 * np.array((np.cos(angle + bend * step * 6), np.sin(angle + bend * step * 6)))
        draw.line(points, fill=200, width=3)
    return np.asarray(layer.filter(ImageFilter.GaussianBlur(0.8))) / 255


def example():
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    x, y = x - 390, y - 300
    skin = SKIN + 7 * clouds(90)[..., None] + 3 * clouds(12)[..., None] * (1, 1.3, 1.2)
    inside = blot(x, y, 150, 0.16 * clouds(110) + 0.05 * clouds(30))
    picture = mixed(skin, BROWN + 7 * clouds(50)[..., None], 0.8 * inside)
    picture = mixed(picture, DARK, 0.15 * inside * network(x, y))
    picture = mixed(picture, DARK, 0.8 * inside * blot(x + 40, y + 15, 90, 0.3 * clouds(40)))
    dots = np.clip(clouds(9) * 2.2 - 1.6, 0, 1)
    picture = mixed(picture, DARK, 0.8 * inside * dots)
    picture = mixed(picture, DARK * 0.8, 0.8 * hairs(2))
    picture -= 20 * (np.hypot(x, y) / 500)[..., None] ** 3
    picture += random.normal(0, 4, picture.shape)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    example().save(pathlib.Path(__file__).with_name("example.jpg"), quality=75)
