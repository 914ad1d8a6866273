"""Trains the bundled network on dermoscopy of several clinics; writes it as an ONNX file. Seeded; resumes where it was stopped.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python train.py --data ../../../../shared/data --out build
    cargo xtask quantize build/model-f32.onnx -o ../model.onnx
    cargo xtask evaluate --data PICTURES --labels HAM10000_metadata.csv --split models/derm-lite0/train/split.csv \\
        --part validation --calibrate    # the temperature for ../model.toml; its thresholds are printed here

RUNS.md has the time it takes. A GPU is used where there is one (this version was not run on one). What it consists of, and why:

- ImageNet start, then pre-training on BCN20000 at 96 px: its pictures are small, but many of the rare classes are among them.
- HAM10000 and the ISIC archive together, 128 to 192 px; every phase sees pictures of one sharpness.
- AdamW under one cosine with a warm-up; a moving average of the weights is what is validated and used.
- Balanced softmax (Ren et al. 2020, arXiv:2007.10740): the class prior is added to the logits while training and left out when
  serving; it is the prior of each picture's own source, since one pooled prior would teach that melanomas come from the archive. The
  rare classes are drawn somewhat more often as well (probability ~ 1 / sqrt(class share)), and the prior is that of the draw.
- Flips, any rotation, scale, sharpness, hairs, vignette, colour (augment.py); mixup (Zhang et al. 2018, arXiv:1710.09412) within a
  source on half of the batches.
- A fifth of the logarithm of HAM10000's shares goes back into the logits (Menon et al. 2021, arXiv:2007.07314): accuracy,
  calibration and AUROC gain, and balanced accuracy does not lose yet (RUNS.md).
- Batch normalisation's statistics are measured anew after training: those of training are of mixed, smaller pictures.
- Trained at a smaller side than it is used at, since the zoom makes lesions larger in training than they are when
  served (Touvron et al. 2019, arXiv:1906.06423).
- Leave one source out: one network each is trained without the archive and without HAM10000, and judges the source it has not seen.
  That measures the transfer to other clinics, and chooses the thresholds for melanoma and for the uncertain flag.

The test part is not read.
"""

import argparse
import copy
import json
import math
import pathlib
import time
import typing

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import augment
import data
import fast
import negatives
import network

NETWORK = "lite0"
BATCH = 64
DECAY = 0.05
MIXUP = 0.4
SMOOTHING = 0.05
# How much of HAM10000's natural shares, as a power of them, goes back into the answer.
SHARES = 0.2
# The moving average's memory, as a share of a run.
AVERAGED = 0.2
NORM_BATCHES = 35
# Of the features' principal components; 64 told the seen kinds of negatives.py apart best (128 as well).
COMPONENTS = 64
# The shares of HAM10000's validation part that may be below the uncertain flag's threshold: printed for each.
PASSING = (0.95, 0.97, 0.98, 0.99)
# Epochs from one validation to the next.
EVERY = 2


class Run(typing.NamedTuple):
    """One network's training. `sizes`: (share of the run done, side in pixels) from there on."""

    name: str
    epochs: int
    rate: float  # the highest learning rate
    sizes: tuple
    used_at: int  # the side it is validated and used at
    dropout: float = 0.3
    zoom: tuple = (0.6, 1.1)  # share of the frame's side that is seen: least, most
    seed: int = 0

    def size(self, epoch):
        return [side for done, side in self.sizes if epoch >= done * self.epochs][-1]


PRETRAINING = Run("pretraining", epochs=4, rate=1e-3, sizes=((0.0, 96),), used_at=96, seed=10)
BOTH = Run("both", epochs=12, rate=7e-4, sizes=((0.0, 128), (0.25, 160), (0.5, 192)), used_at=data.SIZE, seed=12)
# The same with fewer epochs, without the archive and without HAM10000.
WITHOUT = {
    "archive": Run("without-archive", epochs=4, rate=7e-4, sizes=((0.0, 128), (0.25, 160), (0.5, 192)), used_at=data.SIZE, seed=13),
    "ham": Run("without-ham", epochs=6, rate=5e-4, sizes=((0.0, 128), (0.5, 160)), used_at=data.SIZE, seed=14),
}
MELANOMA = data.CLASSES.index("mel")
NUMBER = {source: number for number, source in enumerate(data.SOURCES)}


