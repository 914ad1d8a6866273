"""HAM10000 as it lies in the data folder: pictures, labels, and a split by lesion.

The folder holds two image sets of different sharpness (its README tells why that is a trap):
`images-224x224.tar`, centre-cropped at short side 224, and `images-200x150.tar`, whole frames.
`picture` brings both to the 224x224 view that the network gets.
"""

import csv
import hashlib
import io
import pathlib
import tarfile

from PIL import Image

FOLDS = 4
CLASSES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
SIZE = 224


def part_of(lesion_id):
    """train, validation or test (70/10/20), decided by the lesion's id alone.

    Every picture of a lesion falls in the same part, on any machine, in any order.
    """
    percent = int.from_bytes(hashlib.sha256(lesion_id.encode()).digest()[:4], "big") % 100
    return "train" if percent < 70 else "validation" if percent < 80 else "test"


def fold_of(lesion_id):
    """0 to FOLDS - 1, decided by the lesion's id as well, by other bits than its part."""
    return int.from_bytes(hashlib.sha256(lesion_id.encode()).digest()[4:8], "big") % FOLDS


def read_labels(folder):
    """[{image_id, lesion_id, dx, part, ...}] in the file's order."""
    with open(pathlib.Path(folder) / "HAM10000_metadata.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["part"] = part_of(row["lesion_id"])
    return rows


def read_pictures(folder):
    """{image_id: (JPEG bytes, is_sharp)} of both sets."""
    pictures = {}
    for name, sharp in (("images-224x224.tar", True), ("images-200x150.tar", False)):
        with tarfile.open(pathlib.Path(folder) / name) as tar:
            for member in tar:
                if member.isfile() and member.name.endswith(".jpg"):
                    image_id = pathlib.PurePath(member.name).stem
                    pictures[image_id] = (tar.extractfile(member).read(), sharp)
    return pictures


def picture(jpeg):
    """The picture as the server prepares it: short side to 224 (bicubic), centre crop, RGB."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    scale = SIZE / min(image.size)
    width, height = (max(SIZE, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    return image.crop((left, top, left + SIZE, top + SIZE))


def soften(image):
    """A sharp picture at the sharpness of the other set: through 150x150."""
    small = image.resize((150, 150), Image.Resampling.BICUBIC)
    return small.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
