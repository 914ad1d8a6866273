"""How strange a picture is to a network, and from which score on an answer is called uncertain."""

import json

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

import negatives
import network

# Of the features' principal components; 128 are no better.
COMPONENTS = 64
# The weight of what the components leave unexplained, beside the likeness to negatives. It tells other things from skin, but takes other
# clinics for strange as well: 1 flagged three times as many of their pictures.
RESIDUAL = 0.5
# The likeness's inverse regularisation.
LIKENESS = 0.1
# The share of HAM10000's validation part that lies below the threshold. Of a clinic that was not seen, ten to twenty times as many lie
# above.
PASSING = 0.995
# Of a source's training pictures every so many-th is enough.
STRIDES = {"ham": 2, "archive": 1, "bcn": 7}


def fit(known, strange):
    """(mean, basis, scale, weight, offset) for `network.strangeness`, from the features [n, 1280] of dermoscopy and of negatives."""
    mean = known.mean(0)
    _, vectors = torch.linalg.eigh((known - mean).T @ (known - mean))
    basis = vectors[:, -COMPONENTS:].contiguous()
    residual = ((known - mean) ** 2).sum(1) - (((known - mean) @ basis) ** 2).sum(1)

    both, deviation = torch.cat([known, strange]), known.std(0) + 1e-3
    is_strange = np.arange(len(both)) >= len(known)
    fitted = LogisticRegression(C=LIKENESS, max_iter=1000, class_weight="balanced")
    fitted.fit(((both - mean) / deviation).numpy(), is_strange)
    weight = torch.from_numpy(fitted.coef_[0]).float() / deviation
    like = known @ weight
    scale = RESIDUAL / residual.std()
    return mean, basis, scale, weight / like.std(), -scale * residual.mean() - like.mean() / like.std()


def score(features, flag):
    return network.strangeness(features, *flag).numpy()


def choose(features_of, train, held):
    """The flag of a network whose `features_of` makes [n, 1280] of pictures, fitted on the sources of `train`.

    Printed: the threshold, and the share of each source's validation pictures and of each kind of negatives that is flagged; and the same
    with each further source left out, which tells what happens at a clinic that was not seen.
    """
    kinds = negatives.seen(negatives.chosen(train.of("ham").pictures)) | negatives.unseen(
        negatives.chosen(held.of("ham").pictures)
    )
    strange = {kind: features_of([np.asarray(picture) for picture in pictures]) for kind, pictures in kinds.items()}
    negative = torch.cat([strange[kind] for kind in negatives.SEEN])
    known = {source: features_of(train.of(source).pictures[::stride]) for source, stride in STRIDES.items()}
    own = {source: features_of(held.of(source).pictures) for source in STRIDES}
    for left_out in [source for source in known if source != "ham"]:
        flag = fit(torch.cat([features for source, features in known.items() if source != left_out]), negative)
        shares(f"without {left_out}", flag, own | {left_out: torch.cat([own[left_out], known[left_out]])}, strange)
    flag = fit(torch.cat(list(known.values())), negative)
    return flag, shares("all", flag, own, strange)


def shares(name, flag, own, strange):
    """Prints them; returns the threshold."""
    threshold = float(np.quantile(score(own["ham"], flag), PASSING))
    flagged = {kind: float((score(features, flag) > threshold).mean()) for kind, features in (own | strange).items()}
    line = {"flag": name, "threshold": threshold} | flagged
    print(
        json.dumps({name: round(value, 4) if isinstance(value, float) else value for name, value in line.items()}),
        flush=True,
    )
    return threshold
