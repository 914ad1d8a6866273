"""The three sources as they lie in the data folder: pictures, labels, and a split by lesion.

    ham10000/       256x256, seven classes: train, validation and test
    isic-archive/   256x256, other clinics, nv, mel and bkl: train and validation
    bcn20000-84/    84x84, one more clinic: pre-training at low resolution, train and validation

Within a source all pictures have one sharpness, and so have the two at 256x256 together (the folder's README tells why that matters).
"""

import csv
import hashlib
import io
import pathlib
import tarfile
import typing

import numpy as np
import torch
from PIL import Image

CLASSES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
SIZE = 224
# Each source: folder, list, pictures.
SOURCES = {
    "ham": ("ham10000", "HAM10000_metadata.csv", "images-256x256.tar"),
    "archive": ("isic-archive", "labels.csv", "images-256x256.tar"),
    "bcn": ("bcn20000-84", "labels.csv", "images-84x84.tar"),
}
NUMBER = {source: number for number, source in enumerate(SOURCES)}


def part_of(lesion_id):
    """train, validation or test (70/10/20) of HAM10000, decided by the lesion's id alone.

    Every picture of a lesion falls in the same part, on any machine, in any order.
    """
    percent = int.from_bytes(hashlib.sha256(lesion_id.encode()).digest()[:4], "big") % 100
    return "train" if percent < 70 else "validation" if percent < 80 else "test"


def read_labels(root, source):
    """[{image_id, lesion_id, dx, part, ...}] in the file's order.

    Where the archive names no lesion, the picture is its own. Only HAM10000 has a test part. BCN's squamous cell carcinomas count as
    akiec: most of HAM10000's akiec are the same carcinoma in situ.
    """
    folder, labels, _ = SOURCES[source]
    with open(pathlib.Path(root) / folder / labels, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["lesion_id"] = row["lesion_id"] or row["image_id"]
        row["dx"] = "akiec" if row["dx"] == "scc" else row["dx"]
        row["part"] = part_of(row["lesion_id"])
        if source != "ham" and row["part"] == "test":
            row["part"] = "train"
    return rows


def read_pictures(root, source):
    """{image_id: JPEG bytes}"""
    folder, _, images = SOURCES[source]
    with tarfile.open(pathlib.Path(root) / folder / images) as tar:
        files = (member for member in tar if member.isfile() and member.name.endswith(".jpg"))
        return {pathlib.PurePath(file.name).stem: tar.extractfile(file).read() for file in files}


def read(root, source, part):
    """[(row, uint8 [side, side, 3])] of a part; two of HAM10000's pictures are missing."""
    jpegs = read_pictures(root, source)
    rows = [row for row in read_labels(root, source) if row["part"] == part and row["image_id"] in jpegs]
    return [(row, np.asarray(Image.open(io.BytesIO(jpegs[row["image_id"]])).convert("RGB"))) for row in rows]


class Part(typing.NamedTuple):
    """Pictures [n][side, side, 3] uint8, labels [n], each one's source [n]."""

    pictures: list
    labels: torch.Tensor
    sources: torch.Tensor

    def of(self, *sources):
        """The pictures of some sources."""
        places = torch.isin(self.sources, torch.tensor([NUMBER[source] for source in sources]))
        places = places.nonzero().flatten().tolist()
        return Part([self.pictures[i] for i in places], self.labels[places], self.sources[places])

    def joined(self, other):
        return Part(
            self.pictures + other.pictures,
            torch.cat([self.labels, other.labels]),
            torch.cat([self.sources, other.sources]),
        )


def load(root, sources, part):
    rows = [(source, *item) for source in sources for item in read(root, source, part)]
    return Part(
        [picture for _, _, picture in rows],
        torch.tensor([CLASSES.index(row["dx"]) for _, row, _ in rows]),
        torch.tensor([NUMBER[source] for source, _, _ in rows]),
    )


def resized(picture, side):
    """The square picture as the server prepares it: bicubic, [side, side, 3]."""
    if picture.shape[0] == side:
        return picture
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
