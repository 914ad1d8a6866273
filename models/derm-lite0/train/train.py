"""Trains the bundled network on dermoscopy of several clinics; writes it as an ONNX file. Seeded; resumes where it was stopped.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python train.py --data ../../../../shared/data --out build
    cargo xtask quantize build/model-f32.onnx -o ../model.onnx
    derm evaluate --data PICTURES --labels HAM10000_metadata.csv --split models/derm-lite0/train/split.csv \\
        --part validation --calibrate    # the temperature for ../model.toml; its thresholds are printed here

RUNS.md has the time it takes. A GPU is used where there is one; `--only` trains one network, so that several can be trained at once. What it consists
of, and why:

- ImageNet start, then all three sources together, at 160 to 224 px. BCN20000's pictures are small and blurred, but many melanomas and many of the
  rare classes are among them. So that blur does not tell the source, some of the others' pictures are made as small (augment.coarse).
- AdamW under one cosine with a warm-up; a moving average of the weights is what is validated and used.
- Balanced softmax (Ren et al. 2020, arXiv:2007.10740): the class prior is added to the logits while training and left out when
  serving; it is the prior of each picture's own source, since one pooled prior would teach that melanomas come from the archive. The
  rare classes are drawn somewhat more often as well (probability ~ 1 / sqrt(class share)), and the prior is that of the draw.
- Flips, any rotation, scale, sharpness, hairs, vignette, colour (augment.py); mixup (Zhang et al. 2018, arXiv:1710.09412) within a
  source on half of the batches.
- The logarithm of HAM10000's shares goes back into the logits (Menon et al. 2021, arXiv:2007.07314): accuracy, calibration and
  AUROC gain. The manifest's decision weights take it out again for the decision, whose balanced accuracy is as before.
- Three teachers, two Lite2 and a Lite1, trained so on labels; the student, Lite0, learns their mean answer and the label.
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
import sys
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
from draw import Draw
from measure import MELANOMA, device, outputs_of, reduced, report, scores, temperature

DECAY = 0.05
MIXUP = 0.4
# How much of HAM10000's natural shares, as a power of them, goes back into the answer.
SHARES = 1.0
# The moving average's memory, as a share of what the learning rate is laid out for.
AVERAGED = 0.2
NORM_BATCHES = 35
# Epochs from one validation to the next.
EVERY = 4
# From these probabilities on, `left_out` counts melanomas.
THRESHOLDS = (0.02, 0.03, 0.04, 0.06, 0.1)


class Run(typing.NamedTuple):
    """One network's training. `sizes`: (share of the run done, side in pixels) from there on."""

    name: str
    network: str
    epochs: int
    rate: float  # the highest learning rate
    sizes: tuple
    seed: int
    sources: tuple = ("ham", "archive", "bcn")
    dropout: float = 0.3
    zoom: tuple = (0.6, 1.1)  # share of the frame's side that is seen: least, most
    teachers: tuple = ()  # names of runs
    start: str = ""  # the run whose weights it goes on from; without one, ImageNet's
    horizon: int = 0  # epochs that the learning rate's cosine is laid out for, where more than are run

    def view(self, epoch):
        size = [side for done, side in self.sizes if epoch >= done * self.epochs][-1]
        return augment.View(size, self.zoom)


GROWING = ((0.0, 160), (0.25, 192), (0.6, 224))
# The mean of several networks' answers is better than each, and a smaller one can learn it.
TEACHERS = (
    Run("teacher-a", "lite2", epochs=16, rate=7e-4, sizes=GROWING, seed=21),
    Run("teacher-b", "lite2", epochs=16, rate=7e-4, sizes=GROWING, seed=22),
    Run("teacher-c", "lite1", epochs=16, rate=7e-4, sizes=GROWING, seed=23),
)
# The high rates of the first half, and their end in a short run of its own: a GPU did the first, two cores the second.
STUDENT = Run(
    "student",
    "lite0",
    epochs=13,
    horizon=24,
    rate=7e-4,
    sizes=((0.0, 192), (0.75, 224)),
    seed=24,
    teachers=("teacher-a", "teacher-b", "teacher-c"),
)
STUDENT_END = Run(
    "student-end",
    "lite0",
    epochs=3,
    rate=3.3e-4,
    sizes=((0.0, 224),),
    seed=27,
    teachers=("teacher-a", "teacher-c"),
    start="student",
)
# How much of the student's target is what its teachers say of the very view that it sees; the rest is the label.
TAUGHT = 0.7
# Like a teacher, but without the archive and without HAM10000.
WITHOUT = {
    left_out: Run(
        f"without-{left_out}",
        "lite0",
        epochs=10,
        rate=7e-4,
        sizes=((0.0, 160), (0.4, 192)),
        seed=seed,
        sources=(other, "bcn"),
    )
    for left_out, other, seed in (("archive", "ham", 25), ("ham", "archive", 26))
}
RUNS = {run.name: run for run in (*TEACHERS, STUDENT, STUDENT_END, *WITHOUT.values())}