class Part(typing.NamedTuple):
    """Pictures [n][side, side, 3] uint8, labels [n], each one's source [n]."""

    pictures: list
    labels: torch.Tensor
    sources: torch.Tensor

    def of(self, source):
        """The pictures of one source."""
        places = (self.sources == NUMBER[source]).nonzero().flatten().tolist()
        return Part([self.pictures[i] for i in places], self.labels[places], self.sources[places])


def load(root, sources, part):
    rows = [(source, *item) for source in sources for item in data.read(root, source, part)]
    return Part(
        [picture for _, _, picture in rows],
        torch.tensor([data.CLASSES.index(row["dx"]) for _, row, _ in rows]),
        torch.tensor([NUMBER[source] for source, _, _ in rows]),
    )


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
    for start in range(0, len(pictures), BATCH):
        chunk = [data.resized(picture, side) for picture in pictures[start : start + BATCH]]
        with reduced():
            out.append(function(network.normalise(torch.from_numpy(np.stack(chunk)).to(device()))).float().cpu())
    return torch.cat(out)


def temperature(logits, labels):
    """What the logits are divided by for the best likelihood."""
    return min(np.geomspace(0.25, 2, 61), key=lambda divisor: float(F.cross_entropy(logits / divisor, labels)))


def likelihood(logits, y, weight):
    """Mean negative log-likelihood, each picture with its class's weight [classes], at the temperature that is best for it."""
    return min(float(F.cross_entropy(logits / divisor, y, weight)) for divisor in np.geomspace(0.25, 2, 61))


def scores(logits, part):
    """Melanoma against the rest, by source; of HAM10000 also balanced accuracy, the macro mean of the classes' areas under the ROC
    curve, and the likelihood with all classes at equal weight and with the natural shares put back."""
    out = {}
    for source, number in NUMBER.items():
        mine = part.sources == number
        if mine.any():
            out[f"{source}_mel_auroc"] = roc_auc_score(part.labels[mine] == MELANOMA, logits[mine].softmax(1)[:, MELANOMA])
    if "ham_mel_auroc" in out:
        mine = part.sources == NUMBER["ham"]
        logits, y = logits[mine], part.labels[mine]
        counts = torch.bincount(y, minlength=len(data.CLASSES)).float()
        predicted = logits.argmax(1)
        out["balanced_accuracy"] = np.mean([float((predicted[y == c] == c).float().mean()) for c in y.unique()])
        out["auroc"] = roc_auc_score(y, logits.softmax(1), multi_class="ovr")
        out["nll_equal"] = likelihood(logits, y, 1 / counts)
        out["nll_natural"] = likelihood(logits + (counts / counts.sum()).log(), y, None)
    return {name: round(float(value), 4) for name, value in out.items()}


@torch.no_grad()
def follow(average, model, step, steps):
    """The moving average takes a step towards the model; fast at first."""
    keep = min(1 - 1 / (AVERAGED * steps), (step + 1) / (step + 10))
    for a, m in zip(average.state_dict().values(), model.state_dict().values()):
        if a.dtype.is_floating_point:
            a.lerp_(m, 1 - keep)
        else:
            a.copy_(m)


class Draw:
    """Batches with as many pictures of each source as it has of all, ordered by source. Within a source the rare classes are drawn more
    often (chance ~ 1 / sqrt(class share)). `log_prior` [BATCH, classes]: the logarithm of the classes' shares in what is drawn so from
    each row's source; a class that a source does not have gets so little that the row says nothing about it."""

    def __init__(self, part):
        count = torch.bincount(part.sources, minlength=len(NUMBER))
        ends = (count.cumsum(0) * BATCH / count.sum()).round().long().tolist()
        self.rows = [slice(start, end) for start, end in zip([0, *ends], ends)]
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
            for rows, chance in zip(self.rows, self.chances)
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


