"""Pictures that are not dermoscopy, by kind: crops of what PyPI packages ship, and generated ones.

    venv/bin/python negatives.py --data ../../../../shared/data --out build/negatives
    derm evaluate ... --negatives models/derm-lite0/train/build/negatives/unseen

The seen kinds take part in making the score of the uncertain flag (`uncertain.fit`); the unseen ones are only
scored at the end. Every picture is seeded: the same ones come out each time.
"""

import argparse
import math
import pathlib

import matplotlib
import numpy as np
import skimage
import sklearn
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import data

SIDE = data.SIZE
PER_KIND = 60


def shipped(package, *names):
    folder = {
        skimage: "data",
        sklearn: "datasets/images",
        matplotlib: "mpl-data/sample_data",
    }[package]
    root = pathlib.Path(package.__file__).parent / folder
    return [Image.open(root / name).convert("RGB") for name in names]


def crops(pictures, random, least=0.35):
    """Random square parts, flipped or not, at the network's size."""
    out = []
    for i in range(PER_KIND):
        picture = pictures[i % len(pictures)]
        side = int(min(picture.size) * random.uniform(least, 1))
        left, top = (int(random.integers(0, length - side + 1)) for length in picture.size)
        part = picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        out.append(part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part)
    return out


def from_array(values):
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def smooth(random, cells):
    """A random colour field with so many cells a side."""
    cell = from_array(random.uniform(0, 255, (cells, cells, 3)))
    return cell.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def noise(random):
    out = []
    for i in range(PER_KIND):
        if i % 2:
            out.append(smooth(random, int(random.integers(4, 112))))
        else:
            values = random.normal(random.uniform(60, 200, 3), random.uniform(15, 90), (SIDE, SIDE, 3))
            out.append(from_array(values))
    return out


def empty(random):
    """One colour, often that of skin, with the light of a lamp on one side and a sensor's noise."""
    out = []
    for i in range(PER_KIND):
        skin = np.array([224, 172, 150]) * random.uniform(0.35, 1.1)
        colour = skin if i % 2 else random.uniform(0, 255, 3)
        angle = random.uniform(0, 2 * math.pi)
        y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
        light = 1 + random.uniform(0, 0.35) * (x * math.cos(angle) + y * math.sin(angle))
        out.append(from_array(light[..., None] * colour + random.normal(0, random.uniform(0, 6), (SIDE, SIDE, 3))))
    return out


def text(random):
    out = []
    words = [
        "benign",
        "lesion",
        "dear",
        "sir",
        "madam",
        "invoice",
        "total",
        "amount",
        "of",
        "page",
        "header",
        "2024",
        "0123",
        "error",
        "note",
    ]
    for _ in range(PER_KIND):
        paper, ink = random.integers(170, 256, 3), random.integers(0, 110, 3)
        picture = Image.new("RGB", (SIDE, SIDE), tuple(int(v) for v in paper))
        draw, size = ImageDraw.Draw(picture), int(random.integers(9, 34))
        font = ImageFont.load_default(size)
        for top in range(4, SIDE, int(size * 1.4)):
            draw.text((6, top), " ".join(random.choice(words, 12)), tuple(int(v) for v in ink), font=font)
        out.append(picture.rotate(float(random.uniform(-15, 15)), fillcolor=tuple(int(v) for v in paper)))
    return out


def out_of_focus(random, dermoscopy):
    """Training pictures through a blur that leaves no structure."""
    chosen = random.choice(len(dermoscopy), PER_KIND, replace=False)
    return [dermoscopy[i].filter(ImageFilter.GaussianBlur(float(random.uniform(14, 40)))) for i in chosen]


def from_afar(random, dermoscopy):
    """Clinical photographs, in want of real ones: a lesion that fills a tenth to six tenths of the frame's side, on skin with its light and grain;
    half of them with cloth or a wall beside the skin."""
    out = []
    y, x = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j]
    for i in random.choice(len(dermoscopy), 3 * PER_KIND, replace=False):
        side = int(SIDE * random.uniform(0.1, 0.6))
        lesion = np.asarray(dermoscopy[i].resize((side, side), Image.Resampling.BICUBIC)).astype(float)
        rim = np.concatenate([lesion[0], lesion[-1], lesion[:, 0], lesion[:, -1]])
        skin = np.median(rim, 0)
        angle = random.uniform(0, 2 * math.pi)
        light = 1 + random.uniform(0, 0.4) * ((x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle))
        mottled = np.asarray(smooth(random, int(random.integers(3, 12)))).mean(2, keepdims=True) - 128
        grain = np.asarray(smooth(random, int(random.integers(60, 140)))).mean(2, keepdims=True) - 128
        values = skin * light[..., None] + mottled * random.uniform(0.02, 0.12) + grain * random.uniform(0.02, 0.12)
        left, top = (int(v) for v in random.integers(0, SIDE - side, 2))
        far = np.hypot(*np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side)))
        mask = np.clip((1 - far) / 0.3, 0, 1)[..., None]
        window = values[top : top + side, left : left + side]
        window += mask * (lesion - window)
        if random.random() < 0.5:
            angle, away = random.uniform(0, 2 * math.pi), random.uniform(0.15, 0.45)
            beyond = ((x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle))[..., None] > away
            values = np.where(beyond, random.uniform(0, 255, 3) + 0.3 * mottled, values)
        out.append(
            from_array(
                values * random.uniform(0.7, 1.15) * random.uniform(0.92, 1.08, 3)
                + random.normal(0, random.uniform(0, 5), values.shape)
            )
        )
    return out


