"""Compares decoders on every file of a folder: ours, and Pillow's with transparency over white.

    cargo build --release --example pixels
    python pictures.py target/release/examples/pixels FOLDER

Prints a line for each file that is not the same: `differs` (mean difference in levels, per cent of the pixels
that differ by more than 8), `size`, `refused` although Pillow reads it, `read` although Pillow does not; then
counts. Needs pillow and numpy.
"""

import collections
import pathlib
import subprocess
import sys
import warnings

import numpy as np
from PIL import Image, ImageFile, ImageOps

FORMATS = {"JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF"}
# Mean difference in levels that rounding, and filters of subsampled colours, may make.
SAME = 1.5


def by_pillow(path, truncated):
    """The upright picture over white, as an array; raises what Pillow raises."""
    ImageFile.LOAD_TRUNCATED_IMAGES = truncated
    with Image.open(path) as image:
        if image.format not in FORMATS:
            raise ValueError(f"format {image.format}")
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        elif image.mode == "I" and image.format != "BMP":
            image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
        if "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBa"):
            image = image.convert("RGBA")
        if image.mode == "RGBA":
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            image = Image.alpha_composite(white, image)
        return np.asarray(image.convert("RGB"))


def theirs(path):
    """Pillow's picture or the reason why there is none; and whether the file is cut short."""
    for truncated in (False, True):
        try:
            return by_pillow(path, truncated), truncated
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
    return reason, True


class Ours:
    def __init__(self, program):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([program], stdin=pipe, stdout=pipe)

    def __call__(self, path):
        """Our picture or the reason why there is none."""
        self.process.stdin.write(f"{path}\n".encode())
        self.process.stdin.flush()
        words = self.process.stdout.readline().decode().split(maxsplit=3)
        if words[0] == "refused":
            return " ".join(words[1:]).strip()
        width, height = int(words[1]), int(words[2])
        pixels = self.process.stdout.read(3 * width * height)
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def verdict(ours, pillow, truncated):
    if isinstance(ours, str) and isinstance(pillow, str):
        return "neither", ""
    if isinstance(ours, str):
        return ("refused, cut short" if truncated else "refused"), ours
    if isinstance(pillow, str):
        return "read", pillow
    if ours.shape != pillow.shape:
        return "size", f"{ours.shape[1::-1]} {pillow.shape[1::-1]}"
    difference = np.abs(ours.astype(int) - pillow)
    mean, share = difference.mean(), 100 * (difference.max(axis=2) > 8).mean()
    if mean <= SAME and share < 1:
        return "same", ""
    kind = "differs, cut short" if truncated else "differs"
    return kind, f"mean {mean:.2f}, {share:.1f} %"


def main():
    warnings.simplefilter("ignore")
    ours, folder = Ours(sys.argv[1]), pathlib.Path(sys.argv[2])
    counts = collections.Counter()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        kind, text = verdict(ours(path), *theirs(path))
        counts[kind] += 1
        if kind not in ("same", "neither"):
            print(f"{kind}\t{path.relative_to(folder)}\t{text}", flush=True)
    print(dict(counts))


main()
