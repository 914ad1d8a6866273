"""Measures `explain` beside pytorch-grad-cam: the same network, input, class and layer, one thread.

    pip install torch timm onnxscript grad-cam    # and the wheel
    python compare.py resnet18 tf_efficientnetv2_s

The networks are timm's, with random weights; PyTorch exports them to ONNX. Each program runs in a process of its own, whose
peak of resident memory is that of importing, loading and explaining. Both give the heatmap at the input's size.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

# The layer that is explained: the last feature map.
LAYERS = {
    "resnet18": lambda network: network.layer4[-1],
    "mobilenetv2_100": lambda network: network.bn2,
    "tf_efficientnet_lite0": lambda network: network.bn2,
    "tf_efficientnetv2_s": lambda network: network.bn2,
}
SIDES = {"resnet18": 224, "mobilenetv2_100": 224, "tf_efficientnet_lite0": 224, "tf_efficientnetv2_s": 300}
TARGET = 2
ROUNDS = 20
TOOLS = ("onnx-gradcam", "pytorch-grad-cam")


def timed(explain):
    """The heatmap, and milliseconds of CPU time of each of several calls after the first: what else the machine does
    counts less than in wall-clock time, which is the same for one thread on an idle core."""
    heatmap = explain()
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        explain()
        times.append((time.process_time() - start) * 1000)
    return heatmap, times


def ours(folder, tensor, target):
    import onnx_gradcam

    start = time.process_time()
    classifier = onnx_gradcam.Classifier(folder / "model.onnx", input_shape=tensor.shape)
    first = classifier.explain_tensor(tensor, classes=target).resized()
    ready = time.process_time() - start
    heatmap, times = timed(lambda: classifier.explain_tensor(tensor, classes=target).resized())
    assert (heatmap == first).all()
    return heatmap, times, ready


def theirs(folder, tensor, target):
    import torch
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.set_num_threads(1)
    start = time.process_time()
    network = made(folder.name)
    network.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    maps = GradCAM(model=network, target_layers=[LAYERS[folder.name](network)])
    x, targets = torch.from_numpy(tensor), [ClassifierOutputTarget(target)]
    maps(input_tensor=x, targets=targets)
    ready = time.process_time() - start
    heatmap, times = timed(lambda: maps(input_tensor=x, targets=targets)[0])
    return heatmap, times, ready


def made(name):
    import timm

    return timm.create_model(name, num_classes=7).eval()


def export(name, folder):
    """Writes the network with random weights, as PyTorch's parameters and as ONNX."""
    import torch

    torch.manual_seed(0)
    network = made(name)
    for part in network.modules():  # statistics as after training, so that no layer is saturated
        if isinstance(part, torch.nn.BatchNorm2d):
            part.weight.data.uniform_(0.8, 1.2)
            part.bias.data.normal_(0, 0.2)
            part.momentum = None
    network.train()
    with torch.no_grad():
        network(torch.randn(8, 3, SIDES[name], SIDES[name]))
    network.eval()
    torch.save(network.state_dict(), folder / "model.pt")
    x = torch.randn(1, 3, SIDES[name], SIDES[name])
    torch.onnx.export(network, (x,), folder / "model.onnx", dynamo=True, external_data=False, verbose=False)


def child(tool, folder):
    """One program's measurements, as JSON on the last line."""
    import numpy as np

    tensor = np.load(folder / "tensor.npy")
    heatmap, times, ready = {TOOLS[0]: ours, TOOLS[1]: theirs}[tool](folder, tensor, TARGET)
    np.save(folder / f"{tool}.npy", heatmap)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"median": statistics.median(times), "least": min(times), "ready": ready * 1000, "peak": peak}))


def run(*arguments):
    answer = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        sys.exit(answer.stderr)
    return answer.stdout


def parent(names):
    import numpy as np

    print(
        "| network | program | CPU ms, median | least | to the first heatmap | peak memory, MiB | largest difference |"
    )
    print("|---|---|---:|---:|---:|---:|---:|")
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch) / name
            folder.mkdir()
            run("--export", name, folder)
            tensor = np.random.default_rng(0).normal(size=(1, 3, SIDES[name], SIDES[name]))
            np.save(folder / "tensor.npy", tensor.astype(np.float32))
            found = {tool: json.loads(run("--child", tool, folder).splitlines()[-1]) for tool in TOOLS}
            maps = [np.load(folder / f"{tool}.npy") for tool in TOOLS]
        assert maps[0].std() > 0.01, "the heatmap says nothing"
        difference = float(np.abs(maps[0] - maps[1]).max())
        for tool in TOOLS:
            row = found[tool]
            numbers = f"{row['median']:.1f} | {row['least']:.1f} | {row['ready']:.0f} | {row['peak']:.0f}"
            print(f"| {name} | {tool} | {numbers} | {difference:.1e} |")
        speed, memory = (found[TOOLS[1]][key] / found[TOOLS[0]][key] for key in ("median", "peak"))
        print(f"| {name} | ratio | {speed:.1f} | | | {memory:.1f} | |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], pathlib.Path(sys.argv[3]))
    elif sys.argv[1:2] == ["--export"]:
        export(sys.argv[2], pathlib.Path(sys.argv[3]))
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("names", nargs="*", default=list(LAYERS), help="networks of timm: " + ", ".join(LAYERS))
        parent(parser.parse_args().names)
