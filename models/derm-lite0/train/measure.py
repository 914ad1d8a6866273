"""What a network makes of pictures as they are, and how good that is."""

import json

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

import data
import fast
import network

MELANOMA = data.CLASSES.index("mel")
# Pictures at once.
CHUNK = 64


def device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def reduced():
    """bfloat16 where PyTorch's own operators run, if that is faster here."""
    return torch.autocast(device().type, torch.bfloat16, enabled=device().type == "cuda" or fast.bfloat16())


@torch.no_grad()
def outputs_of(model, function, pictures, side):
    """What the function, one of the model, makes of pictures as they are."""
    model.eval()
    out = []
    for start in range(0, len(pictures), CHUNK):
        chunk = [data.resized(picture, side) for picture in pictures[start : start + CHUNK]]
        with reduced():
            out.append(function(network.normalise(torch.from_numpy(np.stack(chunk)).to(device()))).float().cpu())
    return torch.cat(out)


def temperature(logits, labels):
    """What the logits are divided by for the best likelihood."""
    return min(np.geomspace(0.25, 2, 61), key=lambda divisor: float(F.cross_entropy(logits / divisor, labels)))


def likelihood(logits, y, weight):
    """Mean negative log-likelihood, each picture with its class's weight [classes], at the temperature that is best for it."""
    return min(float(F.cross_entropy(logits / divisor, y, weight)) for divisor in np.geomspace(0.25, 2, 61))


def calibration_error(logits, y):
    """Expected calibration error of the most probable class, ten bins, at the temperature that is best for the likelihood."""
    confidence, predicted = (logits / temperature(logits, y)).softmax(1).max(1)
    right, bin_of = (predicted == y).float(), (confidence * 10).long().clamp(max=9)
    gaps = [(confidence[bin_of == b].sum() - right[bin_of == b].sum()).abs() for b in bin_of.unique()]
    return float(sum(gaps)) / len(y)


def scores(logits, part):
    """Melanoma against the rest, by source; of HAM10000 also accuracy, balanced accuracy, calibration, the macro mean of the classes' areas under
    the ROC curve, and the likelihood with all classes at equal weight and with the natural shares put back."""
    out = {}
    for source, number in data.NUMBER.items():
        mine = part.sources == number
        if mine.any():
            out[f"{source}_mel_auroc"] = roc_auc_score(
                part.labels[mine] == MELANOMA, logits[mine].softmax(1)[:, MELANOMA]
            )
    if "ham_mel_auroc" in out:
        mine = part.sources == data.NUMBER["ham"]
        logits, y = logits[mine], part.labels[mine]
        counts = torch.bincount(y, minlength=len(data.CLASSES)).float()
        predicted = logits.argmax(1)
        out["accuracy"] = (predicted == y).float().mean()
        out["calibration_error"] = calibration_error(logits, y)
        out["balanced_accuracy"] = np.mean([float((predicted[y == c] == c).float().mean()) for c in y.unique()])
        out["auroc"] = roc_auc_score(y, logits.softmax(1), multi_class="ovr")
        out["nll_equal"] = likelihood(logits, y, 1 / counts)
        out["nll_natural"] = likelihood(logits + (counts / counts.sum()).log(), y, None)
    return {name: round(float(value), 4) for name, value in out.items()}


def report(name, logits, part):
    print(json.dumps({"run": name} | scores(logits, part)), flush=True)
