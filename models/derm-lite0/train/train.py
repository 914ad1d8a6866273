"""Trains the whole network on HAM10000; writes an ONNX file. Seeded; resumes where it was stopped.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python train.py --data ../../../../shared/data/ham10000 --out build
    cargo xtask quantize build/model-f32.onnx -o ../model.onnx

What the run consists of, and why:

- ImageNet start; AdamW, one cosine cycle with warm-up; an exponential moving average of the weights
  is what is validated and shipped.
- Balanced softmax (Ren et al. 2020, arXiv:2007.10740): the class prior is added to the logits while
  training and left out when serving. The rare classes are drawn somewhat more often as well
  (probability ~ 1 / sqrt(class share)), and the prior is that of the draw.
- Both image sets are brought to one look: all pictures come from frames of short side 224, and half
  of the sharp ones go through 150 pixels (the data's README tells why).
- Flips, any rotation, scale, colour; mixup (Zhang et al. 2018, arXiv:1710.09412).
- Progressive resolution: 160 pixels first, 224 last.

Validation picks nothing but the temperature: the last epoch ships. The test part is not read here.
"""

import argparse
import copy
import json
import math
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import data
import network

BATCH = 64
RATE = 1e-3
DECAY = 0.02
MIXUP = 0.2
SMOOTHING = 0.05
AVERAGE = 0.997


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


def geometry(x, size):
    """Flip, rotate, scale, stretch and shift at once, by one resampling to size x size."""
    n = len(x)
    angle = uniform(n, 0, 2 * math.pi)
    zoom = torch.exp(uniform(n, math.log(0.6), math.log(1.1)))  # share of the frame's side seen
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


def augment(x, sharp, size):
    """uint8 [n, 3, 224, 224] -> normalised float32 [n, 3, size, size]."""
    x = soften(x.float() / 255, sharp & (torch.rand(len(x)) < 0.5))
    x = colour(geometry(x, size))
    return (x - network.MEAN) / network.STD


@torch.inference_mode()
def logits_of(model, x):
    model.eval()
    out = []
    for chunk in x.split(BATCH):
        chunk = (chunk.float() / 255 - network.MEAN) / network.STD
        with torch.autocast("cpu", torch.bfloat16):
            out.append(model(chunk.contiguous(memory_format=torch.channels_last)).float())
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


def resolution(epoch, epochs):
    done = epoch / epochs
    return 160 if done < 0.4 else 192 if done < 0.75 else 224


def train(arguments):
    torch.manual_seed(arguments.seed)
    x, y, sharp = load(arguments.data, "train")
    held_x, held_y, _ = load(arguments.data, "validation")
    counts = torch.bincount(y).float()
    weight = (1 / counts.sqrt())[y]
    drawn = counts.sqrt()
    log_prior = torch.log(drawn / drawn.sum())

    model = network.Classifier(len(data.CLASSES)).to(memory_format=torch.channels_last)
    average = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    per_epoch = len(y) // BATCH
    steps = arguments.epochs * per_epoch
    warm = 2 * per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda s: (s + 1) / warm if s < warm else 0.5 + 0.5 * math.cos(math.pi * (s - warm) / (steps - warm)),
    )

    first = 0
    checkpoint = arguments.out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        torch.set_rng_state(saved["rng"])
        first = saved["epoch"] + 1

    for epoch in range(first, arguments.epochs):
        model.train()
        size = resolution(epoch, arguments.epochs)
        began, total = time.time(), 0.0
        order = torch.multinomial(weight, per_epoch * BATCH, replacement=True)
        for step, chosen in enumerate(order.split(BATCH)):
            batch, target = augment(x[chosen], sharp[chosen], size), F.one_hot(y[chosen], len(data.CLASSES)).float()
            share = float(np.random.default_rng((arguments.seed, epoch, step)).beta(MIXUP, MIXUP))
            batch = share * batch + (1 - share) * batch.flip(0)
            target = share * target + (1 - share) * target.flip(0)
            batch = batch.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(batch).float()
            loss = F.cross_entropy(logits + log_prior, target, label_smoothing=SMOOTHING)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            follow(average, model, epoch * per_epoch + step)
            total += float(loss.detach())
            if step % 10 == 0:
                print(f"\repoch {epoch} step {step}/{per_epoch} loss {total / (step + 1):.3f}", end="", flush=True)
        score = balanced_accuracy(logits_of(average, held_x).argmax(1).numpy(), held_y.numpy())
        line = {"epoch": epoch, "size": size, "loss": round(total / per_epoch, 4), "validation": round(score, 4)}
        print("\r" + json.dumps(line | {"seconds": round(time.time() - began)}), flush=True)
        state = {"model": model.state_dict(), "average": average.state_dict(), "epoch": epoch}
        state |= {"optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "rng": torch.get_rng_state()}
        torch.save(state, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").rename(checkpoint)
    return average, logits_of(average, held_x), held_y


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
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    model, logits, y = train(arguments)
    t = temperature(logits, y)
    with torch.no_grad():
        model.head.weight.div_(t)
        model.head.bias.div_(t)
    score = balanced_accuracy(logits.argmax(1).numpy(), y.numpy())
    print(f"validation balanced accuracy {score:.3f}, temperature {t:.2f}")
    path = arguments.out / "model-f32.onnx"
    torch.onnx.export(
        model.eval().to(memory_format=torch.contiguous_format),
        (torch.zeros(1, 3, data.SIZE, data.SIZE),),
        str(path),
        input_names=["input"],
        output_names=["logits"],
        opset_version=17,
        dynamo=False,
    )
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