def groups(model):
    """Weights decay; biases and what normalises do not."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]


def fit(run, part, held, out, start=None):
    """The moving average of a network trained on a part, from ImageNet's weights or those of `start`.

    A checkpoint is written after every epoch and taken up where there is one.
    """
    checkpoint = out / f"{run.name}.pt"
    torch.manual_seed(run.seed)
    model = network.Classifier(NETWORK, len(data.CLASSES), run.dropout).to(device())
    if start is not None:
        model.load_state_dict(start.state_dict())
    average = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(groups(model), lr=run.rate)
    per_epoch = len(part.labels) // BATCH
    steps, warm = run.epochs * per_epoch, per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: (s + 1) / warm if s < warm else 0.505 + 0.495 * math.cos(math.pi * (s - warm) / (steps - warm))
    )
    parts = {"model": model, "average": average, "optimiser": optimiser, "schedule": schedule}
    first = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device(), weights_only=True)
        for name, thing in parts.items():
            thing.load_state_dict(saved[name])
        first = saved["epoch"] + 1

    draw = Draw(part)
    log_prior, partners = draw.log_prior.to(device()), draw.partners()
    for epoch in range(first, run.epochs):
        began, total = time.time(), 0.0
        random = np.random.default_rng((run.seed, epoch))
        torch.manual_seed(hash((run.seed, epoch)))
        chosen = draw.batches(random, per_epoch)
        views = augment.batches(part.pictures, chosen, run.size(epoch), run.zoom, (run.seed, epoch))
        model.train()
        for step, pixels in enumerate(views):
            x = network.normalise(torch.from_numpy(pixels).to(device()))
            target = draw.targets(part.labels[chosen[step]]).to(device())
            if random.random() < 0.5:
                share = float(random.beta(MIXUP, MIXUP))
                x = share * x + (1 - share) * x[partners]
                target = share * target + (1 - share) * target[partners]
            with reduced():
                features = model.features(x)
            loss = F.cross_entropy(model.head(model.dropout(features.float())) + log_prior, target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            follow(average, model, epoch * per_epoch + step, steps)
            total += float(loss.detach())
            if step % 10 == 0:
                print(f"\r{run.name} {epoch} step {step}/{per_epoch} loss {total / (step + 1):.3f}", end="", flush=True)
        line = {"run": run.name, "epoch": epoch, "size": run.size(epoch), "loss": round(total / per_epoch, 4)}
        line["seconds"] = round(time.time() - began)
        if (epoch + 1) % EVERY == 0 or epoch + 1 == run.epochs:
            line |= scores(outputs_of(average, average, held.pictures, run.used_at), held)
        print("\r" + json.dumps(line), flush=True)
        state = {name: thing.state_dict() for name, thing in parts.items()} | {"epoch": epoch}
        torch.save(state, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").rename(checkpoint)
    return average


def norms(model):
    return [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]


@torch.no_grad()
def measure_norms(model, part):
    """Batch normalisation's means and variances, measured anew: as weights are now, on pictures that are neither mixed
    nor shrunk, with no branch left out (Wu and Johnson 2021, arXiv:2105.07576)."""
    for layer in norms(model):
        layer.reset_running_stats()
    model.drop_connect(0.0)
    model.train()
    chosen = Draw(part).batches(np.random.default_rng(0), NORM_BATCHES)
    for step, pixels in enumerate(augment.batches(part.pictures, chosen, data.SIZE, (0.8, 1.1), (5, 5))):
        for layer in norms(model):
            layer.momentum = 1 / (step + 1)
        with reduced():
            model.features(network.normalise(torch.from_numpy(pixels).to(device())))
    return model.eval()


def served(model, part):
    """The network with what tells how strange a picture is: of every other picture of a part, and of the seen kinds of negatives."""
    pictures, kinds = part.pictures[::2], negatives.seen(negatives.chosen(part.pictures))
    features = outputs_of(model, model.features, pictures, data.SIZE)
    mean = features.mean(0)
    _, vectors = torch.linalg.eigh((features - mean).T @ (features - mean))
    basis = vectors[:, -COMPONENTS:].contiguous()
    residual = ((features - mean) ** 2).sum(1) - (((features - mean) @ basis) ** 2).sum(1)

    strangers = [np.asarray(picture) for kind in kinds.values() for picture in kind]
    both = torch.cat([features, outputs_of(model, model.features, strangers, data.SIZE)])
    deviation = features.std(0) + 1e-3
    strange = np.arange(len(both)) >= len(features)
    fitted = LogisticRegression(C=0.001, max_iter=1000, class_weight="balanced")
    fitted.fit(((both - mean) / deviation).numpy(), strange)
    weight = torch.from_numpy(fitted.coef_[0]).float() / deviation
    like = features @ weight
    offset = -residual.mean() / residual.std() - like.mean() / like.std()
    return network.Served(model, mean, basis, 1 / residual.std(), weight / like.std(), offset).to(device()).eval()


def strangeness(model, pictures):
    """How strange the pictures are to a `network.Served`, [n]."""
    features = outputs_of(model, model.classifier.features, pictures, data.SIZE)
    return model.strangeness(features.to(device())).cpu().numpy()


def report(name, logits, part):
    print(json.dumps({"run": name} | scores(logits, part)), flush=True)


def put_back(model, part):
    """SHARES of the logarithm of HAM10000's class shares, into the logits."""
    count = torch.bincount(part.of("ham").labels, minlength=len(data.CLASSES))
    model.head.bias.data += SHARES * (count / count.sum()).log().to(device())
    return model


