"""Makes the pictures in this folder, one for each way of coding that Pillow writes: `python make.py`. Small, so that
an input takes little time. Needs pillow and numpy."""

import pathlib

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).parent
y, x = np.mgrid[0:18, 0:26]
alpha = (x * 9).clip(0, 255).astype(np.uint8)
PICTURE = Image.fromarray(np.stack([x * 9, y * 13, (x * y) % 255], axis=2).astype(np.uint8))
RGBA = Image.merge("RGBA", [*PICTURE.split(), Image.fromarray(alpha)])
GREY, PALETTE, BILEVEL = PICTURE.convert("L"), PICTURE.convert("P"), PICTURE.convert("1")
DEEP = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)


def save(name, picture, **options):
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    picture.save(path, **options)


for sampling in range(3):
    save(f"jpeg/sampling-{sampling}.jpg", PICTURE, quality=70, subsampling=sampling)
    save(f"jpeg/progressive-{sampling}.jpg", PICTURE, quality=70, subsampling=sampling, progressive=True)
save("jpeg/grey.jpg", GREY, quality=70)
save("jpeg/grey-progressive.jpg", GREY, quality=70, progressive=True)
save("jpeg/cmyk.jpg", PICTURE.convert("CMYK"), quality=70)
save("jpeg/restart.jpg", PICTURE, quality=70, restart_marker_blocks=1)
exif = Image.Exif()
exif[274] = 6
save("jpeg/turned.jpg", PICTURE, quality=70, exif=exif)
kinds = {"rgb": PICTURE, "rgba": RGBA, "grey": GREY, "palette": PALETTE, "bilevel": BILEVEL, "la": RGBA.convert("LA")}
for kind, picture in {**kinds, "deep": DEEP}.items():
    save(f"png/{kind}.png", picture)
save("png/turned.png", PICTURE, exif=exif)
save("png/animated.png", PICTURE, save_all=True, append_images=[PICTURE.rotate(180)])
for kind in ("rgb", "rgba", "grey", "palette", "bilevel"):
    save(f"gif_bmp/{kind}.bmp", kinds[kind])
save("gif_bmp/palette.gif", PALETTE)
save("gif_bmp/interlaced.gif", PALETTE, interlace=True)
save("gif_bmp/frames.gif", PALETTE, save_all=True, append_images=[GREY, BILEVEL])
for kind in ("rgb", "rgba", "grey", "palette", "bilevel"):
    for compression in ("raw", "packbits", "tiff_lzw", "tiff_deflate"):
        save(f"tiff/{kind}-{compression}.tiff", kinds[kind], compression=compression)
for compression in ("group3", "group4"):
    save(f"tiff/{compression}.tiff", BILEVEL, compression=compression)
save("tiff/group3-2d.tiff", BILEVEL, compression="group3", tiffinfo={292: 1})
save("tiff/jpeg.tiff", PICTURE, compression="jpeg")
save("tiff/deep.tiff", DEEP, compression="tiff_lzw")
save("tiff/cmyk.tiff", PICTURE.convert("CMYK"), compression="tiff_lzw")
for kind in ("rgb", "rgba", "grey"):
    save(f"webp/{kind}-lossy.webp", kinds[kind], quality=50)
    save(f"webp/{kind}-lossless.webp", kinds[kind], lossless=True)
save("webp/frames.webp", PICTURE, save_all=True, append_images=[RGBA.rotate(180)], quality=50)
