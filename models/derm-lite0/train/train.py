"""Trains the whole network on HAM10000; writes an ONNX file. Seeded; resumes where it was stopped.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python train.py --data ../../../../shared/data/ham10000 --out build
    cargo xtask quantize build/model-f32.onnx -o ../model.onnx
    cargo xtask evaluate --data PICTURES --labels HAM10000_metadata.csv --split models/derm-lite0/train/split.csv \\
        --part validation --calibrate --sensitivity mel=0.9    # numbers for ../model.toml

What the run consists of, and why:

- ImageNet start; AdamW, cosine cycles with warm-up; an exponential moving average of the weights
  is what is validated and shipped.
- Balanced softmax (Ren et al. 2020, arXiv:2007.10740): the class prior is added to the logits while
  training and left out when serving. The rare classes are drawn somewhat more often as well
  (probability ~ 1 / sqrt(class share)), and the prior is that of the draw.
- Both image sets are brought to one look: all pictures come from frames of short side 224, and half
  of the sharp ones go through 150 pixels (the data's README tells why).
- Flips, any rotation, scale, colour; mixup (Zhang et al. 2018, arXiv:1710.09412).
- Two cycles: the first at 160, 192 and 224 pixels; the second starts from the first's average, at 224
  throughout, at a lower rate and with less zoom, which is nearer to what the server will show it. What
  ships is the mean of both cycles' weights (Wortsman et al. 2022, arXiv:2203.05482).

Validation chooses the numbers of the manifest, and nothing here. The
test part is not read.
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
from PIL import Image

import data
import network

BATCH = 64
DECAY = 0.02
MIXUP = 0.2
SMOOTHING = 0.05
AVERAGE = 0.997
# Of the features' principal components; 64 told the seen kinds of negatives.py apart best.
COMPONENTS = 64


class Cycle(typing.NamedTuple):
    """Some epochs under one cosine of the learning rate."""

    epochs: int
    rate: float  # the highest learning rate
    sizes: tuple  # (share of the cycle done, side in pixels) from there on
    zoom: tuple  # share of the frame's side that is seen: least, most

    def size(self, epoch):
        return [side for done, side in self.sizes if epoch >= done * self.epochs][-1]


CYCLES = [
    Cycle(epochs=22, rate=1e-3, sizes=((0.0, 160), (0.45, 192), (0.8, 224)), zoom=(0.6, 1.1)),
    Cycle(epochs=14, rate=4e-4, sizes=((0.0, 224),), zoom=(0.7, 1.15)),
]


def frame(jpeg):
    """A picture as a uint8 tensor [3, 224, 224]."""
    return torch.from_numpy(np.asarray(data.picture(jpeg)).copy()).permute(2, 0, 1)


def load(folder, part):
    """(pictures [n, 3, 224, 224] uint8, labels [n], sharp [n] bool) of one part."""
    jpegs = data.read_pictures(folder)
    rows = [row for row in data.read_labels(folder) if row["part"] == part]
    x = torch.stack([frame(jpegs[row["image_id"]][0]) for row in rows])
    y = torch.tensor([data.CLASSES.index(row["dx"]) for row in rows])
    sharp = torch.tensor([jpegs[row["image_id"]][1] for row in rows])
    return x, y, sharp


def uniform(n, low, high):
    return torch.empty(n).uniform_(low, high)


def soften(x, chosen):
    """The chosen pictures through 150x150, as the other image set came to be."""
    if chosen.any():
        small = F.interpolate(x[chosen], size=150, mode="bicubic", antialias=True)
        x[chosen] = F.interpolate(small, size=data.SIZE, mode="bicubic")
    return x


def geometry(x, size, seen):
    """Flip, rotate, scale, stretch and shift at once, by one resampling to size x size."""
    n = len(x)
    angle = uniform(n, 0, 2 * math.pi)
    zoom = torch.exp(uniform(n, *(math.log(share) for share in seen)))
    stretch = torch.exp(uniform(n, -0.15, 0.15))
    flip = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    room = (1 - zoom).clamp(min=0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack(
        [
            torch.stack([cos * zoom * stretch * flip, -sin * zoom / stretch, room * uniform(n, -1, 1)], 1),
            torch.stack([sin * zoom * stretch * flip, cos * zoom / stretch, room * uniform(n, -1, 1)], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, (n, 3, size, size), align_corners=False)
    if size < data.SIZE:
        x = F.interpolate(x, size=size, mode="bilinear", antialias=True)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def colour(x):
    """Brightness, contrast, saturation, white balance, gamma, on 0..1; each picture its own."""
    n = len(x)
    shape = (n, 1, 1, 1)
    x = x.clamp(1e-4, 1) ** torch.exp(uniform(n, -0.25, 0.25)).view(shape)
    x = x * uniform(3 * n, 0.85, 1.15).view(n, 3, 1, 1) * uniform(n, 0.8, 1.2).view(shape)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * uniform(n, 0.7, 1.3).view(shape)
    level = x.mean((1, 2, 3), keepdim=True)
    return (level + (x - level) * uniform(n, 0.8, 1.25).view(shape)).clamp(0, 1)


def augment(x, sharp, size, seen):
    """uint8 [n, 3, 224, 224] -> normalised float32 [n, 3, size, size]."""
    x = soften(x.float() / 255, sharp & (torch.rand(len(x)) < 0.5))
    x = colour(geometry(x, size, seen))
    return (x - network.MEAN) / network.STD


@torch.no_grad()
def outputs_of(model, function, x):
    """What the function, one of the model, makes of uint8 pictures as they are."""
    model.eval()
    out = []
    for chunk in x.split(BATCH):
        chunk = (chunk.float() / 255 - network.MEAN) / network.STD
        with torch.autocast("cpu", torch.bfloat16):
            out.append(function(chunk.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(out)


@torch.no_grad()
def follow(average, model, step):
    """The moving average takes a step towards the model; fast at first."""
    keep = min(AVERAGE, (step + 1) / (step + 10))
    for a, m in zip(average.state_dict().values(), model.state_dict().values()):
        if a.dtype.is_floating_point:
            a.lerp_(m, 1 - keep)
        else:
            a.copy_(m)


def schedule_of(optimiser, cycle, per_epoch):
    steps, warm = cycle.epochs * per_epoch, 2 * per_epoch
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda s: (s + 1) / warm if s < warm else 0.5 + 0.5 * math.cos(math.pi * (s - warm) / (steps - warm)),
    )


def train(arguments):
    """The mean of the cycles' averaged networks, and the training pictures."""
    torch.manual_seed(arguments.seed)
    x, y, sharp = load(arguments.data, "train")
    held_x, held_y, _ = load(arguments.data, "validation")
    counts = torch.bincount(y).float()
    weight = (1 / counts.sqrt())[y]
    drawn = counts.sqrt()
    log_prior = torch.log(drawn / drawn.sum())
    per_epoch = len(y) // BATCH

    average = network.Classifier(len(data.CLASSES)).to(memory_format=torch.channels_last)
    checkpoint = arguments.out / "checkpoint.pt"
    saved = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else None
    ends = saved["ends"] if saved else []
    for number, cycle in enumerate(CYCLES):
        if saved and number < saved["cycle"]:
            continue
        model = copy.deepcopy(average)
        optimiser = torch.optim.AdamW(model.parameters(), lr=cycle.rate, weight_decay=DECAY)
        schedule = schedule_of(optimiser, cycle, per_epoch)
        first = 0
        if saved:
            model.load_state_dict(saved["model"])
            average.load_state_dict(saved["average"])
            optimiser.load_state_dict(saved["optimiser"])
            schedule.load_state_dict(saved["schedule"])
            torch.set_rng_state(saved["rng"])
            first, saved = saved["epoch"] + 1, None
        for epoch in range(first, cycle.epochs):
            began = time.time()
            chosen = torch.multinomial(weight, per_epoch * BATCH, replacement=True).split(BATCH)
            random = np.random.default_rng((arguments.seed, number, epoch))
            model.train()
            total = 0.0
            for step, rows in enumerate(chosen):
                batch = augment(x[rows], sharp[rows], cycle.size(epoch), cycle.zoom)
                target = F.one_hot(y[rows], len(data.CLASSES)).float()
                share = float(random.beta(MIXUP, MIXUP))
                batch = share * batch + (1 - share) * batch.flip(0)
                target = share * target + (1 - share) * target.flip(0)
                with torch.autocast("cpu", torch.bfloat16):
                    logits = model(batch.contiguous(memory_format=torch.channels_last)).float()
                loss = F.cross_entropy(logits + log_prior, target, label_smoothing=SMOOTHING)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimiser.step()
                schedule.step()
                follow(average, model, epoch * per_epoch + step)
                total += float(loss.detach())
                if step % 10 == 0:
                    print(f"\r{number}.{epoch} step {step}/{per_epoch} loss {total / (step + 1):.3f}", end="", flush=True)
            score = balanced_accuracy(outputs_of(average, average, held_x).argmax(1).numpy(), held_y.numpy())
            line = {"cycle": number, "epoch": epoch, "size": cycle.size(epoch), "loss": round(total / per_epoch, 4)}
            print("\r" + json.dumps(line | {"validation": round(score, 4), "seconds": round(time.time() - began)}))
            state = {"cycle": number, "epoch": epoch, "model": model.state_dict(), "average": average.state_dict()}
            state |= {"optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "ends": ends}
            torch.save(state | {"rng": torch.get_rng_state()}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").rename(checkpoint)
        ends.append(copy.deepcopy(average.state_dict()))
    mean = {name: sum(end[name] for end in ends) / len(ends) for name in ends[0]}
    average.load_state_dict(mean)
    return average, x


@torch.no_grad()
def principal_components(model, x):
    """(mean [1280], basis [1280, COMPONENTS]) of the pictures' features."""
    features = outputs_of(model, model.features, x)
    mean = features.mean(0)
    _, vectors = torch.linalg.eigh((features - mean).T @ (features - mean))
    return mean, vectors[:, -COMPONENTS:].contiguous()


def balanced_accuracy(predicted, y):
    return float(np.mean([(predicted[y == c] == c).mean() for c in np.unique(y)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    model, x = train(arguments)
    served = network.Served(model, *principal_components(model, x)).eval()
    path = arguments.out / "model-f32.onnx"
    torch.onnx.export(
        served.to(memory_format=torch.contiguous_format),
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
