"""Trains the 7-class head on cached features of the ImageNet backbone; writes an ONNX file.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python train_head.py --data ../../../../shared/data/ham10000 --out build
    cargo xtask quantize build/model-f32.onnx -o ../model.onnx

Features are computed once (about 10 minutes on 2 cores) and cached in `--out`. The head is a
softmax regression with balanced softmax (Ren et al. 2020, arXiv:2007.10740): the class prior is
added to the logits while training and left out when serving. The weight decay is chosen by
balanced accuracy on the validation part, and so is a temperature that keeps the probabilities from
being all 0 or 100 %; the test part is read by `evaluate.py` alone.
"""

import argparse
import pathlib

import numpy as np
import torch

import data
import network

BATCH = 64
DECAYS = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1]


@torch.inference_mode()
def cache_features(model, folder, out):
    """Feature vectors of the training part (with flips and softened copies) and of validation."""
    path = out / "features.npz"
    if path.exists():
        return np.load(path)
    pictures = data.read_pictures(folder)
    features, labels, parts = [], [], []
    batch = []

    def flush():
        if batch:
            features.append(model.features(torch.stack(batch)).numpy())
            batch.clear()

    rows = [row for row in data.read_labels(folder) if row["part"] != "test"]
    for done, row in enumerate(rows):
        jpeg, sharp = pictures[row["image_id"]]
        image = data.picture(jpeg)
        views = [image]
        if row["part"] == "train":
            views += [image.transpose(0), image.transpose(3)]  # mirrored, turned by 180 degrees
            views += [data.soften(view) for view in views[1:]] if sharp else []
        for view in views:
            batch.append(network.to_input(view))
            labels.append(data.CLASSES.index(row["dx"]))
            parts.append(row["part"])
        if len(batch) >= BATCH:
            flush()
        if done % 500 == 0:
            print(f"features {done}/{len(rows)}", flush=True)
    flush()
    np.savez(path, x=np.concatenate(features), y=np.array(labels), part=np.array(parts))
    return np.load(path)


def fit(x, y, decay, classes):
    """Softmax regression by L-BFGS. x: [n, features] standardised; y: [n]."""
    torch.manual_seed(0)
    head = torch.nn.Linear(x.shape[1], classes)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    log_prior = torch.log(torch.bincount(y, minlength=classes) / len(y))
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(x) + log_prior, y)
        loss = loss + decay * head.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return head


def temperature(logits, y):
    """The divisor of the logits with the least mean loss per class (Guo et al. 2017)."""
    weight = 1 / torch.bincount(y).float()
    candidates = torch.logspace(-0.5, 1, 151)
    losses = [torch.nn.functional.cross_entropy(logits / t, y, weight=weight) for t in candidates]
    return float(candidates[int(torch.stack(losses).argmin())])


def balanced_accuracy(predicted, y):
    return float(np.mean([(predicted[y == c] == c).mean() for c in np.unique(y)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    model = network.Classifier(len(data.CLASSES)).eval()
    cached = cache_features(model, arguments.data, arguments.out)
    train, held = cached["part"] == "train", cached["part"] == "validation"
    x, y = torch.from_numpy(cached["x"]), torch.from_numpy(cached["y"])
    mean, std = x[train].mean(0), x[train].std(0) + 1e-6
    z = (x - mean) / std

    best = None
    for decay in DECAYS:
        head = fit(z[train], y[train], decay, len(data.CLASSES))
        with torch.no_grad():
            predicted = head(z[held]).argmax(1).numpy()
        score = balanced_accuracy(predicted, y[held].numpy())
        print(f"weight decay {decay:g}: validation balanced accuracy {score:.3f}", flush=True)
        if best is None or score > best[0]:
            best = (score, head)

    with torch.no_grad():  # fold the standardisation and the temperature into the head
        head = best[1]
        t = temperature(head(z[held]), y[held])
        print(f"temperature {t:.2f}")
        model.head.weight.copy_(head.weight / std / t)
        model.head.bias.copy_((head.bias - head.weight @ (mean / std)) / t)
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, data.SIZE, data.SIZE),),
        str(arguments.out / "model-f32.onnx"),
        input_names=["input"],
        output_names=["logits"],
        opset_version=17,
        dynamo=False,
    )
    print(f"wrote {arguments.out / 'model-f32.onnx'}, validation balanced accuracy {best[0]:.3f}")


if __name__ == "__main__":
    main()