def floats(model):
    """The weights and the normalisation's statistics."""
    return [value for value in model.state_dict().values() if value.dtype.is_floating_point]


@torch.no_grad()
def follow(average, model, step, horizon):
    """The moving average, as `floats`, takes a step towards the model; fast at first."""
    keep = min(1 - 1 / (AVERAGED * horizon), (step + 1) / (step + 10))
    torch._foreach_lerp_(average, model, 1 - keep)


def groups(model):
    """Weights decay; biases and what normalises do not."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]


def save(checkpoint, state):
    torch.save(state, checkpoint.with_suffix(".new"))
    checkpoint.with_suffix(".new").rename(checkpoint)


def finished(average):
    """What is kept of a finished run: the average's matrices as float16, which the shipped file rounds them to as well."""
    return {name: value.half() if value.ndim > 1 else value for name, value in average.state_dict().items()}


@torch.no_grad()
def said(teachers, x, log_prior):
    """What the teachers say of these views on the whole: the mean of their logarithms, with the shares of the draw, [BATCH, classes]."""
    with reduced():
        answers = [teacher(x).float().log_softmax(1) for teacher in teachers]
    return (torch.stack(answers).mean(0) + log_prior).softmax(1)


def begun(run):
    """The network with ImageNet's weights."""
    torch.manual_seed(run.seed)
    model = network.Classifier(run.network, len(data.CLASSES), run.dropout).to(device())
    return model.to(memory_format=torch.channels_last) if device().type == "cuda" else model


def fit(run, part, held, checkpoint, start=None, teachers=()):
    """The moving average of a network trained on a part, from ImageNet's weights or those of `start`; with teachers, on what they say as
    well (Hinton et al. 2015, arXiv:1503.02531; of the same view, Beyer et al. 2022, arXiv:2106.05237).

    A checkpoint is written after every epoch and taken up where there is one.
    """
    model = begun(run)
    if start is not None:
        model.load_state_dict(start.state_dict())
    average = copy.deepcopy(model)
    draw = Draw(part)
    log_prior, partners = draw.log_prior.to(device()), draw.partners()
    optimiser = torch.optim.AdamW(groups(model), lr=run.rate, fused=device().type == "cuda")
    horizon = max(run.horizon, run.epochs) * draw.per_epoch
    warm = min(draw.per_epoch, horizon // 12)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda s: (s + 1) / warm if s < warm else 0.505 + 0.495 * math.cos(math.pi * (s - warm) / (horizon - warm)),
    )
    parts = {"model": model, "average": average, "optimiser": optimiser, "schedule": schedule}
    first = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device(), weights_only=True)
        for name, thing in parts.items():
            thing.load_state_dict(saved[name])
        first = saved["epoch"] + 1

    followed, following = floats(average), floats(model)
    for epoch in range(first, run.epochs):
        began, total = time.time(), torch.zeros((), device=device())
        random = np.random.default_rng((run.seed, epoch))
        torch.manual_seed(hash((run.seed, epoch)))
        chosen, view = draw.batches(random, draw.per_epoch), run.view(epoch)
        model.train()
        for step, pixels in enumerate(augment.batches(part.pictures, chosen, view, (run.seed, epoch))):
            x = network.normalise(pixels.to(device(), non_blocking=True))
            target = draw.targets(part.labels[chosen[step]]).to(device(), non_blocking=True)
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
            follow(followed, following, epoch * draw.per_epoch + step, horizon)
            total += loss.detach()
            if step % 10 == 0 and sys.stdout.isatty():
                mean = float(total) / (step + 1)
                print(f"\r{run.name} {epoch} step {step}/{draw.per_epoch} loss {mean:.3f}", end="", flush=True)
        line = {"run": run.name, "epoch": epoch, "size": view.size, "loss": round(float(total) / draw.per_epoch, 4)}
        line["seconds"] = round(time.time() - began)
        if (epoch + 1) % EVERY == 0 or epoch + 1 == run.epochs:
            line |= scores(outputs_of(average, average, held.pictures, data.SIZE), held)
        print("\r" + json.dumps(line), flush=True)
        save(checkpoint, {name: thing.state_dict() for name, thing in parts.items()} | {"epoch": epoch})
    save(checkpoint, {"average": finished(average)})
    return average


def norms(model):
    return [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]


@torch.no_grad()
def measure_norms(model, part):
    """Batch normalisation's means and variances, measured anew: as weights are now, on pictures of the run's sources, neither mixed nor
    shrunk, with no branch left out (Wu and Johnson 2021, arXiv:2105.07576)."""
    for layer in norms(model):
        layer.reset_running_stats()
    model.drop_connect(0.0)
    model.train()
    chosen = Draw(part).batches(np.random.default_rng(0), NORM_BATCHES)
    view = augment.View(data.SIZE, (0.8, 1.1))
    for step, pixels in enumerate(augment.batches(part.pictures, chosen, view, (5, 5))):
        for layer in norms(model):
            layer.momentum = 1 / (step + 1)
        with reduced():
            model.features(network.normalise(pixels.to(device())))
    return model.eval()


