"""Makes the pictures of this folder and, beside each, what Pillow resizes it to.

    python -m venv venv && venv/bin/pip install pillow==13.0.0 numpy scikit-image pypng
    venv/bin/python make.py

`NAME.FILTER-FIT.png` is NAME after Pillow's decode, EXIF transpose, transparency over white,
resize and crop to 48x48. Truncated files are read as far as they go. Pixels outside a GIF's first frame
are white (browsers), not the palette's first colour (Pillow). Pictures that `write_pictures` does not
write were made by an encoder that writes unusual files on purpose. The one photograph is NASA's portrait of Eileen Collins (public domain),
as scikit-image ships it.
"""

import pathlib

import numpy as np
import png
from PIL import Image, ImageFile, ImageOps
from skimage import data

ImageFile.LOAD_TRUNCATED_IMAGES = True
HERE = pathlib.Path(__file__).parent
SIDE = 48


def synthetic(width, height):
    """Gradients, hard edges and fine stripes: what a resampler gets wrong first."""
    y, x = np.mgrid[0:height, 0:width]
    red = 255 * x / (width - 1)
    green = 127.5 + 127.5 * np.sin(x * y / 400)
    blue = np.where(((x // 9) + (y // 9)) % 2, 230, 20)
    image = np.stack([red, green, blue], -1).astype(np.uint8)
    image[height // 3 : height // 2, width // 4 : width // 2] = (250, 10, 60)
    return Image.fromarray(image)


def photograph(width, height):
    return Image.fromarray(data.astronaut()).resize((width, height), Image.Resampling.LANCZOS)


def write_pictures():
    photo, drawn = photograph(320, 240), synthetic(230, 170)
    alpha = np.linspace(0, 255, 170).astype(np.uint8)[:, None].repeat(230, 1)
    rgba = drawn.copy()
    rgba.putalpha(Image.fromarray(alpha))
    save = {
        "baseline.jpg": lambda p: photo.save(p, quality=90),
        "subsampled.jpg": lambda p: photo.save(p, quality=85, subsampling="4:2:0"),
        "full-chroma.jpg": lambda p: drawn.save(p, quality=92, subsampling="4:4:4"),
        "progressive.jpg": lambda p: photo.save(p, quality=88, progressive=True),
        "grey.jpg": lambda p: photo.convert("L").save(p, quality=90),
        "cmyk.jpg": lambda p: photo.convert("CMYK").save(p, quality=95),
        "large.jpg": lambda p: photograph(1600, 1200).save(p, quality=80),
        "large-drawn.jpg": lambda p: synthetic(1000, 801).save(p, quality=75),
        "rgb.png": lambda p: drawn.save(p),
        "tall.png": lambda p: synthetic(90, 400).save(p),
        "tiny.png": lambda p: synthetic(23, 17).save(p),
        "palette.png": lambda p: photo.quantize(64).save(p),
        "alpha.png": lambda p: rgba.save(p),
        "grey-alpha.png": lambda p: rgba.convert("LA").save(p),
        "lossless.webp": lambda p: drawn.save(p, lossless=True),
        "lossy.webp": lambda p: photo.save(p, quality=85),
        "alpha.webp": lambda p: rgba.save(p, lossless=True, exact=True),
        "rgb.bmp": lambda p: drawn.save(p),
        "rgb.tiff": lambda p: photo.resize((160, 120)).save(p, compression="tiff_lzw"),
        "two-frames.gif": lambda p: photo.quantize(128).save(
            p, save_all=True, append_images=[drawn.resize(photo.size).quantize(8)]
        ),
    }
    for name, write in save.items():
        write(HERE / name)
    rows = np.asarray(drawn).astype(np.uint16) * 257
    with (HERE / "deep.png").open("wb") as file:
        png.Writer(230, 170, bitdepth=16, greyscale=False).write(file, rows.reshape(170, -1))
    with (HERE / "interlaced.png").open("wb") as file:
        flat = np.asarray(drawn).reshape(170, -1)
        png.Writer(230, 170, greyscale=False, interlace=True).write(file, flat)
    small = photograph(120, 80)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        # Full chroma: at this size the decoders' rounding of upsampled chroma alone gives 3 of 255.
        small.save(HERE / f"orientation-{orientation}.jpg", quality=90, subsampling=0, exif=exif)


def as_rgb(path):
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("RGBA", "LA"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    image = image.convert("RGB")
    if path.suffix == ".gif":
        left, top, right, bottom = Image.open(path).tile[0].extents
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image.crop((left, top, right, bottom)), (left, top))
        image = white
    return image


def crop_shortest_side(image, side, resample):
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    resized = image.resize((width, height), resample)
    return resized.crop((left, top, left + SIDE, top + SIDE))


def write_references():
    suffixes = {".jpg", ".webp", ".bmp", ".tiff", ".gif"}
    names = sorted(p for p in HERE.iterdir() if p.suffix in suffixes or (p.suffix == ".png" and p.name.count(".") == 1))
    for path in names:
        if path.name.startswith("fuzz-"):
            continue
        image = as_rgb(path)
        stretched = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        cropped = crop_shortest_side(image, 56, Image.Resampling.BICUBIC)
        stretched.save(HERE / f"{path.name}.bilinear-stretch.png", optimize=True)
        cropped.save(HERE / f"{path.name}.bicubic-crop.png", optimize=True)


if __name__ == "__main__":
    write_pictures()
    write_references()
