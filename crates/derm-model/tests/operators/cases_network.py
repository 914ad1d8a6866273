"""Convolutions, products, poolings, normalisations, recurrent operators, attention."""

import numpy as np
from builder import case
from onnx import TensorProto as T

F = np.float32
P = [1, 1, 1, 1]

for name, shape, attributes in (
    ("plain", (4, 3, 3, 3), {}),
    ("kernel_shape", (4, 3, 3, 3), {"kernel_shape": [3, 3], "group": 1, "dilations": [1, 1], "strides": [1, 1]}),
    ("pads", (4, 3, 3, 3), {"pads": [1, 0, 2, 1]}),
    ("strides", (4, 3, 3, 3), {"strides": [2, 1], "pads": P}),
    ("dilations", (4, 3, 3, 3), {"dilations": [2, 1], "pads": [2, 1, 2, 1]}),
    ("group 3", (6, 1, 3, 3), {"group": 3, "pads": P}),
    ("pointwise", (5, 3, 1, 1), {}),
    ("same upper", (4, 3, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("same lower", (4, 3, 3, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("same upper even", (4, 3, 4, 2), {"auto_pad": "SAME_UPPER"}),
    ("same lower even", (4, 3, 4, 2), {"auto_pad": "SAME_LOWER"}),
    ("valid", (4, 3, 3, 3), {"auto_pad": "VALID"}),
    ("notset", (4, 3, 3, 3), {"auto_pad": "NOTSET", "pads": P}),
):
    case(f"Conv {name}", "Conv", lambda g, s=shape, a=attributes: g("Conv", "x", g.r(*s), g.r(s[0]), **a))
case("Conv no bias", "Conv", lambda g: g("Conv", "x", g.r(4, 3, 3, 3)))
case("Conv computed weights", "Conv", lambda g: g("Conv", "x", g("Mul", g.r(4, 3, 1, 1), g("GlobalAveragePool", "x"))))
case("Conv group 2", "Conv", lambda g: g("Conv", g("Concat", "x", "x", axis=1), g.r(4, 3, 3, 3), group=2))
case("Conv group 6", "Conv", lambda g: g("Conv", g("Concat", "x", "x", axis=1), g.r(6, 1, 3, 3), group=6))
case("Conv 1d", "Conv", lambda g: g("Conv", g.reshape("x", 1, 3, 36), g.r(4, 3, 5), pads=[2, 2], strides=[3]))
case("Conv 3d", "Conv", lambda g: g("Conv", g.reshape("x", 1, 3, 3, 3, 4), g.r(2, 3, 2, 2, 2)))
for name, shape, attributes in (
    ("plain", (3, 2, 3, 3), {}),
    ("strides", (3, 2, 3, 3), {"strides": [2, 2]}),
    ("pads", (3, 2, 3, 3), {"strides": [2, 2], "pads": [1, 1, 0, 1], "kernel_shape": [3, 3]}),
    ("output_padding", (3, 2, 3, 3), {"strides": [2, 2], "pads": P, "output_padding": [1, 0]}),
    ("dilations", (3, 2, 3, 3), {"dilations": [2, 1]}),
    ("group 3", (3, 2, 2, 2), {"group": 3, "strides": [2, 2]}),
    ("group 1", (3, 2, 2, 2), {"group": 1, "kernel_shape": [2, 2]}),
    ("same upper", (3, 2, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("same lower", (3, 2, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ("valid", (3, 2, 3, 3), {"auto_pad": "VALID"}),
    ("output_shape", (3, 2, 3, 3), {"strides": [2, 2], "output_shape": [12, 12]}),
    ("output_shape larger", (3, 2, 2, 2), {"strides": [2, 2], "output_shape": [13, 12], "output_padding": [1, 0]}),
    ("output_shape upper", (3, 2, 3, 3), {"strides": [2, 2], "output_shape": [10, 12], "auto_pad": "SAME_UPPER"}),
    ("output_shape lower", (3, 2, 4, 3), {"strides": [2, 2], "output_shape": [11, 12], "auto_pad": "SAME_LOWER"}),
):
    channels = shape[1] * attributes.get("group", 1)
    case(
        f"ConvTranspose {name}",
        "ConvTranspose",
        lambda g, s=shape, a=attributes, c=channels: g("ConvTranspose", "x", g.r(*s), g.r(c), **a),
    )
case(
    "DeformConv",
    "DeformConv",
    lambda g: g(
        "DeformConv", "x", g.r(4, 3, 3, 3), g("Conv", "x", g.r(18, 3, 3, 3), pads=P), kernel_shape=[3, 3], pads=P
    ),
    lo=19,
)
case(
    "DeformConv mask",
    "DeformConv",
    lambda g: g(
        "DeformConv",
        "x",
        g.r(4, 3, 3, 3),
        g("Conv", "x", g.r(18, 3, 3, 3), pads=P, strides=[2, 2]),
        g.r(4),
        g("Sigmoid", g("Conv", "x", g.r(9, 3, 3, 3), pads=P, strides=[2, 2])),
        pads=P,
        strides=[2, 2],
    ),
    lo=19,
)
case(
    "ConvTranspose group 2",
    "ConvTranspose",
    lambda g: g("ConvTranspose", g("Concat", "x", "x", axis=1), g.r(6, 2, 2, 2), group=2),
)
case(
    "DeformConv two",
    "DeformConv",
    lambda g: g(
        "DeformConv",
        g("Concat", "x", "x", axis=1),
        g.r(4, 3, 2, 2),
        g("Conv", "x", g.r(16, 3, 2, 2)),
        group=2,
        offset_group=2,
    ),
    lo=19,
)
case(
    "DeformConv groups",
    "DeformConv",
    lambda g: g(
        "DeformConv",
        "x",
        g.r(6, 1, 3, 2),
        g("Conv", "x", g.r(36, 3, 3, 3), pads=[0, 1, 1, 1]),
        dilations=[2, 1],
        pads=[1, 1, 2, 0],
        group=3,
        offset_group=3,
    ),
    lo=19,
)

for name, a, b in (
    ("2d", (3, 36), (36, 5)),
    ("batch", (1, 3, 6, 6), (6, 4)),
    ("both", (1, 3, 6, 6), (3, 6, 2)),
    ("vector", (3, 36), (36,)),
    ("left vector", (108,), (108, 4)),
):
    case(f"MatMul {name}", "MatMul", lambda g, a=a, b=b: g("MatMul", g.reshape("x", *a), g.r(*b)))
case("MatMul left", "MatMul", lambda g: g("MatMul", g.r(4, 6), "x"))
case("MatMul computed", "MatMul", lambda g: g("MatMul", "x", g("Transpose", "x", perm=[0, 1, 3, 2])))
for ta in (0, 1):
    for tb in (0, 1):
        case(
            f"Gemm {ta}{tb}",
            "Gemm",
            lambda g, ta=ta, tb=tb: g(
                "Gemm",
                g.reshape("x", *((36, 3) if ta else (3, 36))),
                g.r(*((5, 36) if tb else (36, 5))),
                g.r(5),
                transA=ta,
                transB=tb,
                alpha=0.7,
                beta=1.3,
            ),
        )
case("Gemm no bias", "Gemm", lambda g: g("Gemm", g.reshape("x", 3, 36), g.r(36, 5)), lo=11)
case("Gemm bias column", "Gemm", lambda g: g("Gemm", g.reshape("x", 3, 36), g.r(36, 5), g.r(3, 1)))
for equation, operands in (
    ("bchw,co->bohw", [(3, 4)]),
    ("bchw->bhw", []),
    ("bchw->bwhc", []),
    ("bchw,bchw->bc", ["x"]),
    ("...w,wv->...v", [(6, 2)]),
    ("bcii->bci", []),
    ("bcii->bc", []),
    ("bcii", []),
    ("bchw,bcwv", [(1, 3, 6, 2)]),
    ("b c h w , w -> b c h", [(6,)]),
    ("...ij,...jk->...ik", [(3, 6, 2)]),
    ("bchw,bdhw->bcd", ["x"]),
    ("...hw->...wh", []),
    ("bchw,c,h->bw", [(3,), (6,)]),
    ("...ii->...i", []),
    ("bchw,ahw->bca", [(2, 6, 6)]),
    ("bchw,chk->bcwk", [(3, 6, 2)]),
):
    case(
        f"Einsum {equation}",
        "Einsum",
        lambda g, e=equation, o=operands: g("Einsum", "x", *[v if v == "x" else g.r(*v) for v in o], equation=e),
        lo=12,
    )

for name in ("MaxPool", "AveragePool", "LpPool"):
    for label, attributes in (
        ("plain", {"kernel_shape": [2, 2]}),
        ("strides", {"kernel_shape": [3, 2], "strides": [2, 2]}),
        ("pads", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("uneven pads", {"kernel_shape": [3, 3], "strides": [1, 2], "pads": [0, 1, 1, 0]}),
        ("same upper", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ("same lower", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
        ("valid", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "VALID"}),
        ("notset", {"kernel_shape": [3, 3], "auto_pad": "NOTSET"}),
    ):
        case(f"{name} {label}", name, lambda g, n=name, a=attributes: g(n, "x", **a))
    lo = {"MaxPool": 10, "AveragePool": 10, "LpPool": 18}[name]
    for label, attributes in (
        ("", {"kernel_shape": [3, 3], "strides": [2, 2]}),
        ("pads", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 0, 1]}),
        ("stride 3", {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1]}),
        ("wide", {"kernel_shape": [4, 4], "strides": [4, 4], "pads": [1, 1, 1, 1]}),
    ):
        case(f"{name} ceil {label}", name, lambda g, n=name, a=attributes: g(n, "x", ceil_mode=1, **a), lo=lo)
    lo = {"MaxPool": 10, "AveragePool": 19, "LpPool": 18}[name]
    case(
        f"{name} dilations",
        name,
        lambda g, n=name: g(n, "x", kernel_shape=[3, 2], dilations=[2, 2], pads=[2, 0, 1, 1], strides=[1, 1]),
        lo=lo,
    )
    case(f"{name} 1d", name, lambda g, n=name: g(n, g.reshape("x", 1, 3, 36), kernel_shape=[4], strides=[3]))
    case(f"{name} 3d", name, lambda g, n=name: g(n, g.reshape("x", 1, 3, 3, 3, 4), kernel_shape=[2, 2, 2]))
for count in (0, 1):
    for ceil in (0, 1):
        case(
            f"AveragePool count {count} ceil {ceil}",
            "AveragePool",
            lambda g, c=count, m=ceil: g(
                "AveragePool",
                "x",
                kernel_shape=[3, 3],
                strides=[2, 2],
                pads=[1, 1, 1, 1],
                count_include_pad=c,
                **({"ceil_mode": m} if m else {}),
            ),
            lo=10 if ceil else 7,
        )
    case(
        f"AveragePool count {count} dilations",
        "AveragePool",
        lambda g, c=count: g(
            "AveragePool", "x", kernel_shape=[3, 3], dilations=[2, 2], pads=[2, 2, 2, 2], count_include_pad=c
        ),
        lo=19,
    )
    case(
        f"AveragePool count {count} same",
        "AveragePool",
        lambda g, c=count: g(
            "AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER", count_include_pad=c
        ),
    )
    case(
        f"AveragePool count {count} ceil uneven",
        "AveragePool",
        lambda g, c=count: g(
            "AveragePool", "x", kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 0, 1], count_include_pad=c, ceil_mode=1
        ),
        lo=10,
    )
for p in (1, 2, 3, 4):
    case(f"LpPool p {p}", "LpPool", lambda g, p=p: g("LpPool", "x", kernel_shape=[3, 3], p=p, pads=[1, 1, 1, 1]))
    case(f"GlobalLpPool p {p}", "GlobalLpPool", lambda g, p=p: g("GlobalLpPool", "x", p=p))
case("GlobalAveragePool", "GlobalAveragePool", lambda g: g("GlobalAveragePool", "x"))
case("GlobalMaxPool", "GlobalMaxPool", lambda g: g("GlobalMaxPool", "x"))
for label, attributes in (("", {}), ("pads", {"pads": [1, 1, 1, 1]}), ("order", {"storage_order": 1})):
    case(
        f"MaxPool indices {label}",
        "MaxPool",
        lambda g, a=attributes: g(
            "Add",
            *(lambda r: (r[0], g.cast(r[1], T.FLOAT)))(
                g("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], outs=2, **a)
            ),
        ),
        lo=8,
    )
case(
    "MaxUnpool",
    "MaxUnpool",
    lambda g: g(
        "MaxUnpool",
        *g("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], outs=2),
        kernel_shape=[2, 2],
        strides=[2, 2],
    ),
    lo=9,
)
case(
    "MaxUnpool pads",
    "MaxUnpool",
    lambda g: g(
        "MaxUnpool",
        *g("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1], outs=2),
        kernel_shape=[2, 2],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
    ),
    lo=9,
)
case(
    "MaxUnpool output_shape",
    "MaxUnpool",
    lambda g: g(
        "MaxUnpool",
        *g("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], outs=2),
        g.i(1, 3, 7, 6),
        kernel_shape=[2, 2],
        strides=[2, 2],
    ),
    lo=9,
)

for epsilon in (1e-5, 1e-2):
    case(
        f"BatchNormalization {epsilon}",
        "BatchNormalization",
        lambda g, e=epsilon: g(
            "BatchNormalization",
            "x",
            g.r(3),
            g.r(3),
            g.r(3),
            g.w(g.random.uniform(0.5, 2, 3).astype(F)),
            epsilon=e,
            momentum=0.8,
        ),
    )
case(
    "BatchNormalization rank 2",
    "BatchNormalization",
    lambda g: g(
        "BatchNormalization",
        g.reshape("x", 3, 36),
        g.r(36),
        g.r(36),
        g.r(36),
        g.w(g.random.uniform(0.5, 2, 36).astype(F)),
    ),
)
case(
    "BatchNormalization rank 3",
    "BatchNormalization",
    lambda g: g(
        "BatchNormalization",
        g.reshape("x", 1, 3, 36),
        g.r(3),
        g.r(3),
        g.r(3),
        g.w(g.random.uniform(0.5, 2, 3).astype(F)),
    ),
)
# Windows longer than the operand: what lies inside counts.
for operator in ("AveragePool", "MaxPool"):
    for more in ({}, {"pads": [1, 0, 1, 1]}):
        case(
            f"{operator} window beyond {sorted(more)}",
            operator,
            lambda g, o=operator, m=more: g(o, "x", kernel_shape=[40, 8], strides=[40, 40], ceil_mode=1, **m),
            lo=10,
        )
# Parameters that the picture changes, as a network that standardises its weights or its operand itself has them.
case(
    "BatchNormalization computed parameters",
    "BatchNormalization",
    lambda g: g(
        "BatchNormalization",
        "x",
        *(
            g("Add", p, g.reshape(g("GlobalAveragePool", "x"), 3))
            for p in (g.r(3), g.r(3), g.r(3), g.w(g.random.uniform(1.5, 2, 3).astype(F)))
        ),
        epsilon=0.01,
    ),
)


def training(g, use):
    outs = g(
        "BatchNormalization",
        "x",
        g.r(3),
        g.r(3),
        g.r(3),
        g.w(g.random.uniform(0.5, 2, 3).astype(F)),
        training_mode=1,
        momentum=0.7,
        outs=3,
    )
    return g("Concat", g.reshape(outs[0], -1), outs[1], outs[2], axis=0) if use else outs[0]


case("BatchNormalization training", "BatchNormalization", lambda g: training(g, False), lo=14)
case("BatchNormalization training all", "BatchNormalization", lambda g: training(g, True), lo=14)
case(
    "BatchNormalization standardised weights",
    "BatchNormalization",
    lambda g: g(
        "Conv",
        "x",
        g.reshape(
            g(
                "BatchNormalization",
                g.reshape(g.r(4, 3, 3, 3), 1, 4, 27),
                g.f(1, 1, 1, 1),
                g.f(0, 0, 0, 0),
                g.f(0, 0, 0, 0),
                g.f(1, 1, 1, 1),
                training_mode=1,
                momentum=0.0,
                epsilon=1e-6,
                outs=3,
            )[0],
            4,
            3,
            3,
            3,
        ),
    ),
    lo=14,
)
case(
    "InstanceNormalization",
    "InstanceNormalization",
    lambda g: g("InstanceNormalization", "x", g.r(3), g.r(3), epsilon=1e-3),
)
case(
    "InstanceNormalization rank 3",
    "InstanceNormalization",
    lambda g: g("InstanceNormalization", g.reshape("x", 1, 3, 36), g.r(3), g.r(3)),
)
for axis in (-1, 1, 2, 3, -2):
    shape = {-1: (6,), 3: (6,), 2: (6, 6), -2: (6, 6), 1: (3, 6, 6)}[axis]
    case(
        f"LayerNormalization {axis}",
        "LayerNormalization",
        lambda g, a=axis, s=shape: g("LayerNormalization", "x", g.r(*s), g.r(*s), axis=a, epsilon=1e-3),
        lo=17,
    )
    case(
        f"RMSNormalization {axis}",
        "RMSNormalization",
        lambda g, a=axis, s=shape: g("RMSNormalization", "x", g.r(*s), axis=a, epsilon=1e-3),
        lo=23,
    )
case("LayerNormalization no bias", "LayerNormalization", lambda g: g("LayerNormalization", "x", g.r(6)), lo=17)
case("RMSNormalization", "RMSNormalization", lambda g: g("RMSNormalization", "x", g.r(6)), lo=23)
for groups in (1, 2, 6, 3):
    case(
        f"GroupNormalization {groups}",
        "GroupNormalization",
        lambda g, n=groups: (
            lambda v: g(
                "GroupNormalization",
                v,
                g.r(6 if g.opset >= 21 else n),
                g.r(6 if g.opset >= 21 else n),
                num_groups=n,
                epsilon=1e-3,
            )
        )(g("Concat", "x", g("Relu", "x"), axis=1)),
        lo=18,
    )
for size in (1, 3, 5):
    case(f"LRN {size}", "LRN", lambda g, s=size: g("LRN", "x", size=s, alpha=0.1, beta=0.6, bias=1.5))
case("LRN default", "LRN", lambda g: g("LRN", g("Concat", "x", "x", axis=1), size=2))
for axis in (1, 2, 3, -1):
    for p in (1, 2):
        case(
            f"LpNormalization {axis} {p}",
            "LpNormalization",
            lambda g, a=axis, p=p: g("LpNormalization", "x", axis=a, p=p),
        )
case("MeanVarianceNormalization", "MeanVarianceNormalization", lambda g: g("MeanVarianceNormalization", "x"), lo=9)
case(
    "MeanVarianceNormalization axes",
    "MeanVarianceNormalization",
    lambda g: g("MeanVarianceNormalization", "x", axes=[1, 3]),
    lo=9,
)
case("Dropout", "Dropout", lambda g: g("Dropout", "x", ratio=0.3), hi=11)
case("Dropout seed", "Dropout", lambda g: g("Dropout", "x", g.s(0.4), seed=3), lo=12)
case("Dropout inputs", "Dropout", lambda g: g("Dropout", "x", g.s(0.4)), lo=12)
case("Dropout mode", "Dropout", lambda g: g("Dropout", "x", g.s(0.4), g.s(False, bool), outs=2)[0], lo=12)
case("Dropout none", "Dropout", lambda g: g("Dropout", "x"))

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(
    operator,
    direction="forward",
    pick=0,
    bias=True,
    initial=False,
    peephole=False,
    layout=0,
    lengths=False,
    **attributes,
):
    def build(g):
        n, d, h = (
            GATES[operator],
            2 if direction == "bidirectional" else 1,
            {"forward": 4, "reverse": 3}.get(direction, 5),
        )
        value = g.reshape("x", *((1, 6, 18) if layout else (6, 1, 18)))
        inputs = [value, g.r(d, n * h, 18, scale=0.4), g.r(d, n * h, h, scale=0.4)]
        first = (1, d, h) if layout else (d, 1, h)
        inputs.append(g.r(d, 2 * n * h, scale=0.3) if bias else "")
        inputs.append(g.w(np.array([6], np.int32)) if lengths else "")
        inputs.append(g.r(*first) if initial else "")
        if operator == "LSTM":
            inputs.append(g.r(*first) if initial else "")
            inputs.append(g.r(d, 3 * h) if peephole else "")
        while not inputs[-1]:
            inputs.pop()
        outs = g(
            operator,
            *inputs,
            outs=3 if operator == "LSTM" else 2,
            hidden_size=h,
            **({"direction": direction} if direction != "forward" else {}),
            **({"layout": 1} if layout else {}),
            **attributes,
        )
        return outs[pick]

    return build


for name in ("LSTM", "GRU", "RNN"):
    for direction in ("forward", "reverse", "bidirectional"):
        case(f"{name} {direction}", name, recurrent(name, direction))
        case(f"{name} {direction} last", name, recurrent(name, direction, pick=1, initial=True))
    case(f"{name} no bias", name, recurrent(name, bias=False))
    case(f"{name} lengths", name, recurrent(name, lengths=True))
    case(f"{name} clip", name, recurrent(name, clip=0.3))
    case(f"{name} layout", name, recurrent(name, layout=1), lo=14)
    case(f"{name} explicit forward", name, recurrent(name, direction="forward"))
case("LSTM cell", "LSTM", recurrent("LSTM", pick=2, initial=True))
case("LSTM peephole", "LSTM", recurrent("LSTM", peephole=True))
case("LSTM input_forget", "LSTM", recurrent("LSTM", input_forget=1))
case("LSTM activations", "LSTM", recurrent("LSTM", activations=["HardSigmoid", "Relu", "Tanh"]))
case("GRU linear_before_reset", "GRU", recurrent("GRU", linear_before_reset=1))
case("GRU linear_before_reset bidirectional", "GRU", recurrent("GRU", direction="bidirectional", linear_before_reset=1))
case("LSTM default activations", "LSTM", recurrent("LSTM", activations=["Sigmoid", "Tanh", "Tanh"]))
case(
    "LSTM default activations bidirectional",
    "LSTM",
    recurrent("LSTM", direction="bidirectional", activations=["Sigmoid", "Tanh", "Tanh"] * 2),
)
case("GRU default activations", "GRU", recurrent("GRU", activations=["Sigmoid", "Tanh"]))
case("RNN default activations", "RNN", recurrent("RNN", activations=["Tanh"]))
case("RNN activations", "RNN", recurrent("RNN", activations=["Relu"]))


def tokens(g, width=12):
    return g.reshape("x", 1, 108 // width, width)


for label, attributes in (
    ("", {}),
    ("causal", {"is_causal": 1}),
    ("scale", {"scale": 0.3}),
    ("softcap", {"softcap": 0.5}),
    ("mode", {"qk_matmul_output_mode": 0}),
):
    for heads in (1, 2, 4):
        case(
            f"Attention {heads} {label}",
            "Attention",
            lambda g, h=heads, a=attributes: g(
                "Attention",
                tokens(g),
                g("MatMul", tokens(g), g.r(12, 12)),
                g("Relu", tokens(g)),
                q_num_heads=h,
                kv_num_heads=h,
                **a,
            ),
            lo=23,
        )
for q, kv in ((2, 1), (4, 2), (3, 3), (3, 1), (6, 3), (6, 1), (6, 2)):
    case(
        f"Attention grouped {q} {kv}",
        "Attention",
        lambda g, q=q, kv=kv: g(
            "Attention",
            tokens(g),
            g("MatMul", tokens(g), g.r(12, 12 // q * kv)),
            g("MatMul", tokens(g), g.r(12, 12 // q * kv)),
            q_num_heads=q,
            kv_num_heads=kv,
        ),
        lo=23,
    )
case("Attention 4d", "Attention", lambda g: g("Attention", "x", g("Relu", "x"), "x"), lo=23)
case("Attention mask", "Attention", lambda g: g("Attention", "x", g("Relu", "x"), "x", g.r(6, 6)), lo=23)
case(
    "Attention bool mask",
    "Attention",
    lambda g: g("Attention", "x", g("Relu", "x"), "x", g.w(np.tri(6, dtype=bool))),
    lo=23,
)
case(
    "Attention mask softcap",
    "Attention",
    lambda g: g("Attention", "x", g("Relu", "x"), "x", g.r(6, 6), softcap=0.5),
    lo=23,
)
case(
    "Attention everything",
    "Attention",
    lambda g: g("Attention", "x", g("Relu", "x"), "x", g.r(6, 6), softcap=0.5, is_causal=1, scale=0.4),
    lo=23,
)
case(
    "Attention 4d mask causal",
    "Attention",
    lambda g: g("Attention", "x", g("Relu", "x"), "x", g.r(1, 3, 6, 6), is_causal=1),
    lo=23,
)
case(
    "Attention longer keys",
    "Attention",
    lambda g: g("Attention", "x", g("Concat", "x", g("Relu", "x"), axis=2), g("Concat", "x", "x", axis=2), is_causal=1),
    lo=23,
)
case(
    "Attention 4d other value size",
    "Attention",
    lambda g: g("Attention", "x", g("Relu", "x"), g("MatMul", "x", g.r(6, 4))),
    lo=23,
)
