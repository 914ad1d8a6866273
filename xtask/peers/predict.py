"""Classifies a folder as Python programs do, with Pillow and onnxruntime: predict.py HOW MODEL MANIFEST FOLDER OUTPUT CORES

HOW: `loop`, one picture after the other, onnxruntime with CORES threads; `threads`, CORES threads, each with a picture and a
thread of onnxruntime; `processes`, a pool of CORES processes, likewise. MANIFEST: as JSON. OUTPUT: a CSV file with a row of
probabilities for each picture, in the order of their names.
"""

import concurrent.futures
import csv
import json
import multiprocessing
import pathlib
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

how, model, manifest, folder, output, cores = sys.argv[1:]
manifest, cores = json.loads(manifest), int(cores)
spec = manifest["input"]
FILTER = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[spec["filter"]]
GAIN = np.float32(spec["scale"]) / np.float32(spec["std"])
SHIFT = np.float32(spec["mean"]) / np.float32(spec["std"])


class Classifier:
    def __init__(self, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.outputs = [manifest.get("output_name") or self.session.get_outputs()[0].name]

    def __call__(self, path):
        logits = self.session.run(self.outputs, {self.input: prepared(path)})[0][0] / manifest["temperature"]
        shares = np.exp(logits - logits.max())
        return shares / shares.sum()


def prepared(path):
    """The network's input, [1, 3, rows, columns]."""
    width, height = spec["width"], spec["height"]
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image).convert("RGB")
    if spec["fit"] == "stretch":
        image = image.resize((width, height), FILTER)
    else:
        scale = spec["fit"]["crop_shortest_side"] / min(image.size)
        image = image.resize([round(side * scale) for side in image.size], FILTER)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    pixels = np.asarray(image, dtype=np.float32) * GAIN - SHIFT
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def start():
    """Makes the classifier of a process of the pool."""
    global classifier
    classifier = Classifier(1)


def classify(path):
    return classifier(path)


def predictions(paths):
    if how == "loop":
        yield from map(Classifier(cores), paths)
    elif how == "threads":
        with concurrent.futures.ThreadPoolExecutor(cores) as pool:
            yield from pool.map(Classifier(1), paths)
    elif how == "processes":
        with multiprocessing.Pool(cores, start) as pool:
            yield from pool.imap(classify, paths, chunksize=8)
    else:
        raise SystemExit(f"{how}: neither loop, threads nor processes")


if __name__ == "__main__":
    found = sorted(str(path) for path in pathlib.Path(folder).iterdir())
    with open(output, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["picture", *(one["id"] for one in manifest["classes"])])
        rows.writerows([path, *probabilities] for path, probabilities in zip(found, predictions(found), strict=True))
