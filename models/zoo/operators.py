"""Makes `operators/`: a small network for each operator that image classifiers use, with weights,
and the gradient of its first logit with respect to its input, by PyTorch.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python operators.py

Each network is a 1x1 convolution of [1, 3, 6, 6] to four channels, the operator, and a dense layer
of two classes. `operators/golden.json` holds {name: {"scores", "gradient" [3][6][6]}} for the input
that `picture` makes.
"""

import json
import pathlib
import tempfile

import onnx
import torch
import torch.nn.functional as F
from torch import nn

HERE = pathlib.Path(__file__).parent / "operators"
SIDE = 6


def picture():
    """[1, 3, 6, 6] in -1..1: integers until the last step, so that every language makes the same."""
    index = torch.arange(3 * SIDE * SIDE)
    return (((index * 37 + 11) % 109).double() / 54.0 - 1.0).reshape(1, 3, SIDE, SIDE)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Attention(nn.Module):
    """Two heads over the 36 positions."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 4)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).reshape(1, 36, 3, 2, 2).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(1, 36, 4))


class Unfolded(nn.Module):
    """Batch normalisation that cannot be folded into a preceding operator."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean.uniform_(-0.5, 0.5)
        self.norm.running_var.uniform_(0.5, 1.5)

    def forward(self, x):
        return self.norm(torch.sigmoid(x))


def split(x):
    a, b, c = torch.split(x, [1, 2, 1], dim=1)
    return torch.cat([c * 2, b, a * b[:, :1]], dim=1)


class Through(nn.Module):
    """An operator on another shape of the same elements."""

    def __init__(self, shape, operator):
        super().__init__()
        self.shape, self.operator = shape, operator

    def forward(self, x):
        return self.operator(x.reshape(1, *self.shape))


def indices(*shape):
    """Indices below 6, some of them equal."""
    return (torch.arange(int(torch.tensor(shape).prod())) * 5 % 7 % 6).reshape(shape)


def distinct(*shape):
    """Indices below 6 that differ along the last axis."""
    return (torch.arange(int(torch.tensor(shape).prod())) * 5 % 6).reshape(shape)


def scattered(x):
    y = x.clone()
    y[:, [0, 2], [1, 4]] = torch.sigmoid(x[:, [1, 3], [0, 0]])
    return y


def sample(mode, padding):
    """A turned grid that reaches over the edges; its coordinates depend on the values too."""

    def function(x):
        row, column = torch.meshgrid(torch.linspace(-1.1, 1.1, 5), torch.linspace(-1.2, 0.9, 4), indexing="ij")
        grid = torch.stack([column * 0.8 - row * 0.3, row * 0.7 + column * 0.4], -1)[None].to(x)
        grid = grid + 0.05 * torch.tanh(x[:, :2, :5, :4].permute(0, 2, 3, 1))
        return F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=False)

    return function