def joined(one, other):
    return Part(one.pictures + other.pictures, torch.cat([one.labels, other.labels]), torch.cat([one.sources, other.sources]))


def left_out(source, part, held, start, out):
    """Leave-one-source-out: what a network that has not seen a source makes of it.

    Printed: the area of melanoma; the probability from which on nine of ten melanomas are found; and the share of the pictures called
    uncertain, by how many of the seen source's validation pictures the flag's threshold lets pass.
    """
    [other] = {"ham", "archive"} - {source}
    seen, home = part.of(other), held.of(other)
    # HAM10000's validation part has melanomas enough; its training part takes minutes to judge.
    away = held.of(source) if source == "ham" else joined(part.of(source), held.of(source))
    model = put_back(measure_norms(fit(WITHOUT[source], seen, held, out, start), seen), part)
    divisor = temperature(outputs_of(model, model, home.pictures, data.SIZE), home.labels)
    logits = outputs_of(model, model, away.pictures, data.SIZE)
    report(f"without {source}", logits, away)
    found = (logits / divisor).softmax(1)[away.labels == MELANOMA, MELANOMA]
    line = {"without": source, "temperature": float(divisor), "nine_of_ten_melanomas_from": float(found.quantile(0.1))}
    model = served(model, seen)
    own, others = strangeness(model, home.pictures), strangeness(model, away.pictures)
    for passing in PASSING:
        line[f"uncertain_at_{passing}"] = float((others > np.quantile(own, passing)).mean())
    print(json.dumps(line), flush=True)


def train(arguments):
    """The network as it ships, and the training pictures."""
    out = arguments.out
    start = fit(PRETRAINING, load(arguments.data, ["bcn"], "train"), load(arguments.data, ["bcn"], "validation"), out)
    part, held = (load(arguments.data, ["ham", "archive"], name) for name in ("train", "validation"))
    model = fit(BOTH, part, held, out, start)
    report("as averaged", outputs_of(model, model, held.pictures, data.SIZE), held)
    model = measure_norms(model, part)
    report("normalisation measured anew", outputs_of(model, model, held.pictures, data.SIZE), held)
    model = put_back(model, part)
    report("with a share of the prior", outputs_of(model, model, held.pictures, data.SIZE), held)
    model = served(model, part)
    uncertain(model, held)
    write(model.cpu(), out / "model-f32.onnx")
    for source in WITHOUT:
        left_out(source, part, held, start, out)


def uncertain(model, held):
    """Prints the flag's threshold for each of PASSING, and the share of other pictures that are flagged."""
    own = {source: strangeness(model, held.of(source).pictures) for source in ("ham", "archive")}
    kinds = negatives.seen(negatives.chosen(held.pictures)) | negatives.unseen()
    strange = {kind: strangeness(model, [np.asarray(picture) for picture in pictures]) for kind, pictures in kinds.items()}
    for passing in PASSING:
        threshold = np.quantile(own["ham"], passing)
        line = {"passing": passing, "threshold": threshold} | {kind: (values > threshold).mean() for kind, values in (own | strange).items()}
        print(json.dumps({name: round(float(value), 4) for name, value in line.items()}), flush=True)


def write(model, path):
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, data.SIZE, data.SIZE),),
        str(path),
        input_names=["input"],
        output_names=["logits", "ood_score"],
        opset_version=17,
        dynamo=False,
    )
    print(f"wrote {path}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    fast.keep_memory()
    train(arguments)


if __name__ == "__main__":
    main()
