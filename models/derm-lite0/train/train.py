"""Trains the bundled network on dermoscopy of several clinics; writes it as an ONNX file. Seeded; resumes where it was stopped.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python train.py --data ../../../../shared/data --out build
    cargo xtask quantize build/model-f32.onnx -o ../model.onnx
    derm evaluate --data PICTURES --labels HAM10000_metadata.csv --split models/derm-lite0/train/split.csv \\
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
- The logarithm of HAM10000's shares goes back into the logits (Menon et al. 2021, arXiv:2007.07314): accuracy, calibration and
  AUROC gain. The manifest's decision weights take it out again for the decision, whose balanced accuracy is as before.
- Batch normalisation's statistics are measured anew after training: those of training are of mixed, smaller pictures.
- Two teachers, Lite0 and Lite1, trained so on labels; the student, Lite0, goes on from the first of them on their mean answer.
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

import augment
import data
import fast
import network
import uncertain
from draw import BATCH, Draw
from measure import MELANOMA, device, outputs_of, reduced, report, scores, temperature

DECAY = 0.05
MIXUP = 0.4
# How much of HAM10000's natural shares, as a power of them, goes back into the answer.
SHARES = 1.0
# The moving average's memory, as a share of a run.
AVERAGED = 0.2
NORM_BATCHES = 35
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
    network: str = "lite0"

    def size(self, epoch):
        return [side for done, side in self.sizes if epoch >= done * self.epochs][-1]


PRETRAINING = Run("pretraining", epochs=4, rate=1e-3, sizes=((0.0, 96),), used_at=96, seed=10)
BOTH = Run("both", epochs=12, rate=7e-4, sizes=((0.0, 128), (0.25, 160), (0.5, 192)), used_at=data.SIZE, seed=12)
# Two teachers: the mean of their answers is better than either, and a student can learn it.
TEACHERS = (
    (PRETRAINING, BOTH),
    (
        PRETRAINING._replace(name="pretraining-lite1", network="lite1"),
        BOTH._replace(
            name="both-lite1",
            network="lite1",
            epochs=16,
            sizes=((0.0, 128), (0.2, 160), (0.5, 192), (0.88, 224)),
        ),
    ),
)
STUDENT = Run("student", epochs=12, rate=3e-4, sizes=((0.0, 160), (0.4, 192), (0.8, 224)), used_at=data.SIZE, seed=15)
# How much of the student's target is what its teachers say of the very view that it sees; the rest is the label.
TAUGHT = 0.7
# The same with fewer epochs, without the archive and without HAM10000.
WITHOUT = {
    "archive": Run(
        "without-archive", epochs=4, rate=7e-4, sizes=((0.0, 128), (0.25, 160), (0.5, 192)), used_at=data.SIZE, seed=13
    ),
    "ham": Run("without-ham", epochs=6, rate=5e-4, sizes=((0.0, 128), (0.5, 160)), used_at=data.SIZE, seed=14),
}


@torch.no_grad()
def follow(average, model, step, steps):
    """The moving average takes a step towards the model; fast at first."""
    keep = min(1 - 1 / (AVERAGED * steps), (step + 1) / (step + 10))
    for a, m in zip(average.state_dict().values(), model.state_dict().values(), strict=False):
        if a.dtype.is_floating_point:
            a.lerp_(m, 1 - keep)
        else:
            a.copy_(m)


def groups(model):
    """Weights decay; biases and what normalises do not."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]


@torch.no_grad()
def said(teachers, x, log_prior):
    """What the teachers say of these views on the whole: the mean of their logarithms, with the shares of the draw, [BATCH, classes]."""
    with reduced():
        answers = [teacher(x).float().log_softmax(1) for teacher in teachers]
    return (torch.stack(answers).mean(0) + log_prior).softmax(1)