def log_shares(part):
    """The logarithm of the classes' shares in HAM10000; in BCN20000 where HAM10000 is left out (the archive has three classes)."""
    ham = part.of("ham")
    count = torch.bincount((ham if len(ham.labels) else part.of("bcn")).labels, minlength=len(data.CLASSES))
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


class Data:
    """The pictures of all sources: the training part and what validates."""

    def __init__(self, root):
        self.train, self.held = (data.load(root, list(data.SOURCES), name) for name in ("train", "validation"))

    def of(self, sources):
        """Both parts, of these sources."""
        return self.train.of(*sources), self.held.of(*sources)


def trained(run, pictures, out):
    """The network of a run, and before it those that it needs: as its file has it, where it is finished."""
    checkpoint = out / f"{run.name}.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device(), weights_only=True)
        if "model" not in saved:
            model = begun(run)
            model.load_state_dict(saved["average"])
            return model
    start = trained(RUNS[run.start], pictures, out) if run.start else None
    teachers = [measured(RUNS[name], pictures, out) for name in run.teachers]
    return fit(run, *pictures.of(run.sources), checkpoint, start, teachers)


def measured(run, pictures, out):
    """The same with its normalisation measured anew."""
    return measure_norms(trained(run, pictures, out), pictures.of(run.sources)[0])


def shipped(pictures, out):
    """The mean of the student's weights before and after its end: better than either (Wortsman et al. 2022, arXiv:2203.05482)."""
    model, end = (trained(run, pictures, out) for run in (STUDENT, STUDENT_END))
    with torch.no_grad():
        torch._foreach_lerp_(floats(model), floats(end), 0.5)
    return model


def left_out(source, pictures, out):
    """Leave-one-source-out: what a network that has not seen a source makes of it.

    Printed: the area of melanoma, the probability from which on nine of ten melanomas are found, and from several on how many are, and how
    many of the others are called as well.
    """
    run = WITHOUT[source]
    seen, _ = pictures.of(run.sources)
    home = pictures.held.of(run.sources[0])
    # HAM10000's validation part has melanomas enough; its training part takes minutes to judge.
    away = pictures.held.of(source)
    if source != "ham":
        away = away.joined(pictures.train.of(source))
    model = put_back(trained(run, pictures, out), seen)
    divisor = temperature(outputs_of(model, model, home.pictures, data.SIZE), home.labels)
    logits = outputs_of(model, model, away.pictures, data.SIZE)
    report(f"without {source}", logits, away)
    probability = (logits / divisor).softmax(1)[:, MELANOMA]
    found, others = probability[away.labels == MELANOMA], probability[away.labels != MELANOMA]
    line = {"without": source, "temperature": float(divisor), "nine_of_ten_melanomas_from": float(found.quantile(0.1))}
    for threshold in THRESHOLDS:
        line[f"from {threshold}"] = [round(float((of >= threshold).float().mean()), 3) for of in (found, others)]
    print(json.dumps(line), flush=True)


def judged_teachers(pictures, held, out):
    """Printed: each teacher, and the mean of all."""
    logits = []
    for run in TEACHERS:
        teacher = measured(run, pictures, out)
        logits.append(outputs_of(teacher, teacher, held.pictures, data.SIZE).log_softmax(1))
        report(f"{run.name}, normalisation measured anew", logits[-1], held)
    report("teachers' mean", torch.stack(logits).mean(0), held)


def train(pictures, out):
    """The network as it ships, and those that measure the transfer."""
    part, held = pictures.of(("ham", "archive"))
    judged_teachers(pictures, held, out)
    model = shipped(pictures, out)
    logits = outputs_of(model, model, held.pictures, data.SIZE)
    report("shipped", logits, held)
    report_shares(logits, part, held)
    report_decision(logits + SHARES * log_shares(part), part, held)
    model = put_back(model, part)
    flag, _ = uncertain.choose(
        lambda pictures: outputs_of(model, model.features, pictures, data.SIZE), pictures.train, pictures.held
    )
    network.write(network.Served(model.cpu(), flag).eval(), out / "model-f32.onnx")
    for source in WITHOUT:
        left_out(source, pictures, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--only", choices=RUNS, help="this network alone, and its teachers; several may run at once")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    fast.keep_memory()
    pictures = Data(arguments.data)
    if arguments.only:
        trained(RUNS[arguments.only], pictures, arguments.out)
    else:
        train(pictures, arguments.out)


if __name__ == "__main__":
    main()
