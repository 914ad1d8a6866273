"""Trains teachers and a student on HAM10000; writes the student as an ONNX file. Seeded; resumes where it was stopped.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python train.py --data ../../../../shared/data/ham10000 --out build
    cargo xtask quantize build/model-f32.onnx -o ../model.onnx
    cargo xtask evaluate --data PICTURES --labels HAM10000_metadata.csv --split models/derm-lite0/train/split.csv \\
        --part validation --calibrate --sensitivity mel=0.9    # numbers for ../model.toml

Two cores with AVX-512 take less than two hours, with AVX2 alone somewhat more than three (by the time of epochs at each
side). A GPU is used where there is one (this version was not run on one). What it consists of, and why:

- ImageNet start; AdamW under one cosine with a warm-up; a moving average of the weights is what is validated
  and used.
- Balanced softmax (Ren et al. 2020, arXiv:2007.10740): the class prior is added to the logits while
  training and left out when serving. The rare classes are drawn somewhat more often as well
  (probability ~ 1 / sqrt(class share)), and the prior is that of the draw.
- Both image sets are brought to one look: all pictures come from frames of short side 224, and half
  of the sharp ones go through 150 pixels (the data's README tells why).
- Flips, any rotation, scale, colour (augment.py); mixup (Zhang et al. 2018, arXiv:1710.09412) on half of the batches.
- Teachers by folds: each is trained on all folds but one. Together they are a cross-validation, whose scores are printed:
  of seven times as many pictures as validation has.
- Distillation (Hinton et al. 2015, arXiv:1503.02531), where most of the student's target is what the one teacher that
  has not seen a picture makes of it. It is asked for the very view, mixed or not, that the student gets (Beyer et al. 2022,
  arXiv:2106.05237). With the labels alone, or teachers that know the pictures' labels, it overfits sooner.
- The student starts from the mean of its teachers' weights (Wortsman et al. 2022, arXiv:2203.05482).
- A fifth of the logarithm of the classes' shares goes back into the student's logits (Menon et al. 2021,
  arXiv:2007.07314): accuracy, calibration and AUROC gain, and balanced accuracy does not lose yet (RUNS.md).
- Batch normalisation's statistics are measured anew after training: those of training are of mixed, smaller pictures.
- Trained at a smaller side than it is used at, since the zoom makes lesions larger in training than they are when
  served (Touvron et al. 2019, arXiv:1906.06423).

Validation chooses the numbers of the manifest, and SHARES here. The test part is not read.
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

BATCH = 64
DECAY = 0.05
MIXUP = 0.4
SMOOTHING = 0.05
# How much of the student's target is a teacher's opinion; the rest is the label.
TAUGHT = 0.7
# How much of the classes' natural shares, as a power of them, goes back into what the student answers.
SHARES = 0.2
# The moving average's memory, as a share of a run.
AVERAGED = 0.2
NORM_BATCHES = 35
# Of the features' principal components; 64 told the seen kinds of negatives.py apart best (128 as well).
COMPONENTS = 64
# Epochs from one validation to the next.
EVERY = 5


class Run(typing.NamedTuple):
    """One network's training. `sizes`: (share of the run done, side in pixels) from there on."""

    name: str
    network: str
    epochs: int
    rate: float  # the highest learning rate
    sizes: tuple
    used_at: int  # the side it is validated and used at
    dropout: float = 0.3
    zoom: tuple = (0.6, 1.1)  # share of the frame's side that is seen: least, most
    seed: int = 0

    def size(self, epoch):
        return [side for done, side in self.sizes if epoch >= done * self.epochs][-1]


TEACHERS = [
    Run(f"teacher-{fold}", "lite0", epochs=10, rate=5e-4, sizes=((0.0, 160), (0.3, 192), (0.7, 224)), used_at=256, seed=fold)
    for fold in range(data.FOLDS)
]
STUDENT = Run("student", "lite0", epochs=26, rate=8e-4, sizes=((0.0, 192),), used_at=224, dropout=0.1, seed=data.FOLDS)


class Part(typing.NamedTuple):
    """Pictures [n][224, 224, 3] uint8, labels [n], whether of the sharp set [n], fold [n]."""

    pictures: list
    labels: torch.Tensor
    sharp: list
    folds: torch.Tensor

    def of(self, chosen):
        """The pictures that are chosen, [n] of bool."""
        places = chosen.nonzero().flatten().tolist()
        return Part([self.pictures[i] for i in places], self.labels[places], [self.sharp[i] for i in places], self.folds[places])