OPERATORS = {
    "conv": lambda: nn.Conv2d(4, 6, 3, padding=1),
    "conv_stride": lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "conv_dilation": lambda: nn.Conv2d(4, 6, 3, dilation=2, padding=2),
    "conv_groups": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "conv_depthwise": lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1),
    "conv_depthwise_stride": lambda: nn.Conv2d(4, 4, 5, groups=4, stride=2, padding=2),
    "linear": lambda: Function(nn.Linear(6, 5)),
    "batch_norm": Unfolded,
    "relu": nn.ReLU,
    "relu6": lambda: Function(lambda x: F.relu6(4 * x + 2)),
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "prelu": lambda: nn.PReLU(4),
    "silu": nn.SiLU,
    "hard_swish": lambda: Function(lambda x: F.hardswish(4 * x)),
    "hard_sigmoid": lambda: Function(lambda x: F.hardsigmoid(4 * x)),
    "gelu_erf": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "elu": lambda: nn.ELU(0.7),
    "selu": nn.SELU,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "mish": nn.Mish,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "max_pool": lambda: nn.MaxPool2d(3, stride=2, padding=1),
    "average_pool": lambda: nn.AvgPool2d(3, stride=2, padding=1),
    "average_pool_no_padding": lambda: nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
    "global_average_pool": lambda: nn.AdaptiveAvgPool2d(1),
    "global_max_pool": lambda: nn.AdaptiveMaxPool2d(1),
    "lrn": lambda: nn.LocalResponseNorm(3, alpha=0.5, k=1.5),
    "arithmetic": lambda: Function(lambda x: (x + 2) * x - x / (x * x + 1) + (x * x + 0.5).pow(1.7)),
    "roots_and_powers": lambda: Function(lambda x: (x * x + 1).sqrt() + x.exp() + (x * x + 1).log()),
    "broadcast": lambda: Function(lambda x: x * x.mean(dim=(2, 3), keepdim=True) - x[:, :1]),
    "reduce_mean": lambda: Function(lambda x: x.mean(dim=3)),
    "reduce_sum": lambda: Function(lambda x: x.sum(dim=(1, 2))),
    "reduce_max": lambda: Function(lambda x: x.amax(dim=2)),
    "softmax": lambda: Function(lambda x: x.softmax(dim=1)),
    "log_softmax": lambda: Function(lambda x: x.log_softmax(dim=3)),
    "layer_norm": lambda: nn.LayerNorm([6]),
    "group_norm": lambda: nn.GroupNorm(2, 4),
    "instance_norm": lambda: nn.InstanceNorm2d(4, affine=True),
    "concat_split_slice": lambda: Function(split),
    "pad": lambda: Function(lambda x: F.pad(x, (1, 2, 0, 1), value=0.3)),
    "gather": lambda: Function(lambda x: x[:, :, [0, 2, 2, 5]]),
    "transpose_reshape": lambda: Function(lambda x: x.permute(0, 2, 1, 3).reshape(1, 3, 8, 6)),
    "squeeze": lambda: Function(lambda x: x[:, 1:2].squeeze(1)),
    "resize_nearest": lambda: Function(lambda x: F.interpolate(x, scale_factor=2, mode="nearest")),
    "resize_bilinear": lambda: Function(lambda x: F.interpolate(x, size=(9, 4), mode="bilinear", align_corners=False)),
    "resize_bicubic": lambda: Function(lambda x: F.interpolate(x, size=(8, 8), mode="bicubic", align_corners=False)),
    "channel_shuffle": lambda: Function(lambda x: x.reshape(1, 2, 2, 6, 6).transpose(1, 2).reshape(1, 4, 6, 6)),
    "attention": Attention,
    "conv_1d": lambda: Through((4, 36), nn.Conv1d(4, 6, 3, stride=2, padding=1)),
    "conv_3d": lambda: Through((2, 2, 6, 6), nn.Conv3d(2, 4, (2, 3, 3), stride=(1, 2, 1), padding=(1, 0, 1))),
    "max_pool_3d": lambda: Through((2, 2, 6, 6), nn.MaxPool3d((2, 3, 2), stride=(1, 2, 2))),
    "average_pool_1d": lambda: Through((4, 36), nn.AvgPool1d(3, stride=2, padding=1)),
    "conv_transpose": lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
    "conv_transpose_groups": lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, dilation=2),
    "grid_sample": lambda: Function(sample("bilinear", "zeros")),
    "grid_sample_border": lambda: Function(sample("bilinear", "border")),
    "grid_sample_bicubic": lambda: Function(sample("bicubic", "reflection")),
    "tile": lambda: Function(lambda x: x.repeat(1, 2, 1, 3)),
    "cumsum": lambda: Function(lambda x: torch.cumsum(x, dim=2)),
    "gather_elements": lambda: Function(lambda x: torch.gather(x, 3, indices(4, 6, 3)[None])),
    "scatter_elements": lambda: Function(lambda x: x.scatter(3, distinct(4, 6, 3)[None], torch.sigmoid(x[..., :3]))),
    "scatter_elements_add": lambda: Function(
        lambda x: x.scatter_add(3, indices(4, 6, 3)[None], torch.sigmoid(x[..., :3]))
    ),
    "top_k": lambda: Function(lambda x: torch.topk(x, 3, dim=1).values),
    "trilu": lambda: Function(lambda x: torch.tril(x, 1) * 2 + torch.triu(x)),
    "pixel_shuffle": lambda: nn.PixelShuffle(2),
    "pixel_unshuffle": lambda: nn.PixelUnshuffle(3),
    "scatter_nd": lambda: Function(scattered),
}

# PyTorch exports these operators decomposed: a Sigmoid is exported instead and replaced afterwards.
SWAPPED = {"lrn": {"op_type": "LRN", "size": 3, "alpha": 0.5, "beta": 0.75, "bias": 1.5}}


def swap(model, op_type, **attributes):
    node = next(node for node in model.graph.node if node.op_type == "Sigmoid")
    node.op_type = op_type
    node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in attributes.items())


def main():
    HERE.mkdir(exist_ok=True)
    golden = {}
    for name, make in OPERATORS.items():
        torch.manual_seed(len(name))
        operator = make()
        with torch.no_grad():
            # Larger than 1, so that every part of a bent function is reached.
            first = nn.Conv2d(3, 4, 1)
            first.weight.mul_(2.0)
            size = operator(first(torch.zeros(1, 3, SIDE, SIDE))).numel()
        network = nn.Sequential(first, operator, nn.Flatten(), nn.Linear(size, 2)).eval()
        for parameter in network.parameters():  # normalisations begin as ones and zeros
            if parameter.dim() == 1:
                parameter.data.add_(torch.linspace(-0.2, 0.3, parameter.numel()))
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.onnx"
            torch.onnx.export(
                nn.Sequential(first, nn.Sigmoid(), *network[2:]) if name in SWAPPED else network,
                (torch.zeros(1, 3, SIDE, SIDE),),
                str(path),
                input_names=["input"],
                output_names=["logits"],
                opset_version=20,
                dynamo=False,
            )
            model = onnx.load(path)
        if name in SWAPPED:
            swap(model, **SWAPPED[name])
        for part in [model, model.graph, *model.graph.node]:
            part.doc_string = ""
        onnx.save(model, HERE / f"{name}.onnx")
        x = picture().requires_grad_(True)
        scores = network.double()(x)[0]
        scores[0].backward()
        golden[name] = {
            "scores": scores.tolist(),
            "gradient": [[[float(f"{v:.7g}") for v in row] for row in c] for c in x.grad[0]],
        }
    (HERE / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    print(len(golden), "operators", sum(p.stat().st_size for p in HERE.iterdir()), "bytes")


if __name__ == "__main__":
    main()
