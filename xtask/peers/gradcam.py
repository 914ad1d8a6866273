"""Grad-CAM as people have it: pytorch-grad-cam on the same ONNX file, one thread, float32.

    python gradcam.py MODEL.onnx VALUE

For each line of standard input one heatmap at the ONNX value VALUE; answers with milliseconds: of a
plain prediction, and of the heatmap with its prediction. In the end, the peak of resident memory in
MiB.
"""

import resource
import sys
import time

import numpy as np
import onnx
import torch
from onnx2torch import convert
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

torch.set_num_threads(1)
model = onnx.load(sys.argv[1])
node = next(node for node in model.graph.node if sys.argv[2] in node.output)
side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
network = convert(model).eval()


def plain(name):
    return name.replace("/", "_").replace(".", "_").replace(":", "_").strip("_")


layer = next(m for name, m in network.named_modules() if plain(name) == plain(node.name))
x = torch.from_numpy(np.zeros((1, 3, side, side), np.float32))
with GradCAM(model=network, target_layers=[layer]) as cam:
    for _ in range(3):
        cam(input_tensor=x, targets=[ClassifierOutputTarget(0)])
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        with torch.no_grad():
            network(x)
        between = time.perf_counter()
        cam(input_tensor=x, targets=[ClassifierOutputTarget(0)])
        end = time.perf_counter()
        print((between - start) * 1e3, (end - between) * 1e3, flush=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
