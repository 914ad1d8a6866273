"""How strange a picture is to a network, and from which score on an answer is called uncertain."""

import json

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

import data
import measure
import negatives
import network

# Of the features' principal components; 64 told the seen kinds of negatives.py apart best (128 as well).
COMPONENTS = 64
# The share of HAM10000's validation part that lies below the threshold: what each would flag is printed.
PASSING = (0.95, 0.97, 0.98, 0.99)


def served(model, part):
    """The network with what tells how strange a picture is: of every other picture of a part, and of the seen kinds of negatives."""
    pictures, kinds = part.pictures[::2], negatives.seen(negatives.chosen(part.pictures))
    features = measure.outputs_of(model, model.features, pictures, data.SIZE)
    mean = features.mean(0)
    _, vectors = torch.linalg.eigh((features - mean).T @ (features - mean))
    basis = vectors[:, -COMPONENTS:].contiguous()
    residual = ((features - mean) ** 2).sum(1) - (((features - mean) @ basis) ** 2).sum(1)

    strangers = [np.asarray(picture) for kind in kinds.values() for picture in kind]
    both = torch.cat([features, measure.outputs_of(model, model.features, strangers, data.SIZE)])
    deviation = features.std(0) + 1e-3
    strange = np.arange(len(both)) >= len(features)
    fitted = LogisticRegression(C=0.001, max_iter=1000, class_weight="balanced")
    fitted.fit(((both - mean) / deviation).numpy(), strange)
    weight = torch.from_numpy(fitted.coef_[0]).float() / deviation
    like = features @ weight
    offset = -residual.mean() / residual.std() - like.mean() / like.std()
    return network.Served(model, mean, basis, 1 / residual.std(), weight / like.std(), offset).to(measure.device()).eval()


def strangeness(model, pictures):
    """How strange the pictures are to a `network.Served`, [n]."""
    features = measure.outputs_of(model, model.classifier.features, pictures, data.SIZE)
    return model.strangeness(features.to(measure.device())).cpu().numpy()


def report(model, held):
    """Prints the flag's threshold for each of PASSING, and the share of other pictures that are flagged."""
    own = {source: strangeness(model, held.of(source).pictures) for source in ("ham", "archive")}
    kinds = negatives.seen(negatives.chosen(held.pictures)) | negatives.unseen()
    strange = {kind: strangeness(model, [np.asarray(picture) for picture in pictures]) for kind, pictures in kinds.items()}
    for passing in PASSING:
        threshold = np.quantile(own["ham"], passing)
        line = {"passing": passing, "threshold": threshold} | {kind: (values > threshold).mean() for kind, values in (own | strange).items()}
        print(json.dumps({name: round(float(value), 4) for name, value in line.items()}), flush=True)
