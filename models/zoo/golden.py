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
  methods    {method: heatmap} of the other class activation maps at the same map. A principal
             component has no sign: those of EigenCAM and EigenGradCAM are pairs, for both signs
  input      the gradient of the class's logit with respect to the input, [channels][rows][columns],
             every 16th row and column
  input_norm its Euclidean norm, over all elements
  input_rounding how far PyTorch's own float32 gradient is from that float64 one, relative: where a
             pre-activation is close to zero, rounding decides on which side of the kink it falls

`golden.py ZOO NAME...` makes only those files.
"""

import json
import pathlib
import re
import sys

import numpy as np
import onnx
import onnxruntime
import torch
from onnx2torch import convert
from pytorch_grad_cam import (
    AblationCAM,
    EigenCAM,
    EigenGradCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
    XGradCAM,
)
from pytorch_grad_cam.ablation_layer import AblationLayer
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


# The maps that need neither a prediction nor a replay for each channel.
METHODS = {
    "gradcam++": GradCAMPlusPlus,
    "xgradcam": XGradCAM,
    "hirescam": HiResCAM,
    "layercam": LayerCAM,
}
EIGEN = {"eigencam": EigenCAM, "eigengradcam": EigenGradCAM}
# Those that do, on the networks with the fewest channels.
SLOW = ["resnet18.opset13", "deit-ti.opset13"]


class ZeroAblation(AblationLayer):
    """A channel is ablated by zero, as in the paper; the library's own layer takes 1e7 off it where
    activations can be negative."""

    def __call__(self, *_):
        output = self.activations
        for i in range(output.size(0)):
            output[i, self.indices[i], :] = 0
        return output


class ZeroAblationTokens(AblationLayer):
    """The same for [batch, tokens, channels]."""

    def set_next_batch(self, input_batch_index, activations, num_channels_to_ablate):
        one = activations[input_batch_index, :, :].clone().unsqueeze(0)
        self.activations = one.repeat(num_channels_to_ablate, 1, 1)

    def __call__(self, *_):
        output = self.activations
        for i in range(output.size(0)):
            output[i, :, self.indices[i]] = 0
        return output


def tokens_to_grid(tensor):
    """[batch, 1 + 14 * 14, channels] -> [batch, channels, 14, 14]."""
    return tensor[:, 1:, :].reshape(tensor.size(0), 14, 14, tensor.size(2)).permute(0, 3, 1, 2)


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


def torch_of(model):
    """In float64: a reference without rounding of its own."""
    network = convert(model).eval().double()
    for part in network.modules():  # onnx2torch hands some axes on as they stand in the file
        if isinstance(getattr(part, "axis", None), onnx.AttributeProto):
            part.axis = part.axis.i
    return network


def module_of(network, model, value):
    """The torch module that computes the ONNX value."""
    node = next(n for n in model.graph.node if value in n.output)
    modules = dict(network.named_modules())
    wanted = re.sub(r"[/.:]", "_", node.name).strip("_")
    for name, module in modules.items():
        if re.sub(r"[/.]", "_", name).strip("_") == wanted:
            return module
    raise KeyError(f"{node.name}: {list(modules)[-6:]}")


def attention_input(model):
    """What the last attention's queries, keys and values are made of."""
    qkv = [n for n in model.graph.node if n.op_type == "MatMul" and "/attn/qkv/" in n.name]
    return qkv[-1].input[0]


def cam(method, network, module, x, target_class, size, **options):
    class AtSize(method):
        def get_target_width_height(self, _):
            return size

    with AtSize(model=network, target_layers=[module], **options) as maps:
        maps.batch_size = 1  # the graphs take no other
        return maps(input_tensor=x, targets=[ClassifierOutputTarget(target_class)])[0]


def both_signs(method, network, module, x, target_class, size, **options):
    class Negative(method):
        def get_cam_image(self, *arguments):
            return -super().get_cam_image(*arguments)

    return [rounded(cam(kind, network, module, x, target_class, size, **options)) for kind in (method, Negative)]


def input_gradient(network, x, target_class):
    x = x.clone().requires_grad_(True)
    network(x)[0, target_class].backward()
    return x.grad[0]


def map_size(module, network, x):
    shape = []
    handle = module.register_forward_hook(lambda m, i, o: shape.append(o.shape))
    with torch.no_grad():
        network(x)
    handle.remove()
    return int(shape[0][3]), int(shape[0][2])


def rounded(array, digits=5):
    return [[round(float(v), digits) for v in row] for row in array]


def main(zoo, names):
    (HERE / "golden").mkdir(exist_ok=True)
    torch.set_num_threads(2)
    for folder in sorted(p for p in pathlib.Path(zoo).iterdir() if not p.name.endswith(".f16")):
        if folder.name == "unexplained" or (names and folder.name not in names):
            continue
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
        if folder.name.endswith("opset23"):
            pass  # heatmaps are made once for each architecture
        else:
            model = without_softmax(model)
            network = torch_of(model)
            tensor = torch.from_numpy(x).double()
            difference = float((network(tensor)[0].detach() - torch.from_numpy(scores)).abs().max())
            assert keras or difference < 1e-3, (folder.name, difference)
            tokens = folder.name.startswith("deit")
            options = {"reshape_transform": tokens_to_grid} if tokens else {}
            target = attention_input(model) if tokens else last_spatial(model)
            module = module_of(network, model, target)
            width, height = (14, 14) if tokens else map_size(module, network, tensor)
            best = None
            for target in range(len(scores)):  # the class whose heatmap is least one-sided
                heatmap = cam(GradCAM, network, module, tensor, target, (width, height), **options)
                spread = float(heatmap.std())
                if best is None or spread > best[0]:
                    best = (spread, target, heatmap)
            explained = (network, module, tensor, best[1])
            golden["class"] = best[1]
            golden["heatmap"] = rounded(best[2])
            large = cam(GradCAM, *explained, (side, side), **options)
            golden["upsampled"] = rounded(large[::STEP, ::STEP])
            golden["layers"] = {}
            for value in EARLIER.get(folder.name, []):
                earlier = module_of(network, model, value)
                size = map_size(earlier, network, tensor)
                golden["layers"][value] = rounded(cam(GradCAM, network, earlier, tensor, best[1], size))
            size = (width, height)
            maps = {n: rounded(cam(m, *explained, size, **options)) for n, m in METHODS.items()}
            maps.update({n: both_signs(m, *explained, size, **options) for n, m in EIGEN.items()})
            if folder.name in SLOW:
                ablation = (ZeroAblationTokens if tokens else ZeroAblation)()
                maps["scorecam"] = rounded(cam(ScoreCAM, *explained, size, **options))
                maps["ablationcam"] = rounded(cam(AblationCAM, *explained, size, ablation_layer=ablation, **options))
            golden["methods"] = maps
            gradient = input_gradient(network, tensor, best[1])
            golden["input_norm"] = float(gradient.norm())
            rounded_gradient = input_gradient(network.float(), tensor.float(), best[1]).double()
            off = (rounded_gradient - gradient).norm() / gradient.norm()
            golden["input_rounding"] = float(f"{float(off):.3g}")
            if keras:
                gradient = gradient.permute(2, 0, 1)
            thinned = gradient[:, ::STEP, ::STEP]
            golden["input"] = [[[float(f"{v:.6g}") for v in row] for row in channel] for channel in thinned]
        path = HERE / "golden" / f"{folder.name}.json"
        path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        print(
            folder.name, np.round(scores, 3), "f16", float(np.abs(scores - half).max()), path.stat().st_size, flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