def load(folder, part):
    jpegs = data.read_pictures(folder)
    rows = [row for row in data.read_labels(folder) if row["part"] == part]
    return Part(
        [np.asarray(data.picture(jpegs[row["image_id"]][0])) for row in rows],
        torch.tensor([data.CLASSES.index(row["dx"]) for row in rows]),
        [jpegs[row["image_id"]][1] for row in rows],
        torch.tensor([data.fold_of(row["lesion_id"]) for row in rows]),
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
        chunk = pictures[start : start + BATCH]
        if side != data.SIZE:
            chunk = [augment.cv2.resize(p, (side, side), interpolation=augment.cv2.INTER_CUBIC) for p in chunk]
        with reduced():
            out.append(function(network.normalise(torch.from_numpy(np.stack(chunk)).to(device()))).float().cpu())
    return torch.cat(out)


def scores(logits, y):
    """Balanced accuracy, and the macro mean of the classes' areas under the ROC curve."""
    predicted, probability = logits.argmax(1).numpy(), logits.softmax(1).numpy()
    y = y.numpy()
    recall = np.mean([(predicted[y == c] == c).mean() for c in np.unique(y)])
    return {"balanced_accuracy": round(float(recall), 4), "auroc": round(roc_auc_score(y, probability, multi_class="ovr"), 4)}


@torch.no_grad()
def follow(average, model, step, steps):
    """The moving average takes a step towards the model; fast at first."""
    keep = min(1 - 1 / (AVERAGED * steps), (step + 1) / (step + 10))
    for a, m in zip(average.state_dict().values(), model.state_dict().values()):
        if a.dtype.is_floating_point:
            a.lerp_(m, 1 - keep)
        else:
            a.copy_(m)


def draw(labels):
    """(chance of each picture [n], log of the classes' share in what is drawn so [classes])."""
    root = torch.bincount(labels).float().sqrt()
    weight = (1 / root)[labels].double().numpy()
    return weight / weight.sum(), torch.log(root / root.sum())


def groups(model):
    """Weights decay; biases and what normalises do not."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]


def fit(run, part, held, out, start=None, teachers=None):
    """The moving average of a network trained on a part, from ImageNet's weights or those of `start`.

    With teachers, one for each fold, a batch is of one fold, and most of its targets are what that fold's teacher,
    which has not seen these pictures, makes of the very views that the network gets. A checkpoint is written after every
    epoch and taken up where there is one.
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
        optimiser, lambda s: (s + 1) / warm if s < warm else 0.505 + 0.495 * math.cos(math.pi * (s - warm) / (steps - warm))
    )
    parts = {"model": model, "average": average, "optimiser": optimiser, "schedule": schedule}
    for teacher in teachers or []:
        # It normalises by the batch's own statistics, as the student does, and keeps none of them.
        teacher.train()
        for layer in norms(teacher):
            layer.momentum = 0.0
    first = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device(), weights_only=True)
        for name, thing in parts.items():
            thing.load_state_dict(saved[name])
        first = saved["epoch"] + 1

    chance, log_prior = draw(part.labels)
    log_prior = log_prior.to(device())
    kinds = [part.folds == fold for fold in range(data.FOLDS)] if teachers else [torch.ones(len(chance), dtype=bool)]
    targets = (F.one_hot(part.labels).float() * (1 - SMOOTHING) + SMOOTHING / len(data.CLASSES)).to(device())
    for epoch in range(first, run.epochs):
        began, total = time.time(), 0.0
        random = np.random.default_rng((run.seed, epoch))
        torch.manual_seed(hash((run.seed, epoch)))
        turns = [kinds[step % len(kinds)].numpy() * chance for step in range(per_epoch)]
        chosen = np.stack([random.choice(len(chance), BATCH, p=turn / turn.sum()) for turn in turns])
        views = augment.batches(part.pictures, part.sharp, chosen, run.size(epoch), run.zoom, (run.seed, epoch))
        model.train()
        for step, pixels in enumerate(views):
            x, target = network.normalise(torch.from_numpy(pixels).to(device())), targets[chosen[step]]
            if random.random() < 0.5:
                share = float(random.beta(MIXUP, MIXUP))
                x = share * x + (1 - share) * x.flip(0)
                target = share * target + (1 - share) * target.flip(0)
            if teachers:
                target = TAUGHT * opinion(teachers[step % len(kinds)], x, log_prior) + (1 - TAUGHT) * target
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
            line |= scores(outputs_of(average, average, held.pictures, run.used_at), held.labels)
        print("\r" + json.dumps(line), flush=True)
        state = {name: thing.state_dict() for name, thing in parts.items()} | {"epoch": epoch}
        torch.save(state, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").rename(checkpoint)
    return average


def norms(model):
    return [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]


@torch.no_grad()
def mean(models):
    """A network whose weights are the mean of others'."""
    out = copy.deepcopy(models[0])
    for value, *others in zip(out.state_dict().values(), *(model.state_dict().values() for model in models[1:])):
        if value.dtype.is_floating_point:
            value.copy_(torch.stack([value, *others]).mean(0))
    return out


@torch.no_grad()
def measure_norms(model, part):
    """Batch normalisation's means and variances, measured anew: as weights are now, on pictures that are neither mixed
    nor shrunk, with no branch left out (Wu and Johnson 2021, arXiv:2105.07576)."""
    for layer in norms(model):
        layer.reset_running_stats()
    model.drop_connect(0.0)
    model.train()
    chance, _ = draw(part.labels)
    chosen = np.random.default_rng(0).choice(len(chance), (NORM_BATCHES, BATCH), p=chance)
    for step, pixels in enumerate(augment.batches(part.pictures, part.sharp, chosen, data.SIZE, (0.8, 1.1), (5, 5))):
        for layer in norms(model):
            layer.momentum = 1 / (step + 1)
        with reduced():
            model.features(network.normalise(torch.from_numpy(pixels).to(device())))
    return model.eval()


@torch.no_grad()
def opinion(teacher, x, log_prior):
    """A teacher's probabilities of a batch, at the prior of the draw."""
    with reduced():
        features = teacher.features(x)
    return (teacher.head(features.float()) + log_prior).softmax(1)


def strangeness(model, pictures):
    """What `network.Served` needs to tell how strange a picture is."""
    features = outputs_of(model, model.features, pictures, data.SIZE)
    mean = features.mean(0)
    _, vectors = torch.linalg.eigh((features - mean).T @ (features - mean))
    basis = vectors[:, -COMPONENTS:].contiguous()
    residual = ((features - mean) ** 2).sum(1) - (((features - mean) @ basis) ** 2).sum(1)

    kinds = negatives.seen(negatives.chosen(pictures))
    strangers = [np.asarray(picture) for kind in kinds.values() for picture in kind]
    both = torch.cat([features, outputs_of(model, model.features, strangers, data.SIZE)])
    deviation = features.std(0) + 1e-3
    strange = np.arange(len(both)) >= len(features)
    fitted = LogisticRegression(C=0.001, max_iter=1000, class_weight="balanced")
    fitted.fit(((both - mean) / deviation).numpy(), strange)
    weight = torch.from_numpy(fitted.coef_[0]).float() / deviation
    like = features @ weight
    return {
        "mean": mean,
        "basis": basis,
        "scale": 1 / residual.std(),
        "weight": weight / like.std(),
        "offset": -residual.mean() / residual.std() - like.mean() / like.std(),
    }


def train(arguments):
    """The student, and the training pictures."""
    part, held = load(arguments.data, "train"), load(arguments.data, "validation")
    teachers, unseen = [], torch.empty(len(part.labels), len(data.CLASSES))
    for fold, run in enumerate(TEACHERS):
        seen, rest = part.of(part.folds != fold), part.of(part.folds == fold)
        teachers.append(measure_norms(fit(run, seen, held, arguments.out), seen))
        unseen[part.folds == fold] = outputs_of(teachers[-1], teachers[-1], rest.pictures, run.used_at)
    print(json.dumps({"run": "folds"} | scores(unseen, part.labels)), flush=True)
    start = measure_norms(mean(teachers), part)
    student = measure_norms(fit(STUDENT, part, held, arguments.out, start, teachers), part)
    shares = torch.bincount(part.labels) / len(part.labels)
    student.head.bias.data += SHARES * shares.log().to(device())
    print(json.dumps({"run": "shipped"} | scores(outputs_of(student, student, held.pictures, data.SIZE), held.labels)))
    return student, part.pictures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    fast.keep_memory()

    model, pictures = train(arguments)
    strange = strangeness(model, pictures)
    served = network.Served(model.cpu(), **strange).eval()
    path = arguments.out / "model-f32.onnx"
    torch.onnx.export(
        served,
        (torch.zeros(1, 3, data.SIZE, data.SIZE),),
        str(path),
        input_names=["input"],
        output_names=["logits", "ood_score"],
        opset_version=17,
        dynamo=False,
    )
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
