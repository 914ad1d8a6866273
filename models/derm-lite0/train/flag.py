"""Fits the uncertain flag of an ONNX file anew, without training: its logits stay as they are. Prints the threshold for the manifest.

    venv/bin/python flag.py --data ../../../../shared/data --model ../model.onnx --out build/model.onnx

The file's own backbone has seen HAM10000 only, so the archive tells what another clinic gets, and which
threshold for melanoma finds nine of ten there: that is printed as well.
"""

import argparse
import json
import pathlib

import numpy as np
import onnx
import onnxruntime
import torch
from sklearn.metrics import roc_auc_score

import data
import measure
import network
import uncertain

TEMPERATURE = 0.593


def outputs_of(model, names, pictures):
    """Values of the graph, [n, ...] each."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    there = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in there)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    rows = []
    for picture in pictures:
        pixels = torch.from_numpy(data.resized(picture, data.SIZE).copy())[None]
        rows.append(session.run(names, {"input": network.normalise(pixels).contiguous().numpy()}))
    return [torch.from_numpy(np.concatenate(values)) for values in zip(*rows, strict=False)]


def put(model, flag):
    """The flag's constants into the file, each in the type that it is stored in."""
    stored = {tensor.name.removesuffix(".f16"): tensor for tensor in model.graph.initializer}
    for name, value in zip(network.FLAG, flag, strict=False):
        old = onnx.numpy_helper.to_array(stored[name])
        new = np.asarray(value, dtype=old.dtype).reshape(old.shape)
        stored[name].CopyFrom(onnx.numpy_helper.from_array(new, stored[name].name))


def report_melanoma(logits, labels):
    """How well melanoma is told from the rest, and which probability finds so many."""
    probability, is_melanoma = (logits / TEMPERATURE).softmax(1)[:, measure.MELANOMA], labels == measure.MELANOMA
    line = {"mel_auroc": float(roc_auc_score(is_melanoma, probability))}
    for found in (0.8, 0.85, 0.9):
        threshold = float(probability[is_melanoma].quantile(1 - found))
        others = float((probability[~is_melanoma] < threshold).float().mean())
        line[f"finds_{found}"] = {"threshold": round(threshold, 4), "specificity": round(others, 3)}
    print(json.dumps(line), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    model = onnx.load(arguments.model)
    [head] = [node for node in model.graph.node if "logits" in node.output]
    train, held = (data.load(arguments.data, list(data.SOURCES), part) for part in ("train", "validation"))
    archive = train.of("archive").joined(held.of("archive"))
    report_melanoma(outputs_of(model, ["logits"], archive.pictures)[0], archive.labels)
    flag, _ = uncertain.choose(lambda pictures: outputs_of(model, [head.input[0]], pictures)[0], train, held)
    put(model, flag)
    onnx.save(model, arguments.out)
    [scores] = outputs_of(model, ["ood_score"], held.of("ham").pictures)
    print(f"threshold of the file, whose constants are rounded: {scores.quantile(uncertain.PASSING):.4f}")


if __name__ == "__main__":
    main()
