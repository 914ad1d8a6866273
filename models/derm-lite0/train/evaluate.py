"""Scores the shipped file on the test part, once, through onnxruntime and Pillow.

    venv/bin/python evaluate.py --data ../../../../shared/data/ham10000 --model ../model.onnx

Prints accuracy, balanced accuracy and macro AUROC with 95 % bootstrap intervals over lesions, and
the confusion matrix. The server prepares pictures as `data.picture` does (the parity of both is a
test of derm-preprocess) and runs the same file.
"""

import argparse
import pathlib

import numpy as np
import onnxruntime
from sklearn.metrics import confusion_matrix, roc_auc_score

import data
import network

ROUNDS = 1000


def scores(y, p):
    predicted = p.argmax(1)
    recalls = [(predicted[y == c] == c).mean() for c in range(p.shape[1])]
    auroc = [roc_auc_score(y == c, p[:, c]) for c in range(p.shape[1])]
    return (predicted == y).mean(), np.mean(recalls), np.mean(auroc)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--part", default="test", choices=["validation", "test"])
    arguments = parser.parse_args()
    session = onnxruntime.InferenceSession(str(arguments.model), providers=["CPUExecutionProvider"])
    pictures = data.read_pictures(arguments.data)
    rows = [row for row in data.read_labels(arguments.data) if row["part"] == arguments.part]
    logits = []
    for row in rows:
        x = network.to_input(data.picture(pictures[row["image_id"]][0]))[None].numpy()
        logits.append(session.run(None, {"input": x})[0][0])
    logits = np.array(logits)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    y = np.array([data.CLASSES.index(row["dx"]) for row in rows])

    lesions = np.array([row["lesion_id"] for row in rows])
    members = [np.flatnonzero(lesions == lesion) for lesion in np.unique(lesions)]
    random = np.random.default_rng(0)
    samples = []
    while len(samples) < ROUNDS:
        chosen = np.concatenate([members[i] for i in random.integers(0, len(members), len(members))])
        if len(np.unique(y[chosen])) == len(data.CLASSES):
            samples.append(scores(y[chosen], p[chosen]))
    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    print(f"{arguments.part}: {len(rows)} pictures of {len(members)} lesions")
    for name, value, a, b in zip(
        ["accuracy", "balanced accuracy", "macro AUROC"], scores(y, p), low, high
    ):
        print(f"{name}: {value:.3f} ({a:.3f}-{b:.3f})")
    print("recall:", {c: round(float((p.argmax(1)[y == i] == i).mean()), 3) for i, c in enumerate(data.CLASSES)})
    print("AUROC:", {c: round(float(roc_auc_score(y == i, p[:, i])), 3) for i, c in enumerate(data.CLASSES)})
    print("confusion matrix (rows: truth, columns: prediction)", data.CLASSES)
    print(confusion_matrix(y, p.argmax(1)))


if __name__ == "__main__":
    main()
