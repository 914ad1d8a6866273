"""Makes `golden/`: onnxruntime's answers and pytorch-grad-cam's heatmaps on the filled zoo.

    cargo xtask zoo
    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python golden.py ../../target/zoo

`golden/NAME.json` holds, for the input that `picture` makes:
  scores     what onnxruntime answers, [classes]
  scores_f16 the same for the float16 file
  class      the class explained
  heatmap    Grad-CAM at the last spatial feature map, [rows][columns] of that map
  upsampled  the same at the input's size as `cv2.resize` makes it, every 16th row and column
  layers     Grad-CAM at further layers: {ONNX value name: heatmap}
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
import torch
from onnx2torch import convert
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

HERE = pathlib.Path(__file__).parent
STEP = 16
# Earlier layers that are explained too, by architecture: the ONNX name of the value.
EARLIER = {
    "resnet18.opset13": ["/layer3/layer3.1/act2/Relu_output_0", "/maxpool/MaxPool_output_0"],
    "efficientnet-lite0.opset13": ["/blocks/blocks.5/blocks.5.3/Add_output_0"],
    "efficientnet-b0.opset13": ["/blocks/blocks.5/blocks.5.3/Add_output_0"],
    "mobilenetv3-l.opset13": ["/blocks/blocks.5/blocks.5.2/Add_output_0"],
    "densenet121.opset13": ["/features/transition3/conv/Conv_output_0"],
    "convnext-t.opset13": ["/stages/stages.2/blocks/blocks.8/Add_output_0"],
}


def picture(side):
    """[3, side, side] in -1..1: stripes and waves whose strength and pitch change over the
    picture. Integers until the last step, so that every language makes the same."""
    c, y, x = np.mgrid[0:3, 0:side, 0:side].astype(np.int64)
    wave = (y * (3 + c) + x * (7 - 2 * c) + (x * y) // 32) % 64
    block = ((x // 37) * 5 + (y // 23) * 3 + c) % 16
    value = wave * (y + 32) // 8 + block * 16 * (side - x) // 16
    return ((value % 512).astype(np.float32) - 256.0) / 256.0


def onnxruntime_scores(path, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0][0]


def without_softmax(model):
    """Grad-CAM explains the logit: a final Softmax is taken off."""
    last = model.graph.node[-1]
    if last.op_type == "Identity":
        last = next(n for n in model.graph.node if n.output[0] == last.input[0])
    if last.op_type == "Softmax":
        model.graph.output[0].name = last.input[0]
        model.graph.node.remove(last)
    return model


def last_spatial(model):
    """The value that the last spatial pooling reads (what is pooled outside any gate)."""
    pools = [n for n in model.graph.node if n.op_type == "GlobalAveragePool"]
    return pools[-1].input[0]


def module_of(network, model, value):
    """The torch module that computes the ONNX value."""
    node = next(n for n in model.graph.node if value in n.output)
    modules = dict(network.named_modules())
    for name, module in modules.items():
        if name.replace("/", "_").replace(".", "_").strip("_") == node.name.replace("/", "_").replace(
            ".", "_"
        ).replace(":", "_").strip("_"):
            return module
    raise KeyError(f"{node.name}: {[n for n in modules][-6:]}")


def grad_cam(network, module, x, target_class, size):
    class AtSize(GradCAM):
        def get_target_width_height(self, _):
            return size

    with AtSize(model=network, target_layers=[module]) as cam:
        return cam(input_tensor=x, targets=[ClassifierOutputTarget(target_class)])[0]


def map_size(module, network, x):
    shape = []
    handle = module.register_forward_hook(lambda m, i, o: shape.append(o.shape))
    with torch.no_grad():
        network(x)
    handle.remove()
    return int(shape[0][3]), int(shape[0][2])


def rounded(array):
    return [[round(float(v), 6) for v in row] for row in array]


def main(zoo):
    (HERE / "golden").mkdir(exist_ok=True)
    torch.set_num_threads(2)
    for folder in sorted(p for p in pathlib.Path(zoo).iterdir() if not p.name.endswith(".f16")):
        model = onnx.load(folder / "model.onnx")
        keras = folder.name.startswith("keras")
        side = model.graph.input[0].type.tensor_type.shape.dim[1 if keras else 2].dim_value
        x = picture(side)[None]
        if keras:
            x = np.ascontiguousarray(((x + 1) * 127.5).transpose(0, 2, 3, 1))
        scores = onnxruntime_scores(folder / "model.onnx", x)
        half = onnxruntime_scores(folder.with_name(folder.name + ".f16") / "model.onnx", x)
        golden = {
            "scores": [float(v) for v in scores],
            "scores_f16": [float(v) for v in half],
            "class": int(scores.argmax()),
        }
        if folder.name.startswith("deit") or folder.name.endswith("opset23"):
            pass  # heatmaps are made once for each architecture
        else:
            model = without_softmax(model)
            network = convert(model).eval().double()  # a reference without rounding of its own
            tensor = torch.from_numpy(x).double()
            difference = float((network(tensor)[0].detach() - torch.from_numpy(scores)).abs().max())
            assert keras or difference < 1e-3, (folder.name, difference)
            best = None
            module = module_of(network, model, last_spatial(model))
            width, height = map_size(module, network, tensor)
            for target in range(len(scores)):  # the class whose heatmap is least one-sided
                heatmap = grad_cam(network, module, tensor, target, (width, height))
                spread = float(heatmap.std())
                if best is None or spread > best[0]:
                    best = (spread, target, heatmap)
            golden["class"] = best[1]
            golden["heatmap"] = rounded(best[2])
            large = grad_cam(network, module, tensor, best[1], (side, side))
            golden["upsampled"] = rounded(large[::STEP, ::STEP])
            golden["layers"] = {}
            for value in EARLIER.get(folder.name, []):
                module = module_of(network, model, value)
                size = map_size(module, network, tensor)
                golden["layers"][value] = rounded(grad_cam(network, module, tensor, best[1], size))
        path = HERE / "golden" / f"{folder.name}.json"
        path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        print(folder.name, np.round(scores, 3), "f16", float(np.abs(scores - half).max()), path.stat().st_size, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