def fit(run, part, held, out, start=None, teachers=()):
    """The moving average of a network trained on a part, from ImageNet's weights or those of `start`; with teachers,
    on what they say as well (Hinton et al. 2015, arXiv:1503.02531; of the same view, Beyer et al. 2022, arXiv:2106.05237).

    A checkpoint is written after every epoch and taken up where there is one.
    """
    checkpoint = out / f"{run.name}.pt"
    torch.manual_seed(run.seed)
    model = network.Classifier(run.network, len(data.CLASSES), run.dropout).to(device())
    if start is not None:
        model.load_state_dict(start.state_dict())
    average = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(groups(model), lr=run.rate)
    per_epoch = len(part.labels) // BATCH
    steps, warm = run.epochs * per_epoch, per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda s: (s + 1) / warm if s < warm else 0.505 + 0.495 * math.cos(math.pi * (s - warm) / (steps - warm)),
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
            if teachers:
                target = TAUGHT * said(teachers, x, log_prior) + (1 - TAUGHT) * target
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


def log_shares(part):
    """The logarithm of the classes' shares in HAM10000."""
    count = torch.bincount(part.of("ham").labels, minlength=len(data.CLASSES))
    return (count / count.sum()).log()


def put_back(model, part):
    model.head.bias.data += SHARES * log_shares(part).to(device())
    return model


def report_shares(logits, part, held):
    """What chose SHARES."""
    for shares in (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0):
        report(f"{shares} of the shares", logits + shares * log_shares(part), held)


def report_decision(logits, part, held):
    """Printed, for the manifest: the temperature, and the decision weights, which are 1 for the largest."""
    mine = held.sources == data.NUMBER["ham"]
    divisor = float(temperature(logits[mine], held.labels[mine]))
    weights = (-SHARES / divisor * log_shares(part)).exp()
    weights = {
        name: round(float(weight), 4) for name, weight in zip(data.CLASSES, weights / weights.max(), strict=True)
    }
    print(json.dumps({"temperature": divisor, "decision_weights": weights}), flush=True)


def left_out(source, part, held, start, out):
    """Leave-one-source-out: what a network that has not seen a source makes of it.

    Printed: the area of melanoma, and the probability from which on nine of ten melanomas are found.
    """
    [other] = {"ham", "archive"} - {source}
    seen, home = part.of(other), held.of(other)
    # HAM10000's validation part has melanomas enough; its training part takes minutes to judge.
    away = held.of(source) if source == "ham" else part.of(source).joined(held.of(source))
    model = put_back(measure_norms(fit(WITHOUT[source], seen, held, out, start), seen), part)
    divisor = temperature(outputs_of(model, model, home.pictures, data.SIZE), home.labels)
    logits = outputs_of(model, model, away.pictures, data.SIZE)
    report(f"without {source}", logits, away)
    found = (logits / divisor).softmax(1)[away.labels == MELANOMA, MELANOMA]
    line = {"without": source, "temperature": float(divisor), "nine_of_ten_melanomas_from": float(found.quantile(0.1))}
    print(json.dumps(line), flush=True)


def train(arguments):
    """The network as it ships, and those that measure the transfer."""
    out = arguments.out
    small, small_held = (data.load(arguments.data, ["bcn"], name) for name in ("train", "validation"))
    part, held = (data.load(arguments.data, ["ham", "archive"], name) for name in ("train", "validation"))
    starts = [fit(pretraining, small, small_held, out) for pretraining, _ in TEACHERS]
    teachers = [
        measure_norms(fit(both, part, held, out, start), part)
        for start, (_, both) in zip(starts, TEACHERS, strict=True)
    ]
    logits = [outputs_of(teacher, teacher, held.pictures, data.SIZE).log_softmax(1) for teacher in teachers]
    report("teachers' mean", torch.stack(logits).mean(0), held)
    model = fit(STUDENT, part, held, out, teachers[0], teachers)
    report("as averaged", outputs_of(model, model, held.pictures, data.SIZE), held)
    model = measure_norms(model, part)
    report("normalisation measured anew", outputs_of(model, model, held.pictures, data.SIZE), held)
    report_shares(outputs_of(model, model, held.pictures, data.SIZE), part, held)
    model = put_back(model, part)
    report_decision(outputs_of(model, model, held.pictures, data.SIZE), part, held)
    flag, _ = uncertain.choose(
        lambda pictures: outputs_of(model, model.features, pictures, data.SIZE),
        part.joined(small),
        held.joined(small_held),
    )
    network.write(network.Served(model.cpu(), flag).eval(), out / "model-f32.onnx")
    for source in WITHOUT:
        left_out(source, part, held, starts[0], out)


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
