"""Which pictures a training batch has, and what the classes' shares among them are."""

import numpy as np
import torch
import torch.nn.functional as F

import data

BATCH = 64
SMOOTHING = 0.05
# The share of a batch that BCN20000's pictures have, which are small.
BCN = 0.25


class Draw:
    """Batches, ordered by source: a share `BCN` of them is from BCN20000, and of the others each source has as many pictures as it has of
    them all. Within a source the rare classes are drawn more often (chance ~ 1 / sqrt(class share)). `log_prior` [BATCH, classes]: the logarithm of the classes' shares in what is drawn so from
    each row's source; a class that a source does not have gets so little that the row says nothing about it."""

    def __init__(self, part):
        shares = torch.bincount(part.sources, minlength=len(data.NUMBER)).double()
        bcn = data.NUMBER["bcn"]
        shares[bcn] = (shares.sum() - shares[bcn]) * BCN / (1 - BCN)
        # As many batches as show every picture of the others once, on average.
        self.per_epoch = int(shares.sum()) // BATCH
        ends = (shares.cumsum(0) * BATCH / shares.sum()).round().long().tolist()
        self.rows = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        self.chances, self.log_prior = [], torch.zeros(BATCH, len(data.CLASSES))
        for source, rows in enumerate(self.rows):
            mine = part.sources == source
            root = torch.bincount(part.labels[mine], minlength=len(data.CLASSES)).float().sqrt()
            chance = torch.where(mine, 1 / root[part.labels].clamp(min=1), 0).double().numpy()
            self.chances.append(chance / max(chance.sum(), 1e-9))
            self.log_prior[rows] = torch.log(root / root.sum().clamp(min=1) + 1e-6)

    def batches(self, random, steps):
        """Indices [steps, BATCH]."""
        parts = [
            random.choice(len(chance), (steps, rows.stop - rows.start), p=chance)
            for rows, chance in zip(self.rows, self.chances, strict=False)
            if rows.stop > rows.start
        ]
        return np.concatenate(parts, 1)

    def targets(self, labels):
        """[BATCH, classes]: smoothed towards the classes that a row's source has."""
        there = (self.log_prior > -10).float()
        return F.one_hot(labels, len(data.CLASSES)) * (1 - SMOOTHING) + SMOOTHING * there / there.sum(1, keepdim=True)

    def partners(self):
        """[BATCH]: for each row another one of its source."""
        return torch.cat([torch.arange(rows.start, rows.stop).roll(1) for rows in self.rows])