def wall(random):
    """Plaster, boards and tiles: a coarse field, fine grain, joints."""
    out = []
    for i in range(PER_KIND):
        coarse = np.asarray(smooth(random, int(random.integers(3, 9)))).mean(2, keepdims=True)
        base = random.uniform(120, 230, 3) + (coarse - 128) * random.uniform(0.05, 0.25)
        values = base + random.normal(0, random.uniform(2, 14), (SIDE, SIDE, 1))
        if i % 2:
            step, width = int(random.integers(24, 80)), int(random.integers(1, 5))
            joint = np.zeros((SIDE, SIDE, 1))
            joint[np.arange(SIDE) % step < width] = -60
            if i % 4 == 1:
                joint[:, np.arange(SIDE) % (2 * step) < width] = -60
            values = values + joint
        out.append(from_array(values))
    return out


def drawing(random):
    """Charts and shapes with sharp edges."""
    out = []
    for _ in range(PER_KIND):
        picture = Image.new("RGB", (SIDE, SIDE), tuple(int(v) for v in random.integers(200, 256, 3)))
        draw = ImageDraw.Draw(picture)
        for _ in range(int(random.integers(3, 14))):
            box = [int(v) for v in np.sort(random.integers(0, SIDE, (2, 2)), 0).ravel()]
            colour = tuple(int(v) for v in random.integers(0, 256, 3))
            [draw.rectangle, draw.ellipse, draw.line][int(random.integers(3))](box, fill=colour)
        out.append(picture)
    return out


def chosen(pictures):
    """The pictures (as arrays, in the order of the metadata) that some kinds are made of."""
    places = np.random.default_rng(0).choice(len(pictures), 400, replace=False)
    return [Image.fromarray(data.resized(pictures[i], SIDE)) for i in places]


SEEN = ("noise", "empty frame", "text", "out of focus", "lesion from afar", "texture", "street and objects")


def seen(dermoscopy):
    """{kind: pictures}; `dermoscopy`: training pictures, for the one kind that is made of them."""
    random = np.random.default_rng(1)
    return {
        "noise": noise(random),
        "empty frame": empty(random),
        "text": text(random),
        "out of focus": out_of_focus(random, dermoscopy),
        "lesion from afar": from_afar(random, dermoscopy),
        "texture": crops(shipped(skimage, "brick.png", "grass.png", "gravel.png"), random),
        "street and objects": crops(
            shipped(skimage, "coffee.png", "rocket.jpg", "motorcycle_left.png") + shipped(sklearn, "china.jpg"), random
        ),
    }


def unseen(dermoscopy):
    """{kind: pictures} that took no part in choosing; `dermoscopy`: validation pictures, for the one kind that is made of them."""
    random = np.random.default_rng(2)
    lfw = np.load(pathlib.Path(skimage.__file__).parent / "data/lfw_subset.npy")
    faces = [from_array(face * 255).convert("RGB").resize((SIDE, SIDE)) for face in lfw[:40]]
    return {
        "person": crops(
            [*shipped(matplotlib, "grace_hopper.jpg"), shipped(skimage, "astronaut.png")[0].crop((140, 0, 340, 230))],
            random,
        ),
        "face, grey": faces,
        "animal": crops(shipped(skimage, "chelsea.png", "horse.png"), random),
        "flower": crops(shipped(sklearn, "flower.jpg"), random),
        "microscopy and retina": crops(shipped(skimage, "ihc.png", "retina.jpg", "cell.png"), random),
        "sky": crops(shipped(skimage, "hubble_deep_field.jpg", "moon.png"), random),
        "printed page": crops(shipped(skimage, "page.png", "text.png"), random),
        "coins and clock": crops(shipped(skimage, "coins.png", "clock_motion.png"), random),
        "wall": wall(random),
        "drawing": drawing(random),
        "other lesion from afar": from_afar(random, dermoscopy),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    train, held = (chosen(data.load(arguments.data, ["ham"], part).pictures) for part in ("train", "validation"))
    for part, kinds in (("seen", seen(train)), ("unseen", unseen(held))):
        for kind, pictures in kinds.items():
            folder = arguments.out / part / kind
            folder.mkdir(parents=True, exist_ok=True)
            for number, picture in enumerate(pictures):
                picture.save(folder / f"{number}.png")


if __name__ == "__main__":
    main()
