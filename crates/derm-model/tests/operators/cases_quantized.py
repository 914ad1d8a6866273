"""Graphs as quantisers write them: DequantizeLinear, an operator, QuantizeLinear. They are computed in integers."""

import numpy as np
from builder import case
from onnx import TensorProto

F = np.float32
P = [1, 1, 1, 1]


class Tensor:
    """A float32 value that was dequantised, with its scale and zero point."""

    def __init__(self, name, scale, zero, dtype):
        self.name, self.scale, self.zero, self.dtype = name, scale, zero, dtype


def dq(g, value, scale, zero=128, dtype=np.uint8):
    """Quantises and dequantises a value."""
    q = g("QuantizeLinear", value, g.s(scale), g.s(zero, dtype))
    return Tensor(g("DequantizeLinear", q, g.s(scale), g.s(zero, dtype)), scale, zero, dtype)


def weights(g, *shape, axis=0, per_channel=True, dtype=np.int8):
    """8-bit weights and their scales."""
    low, high = (-127, 128) if dtype == np.int8 else (0, 256)
    values = g.random.integers(low, high, shape).astype(dtype)
    scales = g.random.uniform(0.002, 0.006, shape[axis]).astype(F) if per_channel else np.array(0.004, F)
    zeros = np.full(scales.shape, 0 if dtype == np.int8 else 128, dtype)
    more = {"axis": axis} if per_channel else {}
    return g("DequantizeLinear", g.w(values), g.w(scales), g.w(zeros), **more), scales


def bias(g, x, scales, count):
    """A bias of 32 bits."""
    scales = (F(x.scale) * scales).astype(F)
    values = g.random.integers(-3000, 3000, count).astype(np.int32)
    more = {"axis": 0} if scales.shape else {}
    return g("DequantizeLinear", g.w(values), g.w(scales), g.w(np.zeros(scales.shape, np.int32)), **more)


def conv(g, x, *shape, per_channel=True, weight_type=np.int8, with_bias=True, **attributes):
    w, scales = weights(g, *shape, per_channel=per_channel, dtype=weight_type)
    inputs = [x.name, w] + ([bias(g, x, scales, shape[0])] if with_bias else [])
    return g("Conv", *inputs, **attributes)


def start(g, dtype=np.uint8):
    return dq(g, "x", 0.0079, 127 if dtype == np.uint8 else -1, dtype)


def wide(g):
    """Eight channels, so that a pixel is whole groups of four."""
    return dq(g, conv(g, start(g), 8, 3, 1, 1), 0.011)


for name, shape, attributes in (
    ("3x3", (5, 3, 3, 3), {"pads": P}),
    ("strides", (5, 3, 3, 3), {"strides": [2, 1], "pads": [1, 0, 2, 1]}),
    ("dilations", (4, 3, 2, 2), {"dilations": [2, 2]}),
    ("pointwise", (7, 3, 1, 1), {}),
    ("group 3", (6, 1, 3, 3), {"group": 3, "pads": P}),
    ("depthwise", (3, 1, 3, 3), {"group": 3, "pads": P}),
):
    case(f"int8 Conv {name}", "int8", lambda g, s=shape, a=attributes: dq(g, conv(g, start(g), *s, **a), 0.013).name)
for name, shape, attributes in (
    ("3x3", (9, 8, 3, 3), {"pads": P}),
    ("depthwise 5x5", (8, 1, 5, 5), {"group": 8, "pads": [2, 2, 2, 2]}),
    ("pointwise stride", (6, 8, 1, 1), {"strides": [2, 2]}),
    ("group 2", (8, 4, 3, 3), {"group": 2, "pads": P}),
):
    case(
        f"int8 Conv of 8 {name}", "int8", lambda g, s=shape, a=attributes: dq(g, conv(g, wide(g), *s, **a), 0.031).name
    )
case(
    "int8 Conv signed", "int8", lambda g: dq(g, conv(g, start(g, np.int8), 4, 3, 3, 3, pads=P), 0.013, -7, np.int8).name
)
case("int8 Conv one scale", "int8", lambda g: dq(g, conv(g, start(g), 4, 3, 3, 3, per_channel=False), 0.013).name)
case(
    "int8 Conv unsigned weights",
    "int8",
    lambda g: dq(g, conv(g, start(g), 4, 3, 3, 3, per_channel=False, weight_type=np.uint8), 0.02).name,
)
case("int8 Conv no bias", "int8", lambda g: dq(g, conv(g, start(g), 4, 3, 3, 3, with_bias=False), 0.013).name)
case(
    "int8 Conv 1d",
    "int8",
    lambda g: (
        dq(
            g, conv(g, dq(g, g.reshape(start(g).name, 1, 3, 36), 0.0079, 127), 4, 3, 5, pads=[2, 2], strides=[3]), 0.013
        ).name
    ),
)
case("int8 Conv Relu", "int8", lambda g: dq(g, g("Relu", conv(g, start(g), 5, 3, 3, 3)), 0.006, 0).name)
case(
    "int8 Conv Clip",
    "int8",
    lambda g: dq(g, g("Clip", conv(g, start(g), 5, 3, 3, 3), g.s(0.0), g.s(1.0)), 0.006, 20).name,
)
case("int8 Conv saturates", "int8", lambda g: dq(g, conv(g, start(g), 5, 3, 3, 3), 0.004).name)
case("int8 Conv float reader", "int8", lambda g: float_reader(g))


def float_reader(g):
    """A convolution whose result is quantised, and read as float32 too."""
    y = conv(g, start(g), 4, 3, 3, 3)
    return g("Add", dq(g, y, 0.013).name, y)


def gated(g):
    """Squeeze-and-excitation."""
    x = wide(g)
    pooled = dq(g, g("GlobalAveragePool", x.name), 0.004)
    gate = dq(g, g("Sigmoid", dq(g, conv(g, pooled, 8, 8, 1, 1), 0.01).name), 0.00392, 0)
    return dq(g, g("Mul", x.name, gate.name), 0.011).name


def silu(g):
    x = dq(g, conv(g, start(g), 8, 3, 3, 3, pads=P), 0.016)
    return dq(g, g("Mul", x.name, dq(g, g("Sigmoid", x.name), 0.00392, 0).name), 0.009, 31).name


def residual(g, operator="Add"):
    x = wide(g)
    y = dq(g, conv(g, x, 8, 8, 3, 3, pads=P), 0.027, 120)
    return dq(g, g(operator, x.name, y.name), 0.033, 99).name


def gemm(g, dtype=np.uint8):
    flat = g.reshape(wide(g).name, 1, -1)
    x = dq(g, flat, 0.011, 128)
    w, scales = weights(g, 7, 288, axis=0)
    return dq(g, g("Gemm", x.name, w, bias(g, x, scales, 7), transB=1), 0.05).name


def matmul(g):
    x = dq(g, g.reshape(wide(g).name, 1, 8, 36), 0.011)
    w, _ = weights(g, 36, 5, axis=1)
    return dq(g, g("MatMul", x.name, w), 0.02).name


case("int8 squeeze and excitation", "int8", gated)
case("int8 SiLU", "int8", silu)
case("int8 Add", "int8", residual)
case("int8 Sub", "int8", lambda g: residual(g, "Sub"))
case("int8 Mul", "int8", lambda g: residual(g, "Mul"))
case(
    "int8 Mul broadcast rows",
    "int8",
    lambda g: (
        dq(g, g("Mul", wide(g).name, dq(g, g("ReduceMean", wide(g).name, axes=[3], keepdims=1), 0.01).name), 0.01).name
    ),
)
case("int8 Gemm", "int8", gemm)
case("int8 MatMul", "int8", matmul)
case("int8 GlobalAveragePool", "int8", lambda g: dq(g, g("GlobalAveragePool", wide(g).name), 0.004, 77).name)
case("int8 ReduceMean", "int8", lambda g: dq(g, g("ReduceMean", wide(g).name, axes=[2, 3], keepdims=0), 0.004).name)
case(
    "int8 AveragePool",
    "int8",
    lambda g: dq(g, g("AveragePool", wide(g).name, kernel_shape=[3, 3], strides=[2, 2], pads=P), 0.012).name,
)
case(
    "int8 AveragePool include",
    "int8",
    lambda g: dq(g, g("AveragePool", wide(g).name, kernel_shape=[3, 3], pads=P, count_include_pad=1), 0.012).name,
)
case(
    "int8 MaxPool",
    "int8",
    lambda g: dq(g, g("MaxPool", wide(g).name, kernel_shape=[3, 3], strides=[2, 2], pads=P), 0.011).name,
)
case(
    "int8 MaxPool other scale", "int8", lambda g: dq(g, g("MaxPool", wide(g).name, kernel_shape=[2, 2]), 0.008, 90).name
)
case("int8 Concat", "int8", lambda g: dq(g, g("Concat", wide(g).name, start(g).name, axis=1), 0.011).name)
case("int8 Concat rows", "int8", lambda g: dq(g, g("Concat", wide(g).name, wide(g).name, axis=2), 0.012, 100).name)
case("int8 Resize", "int8", lambda g: dq(g, g("Resize", wide(g).name, "", g.f(1, 1, 2, 2), mode="nearest"), 0.011).name)
case("int8 Transpose", "int8", lambda g: dq(g, g("Transpose", wide(g).name, perm=[0, 2, 3, 1]), 0.011).name)
case("int8 Flatten", "int8", lambda g: dq(g, g("Flatten", wide(g).name), 0.011).name)
for name, operator, attributes in (
    ("Relu", "Relu", {}),
    ("HardSwish", "HardSwish", {}),
    ("HardSigmoid", "HardSigmoid", {}),
    ("Tanh", "Tanh", {}),
    ("LeakyRelu", "LeakyRelu", {"alpha": 0.1}),
    ("Sqrt", "Sqrt", {}),
):
    case(
        f"int8 {name}",
        "int8",
        lambda g, o=operator, a=attributes: (
            dq(g, g(o, g("Abs", wide(g).name) if o == "Sqrt" else wide(g).name, **a), 0.009).name
        ),
        lo=14,
    )
case("int8 Softmax", "int8", lambda g: dq(g, g("Softmax", wide(g).name, axis=1), 0.00392, 0).name)
case("int8 to float Conv", "int8", lambda g: g("Conv", wide(g).name, g.r(4, 8, 3, 3)))
case("int8 requantised", "int8", lambda g: dq(g, wide(g).name, 0.017, 50).name)
case(
    "int8 scales along channels",
    "int8",
    lambda g: g(
        "Add",
        g(
            "DequantizeLinear",
            g("QuantizeLinear", wide(g).name, g.s(0.01), g.s(128, np.uint8)),
            g.w(np.linspace(0.01, 0.02, 8).astype(F)),
            g.w(np.full(8, 128, np.uint8)),
            axis=1,
        ),
        wide(g).name,
    ),
)
case(
    "int8 values read by Cast",
    "int8",
    lambda g: g.cast(g("QuantizeLinear", conv(g, start(g), 5, 3, 3, 3), g.s(0.013), g.s(-5, np.int8)), 1),
)


class Code:
    """8-bit numbers with their scale and zero point: an operand of the QOperator format."""

    def __init__(self, g, name, scale, zero, dtype):
        self.name, self.scale, self.zero = name, g.s(scale), g.s(zero, dtype)
        self.inputs = [self.name, self.scale, self.zero]


def code(g, value="x", scale=0.0079, zero=127, dtype=np.uint8):
    return Code(g, g("QuantizeLinear", value, g.s(scale), g.s(zero, dtype)), scale, zero, dtype)


def qlinear(g, operator, *operands, scale=0.011, zero=120, dtype=np.uint8, first=False, **attributes):
    """An operator of the format, and its result."""
    inputs = [name for operand in operands for name in operand.inputs]
    result = [g.s(scale), g.s(zero, dtype)]
    inputs = result + inputs if first else inputs + result
    return Code(g, g(operator, *inputs, domain="com.microsoft", **attributes), scale, zero, dtype)


def floats(g, operand):
    return g("DequantizeLinear", *operand.inputs)


def contributed(name, operator, build, lo=10, **more):
    case(name, operator, lambda g: floats(g, build(g)), lo=lo, domain="com.microsoft", **more)


def qweights(g, *shape, axis=None, dtype=np.int8):
    values = g.random.integers(-127, 128, shape).astype(dtype)
    scales = np.array(0.004, F) if axis is None else g.random.uniform(0.002, 0.006, shape[axis]).astype(F)
    return [g.w(values), g.w(scales), g.w(np.zeros(scales.shape, dtype))]


def qgemm(g, axis=None, with_bias=True, result=True, **attributes):
    x = code(g, g.reshape("x", 6, 18))
    weights = qweights(g, *((5, 18) if attributes.get("transB") else (18, 5)), axis=axis)
    bias = g.w(g.random.integers(-3000, 3000, 5).astype(np.int32)) if with_bias else ""
    last = [g.s(0.03), g.s(110, np.uint8)] if result else []
    y = g("QGemm", *x.inputs, *weights, bias, *last, domain="com.microsoft", **attributes)
    return g("DequantizeLinear", y, *last) if result else y


def signed(g, value="x"):
    return code(g, value, zero=-3, dtype=np.int8)


contributed(
    "QLinearAdd", "QLinearAdd", lambda g: qlinear(g, "QLinearAdd", code(g), code(g, scale=0.01, zero=100), scale=0.02)
)
contributed(
    "QLinearAdd signed",
    "QLinearAdd",
    lambda g: qlinear(g, "QLinearAdd", signed(g), signed(g), scale=0.02, zero=5, dtype=np.int8),
)
contributed("QLinearMul", "QLinearMul", lambda g: qlinear(g, "QLinearMul", code(g), code(g, scale=0.01, zero=100)))
contributed(
    "QLinearMul of channels",
    "QLinearMul",
    lambda g: qlinear(g, "QLinearMul", code(g), code(g, g("GlobalAveragePool", "x"), scale=0.01, zero=100)),
)
contributed("QLinearSigmoid", "QLinearSigmoid", lambda g: qlinear(g, "QLinearSigmoid", code(g), scale=1 / 256, zero=0))
contributed("QLinearLeakyRelu", "QLinearLeakyRelu", lambda g: qlinear(g, "QLinearLeakyRelu", code(g), alpha=0.2))
contributed(
    "QLinearGlobalAveragePool",
    "QLinearGlobalAveragePool",
    lambda g: qlinear(g, "QLinearGlobalAveragePool", code(g), scale=0.003),
)
contributed(
    "QLinearAveragePool",
    "QLinearAveragePool",
    lambda g: qlinear(g, "QLinearAveragePool", code(g), kernel_shape=[2, 3], strides=[2, 1], pads=[0, 1, 0, 1]),
)
contributed(
    "QLinearConcat",
    "QLinearConcat",
    lambda g: qlinear(g, "QLinearConcat", code(g), code(g, scale=0.012, zero=90), first=True, axis=1),
)
contributed(
    "QLinearConcat of three",
    "QLinearConcat",
    lambda g: qlinear(g, "QLinearConcat", code(g), code(g), code(g, scale=0.012, zero=90), first=True, axis=2),
)
contributed(
    "QLinearSoftmax",
    "QLinearSoftmax",
    lambda g: qlinear(g, "QLinearSoftmax", code(g), scale=1 / 256, zero=0, axis=-1, opset=13),
    lo=13,
)
for name, arguments in (
    ("", {}),
    (" without a bias", {"with_bias": False}),
    (" channels", {"axis": 1}),
    (" transposed", {"transB": 1}),
    (" transposed channels", {"transB": 1, "axis": 0}),
    (" to float32", {"result": False}),
):
    case(
        f"QGemm{name}",
        "QGemm",
        lambda g, arguments=arguments: qgemm(g, **arguments),
        lo=10 if "axis" not in arguments else 13,
        domain="com.microsoft",
    )


def block(g):
    """A block of a residual network in the format, as onnxruntime's tools write it: its pooling reads 8-bit numbers."""
    x = code(g)
    weights = qweights(g, 8, 3, 3, 3, axis=0)
    bias = g.w(g.random.integers(-3000, 3000, 8).astype(np.int32))
    y = g("QLinearConv", *x.inputs, *weights, g.s(0.03), g.s(0, np.uint8), bias, pads=P)
    y = Code(g, y, 0.03, 0, np.uint8)
    second = qweights(g, 8, 8, 1, 1, axis=0)
    z = Code(g, g("QLinearConv", *y.inputs, *second, g.s(0.05), g.s(110, np.uint8)), 0.05, 110, np.uint8)
    sum_ = qlinear(g, "QLinearAdd", y, z, scale=0.06, zero=100)
    pooled = Code(g, g("MaxPool", sum_.name, kernel_shape=[2, 2], strides=[2, 2]), 0.06, 100, np.uint8)
    mean = qlinear(g, "QLinearGlobalAveragePool", pooled, scale=0.02, zero=90)
    flat = Code(g, g("Flatten", mean.name), 0.02, 90, np.uint8)
    weights = qweights(g, 8, 5)
    last = g("QGemm", *flat.inputs, *weights, "", g.s(0.03), g.s(110, np.uint8), domain="com.microsoft")
    return g("DequantizeLinear", last, g.s(0.03), g.s(110, np.uint8))


case("QOperator network", "QLinearConv", block, lo=13, domain="com.microsoft")


def dynamic(g, x, operator, weights, zero, scale, **attributes):
    """A product as quantize_dynamic writes it."""
    q, s, z = g("DynamicQuantizeLinear", x, outs=3)
    sums = g(operator, q, weights, z, *([zero] if zero else []), **attributes)
    return g("Mul", g.cast(sums, TensorProto.FLOAT), g("Mul", s, scale))


def integers(g, *shape, dtype=np.int8):
    low = -127 if dtype == np.int8 else 0
    return g.w(g.random.integers(low, 256 + low, shape).astype(dtype))


for name, dtype, zero in (
    ("", np.int8, 0),
    (" unsigned", np.uint8, 117),
    (" zero", np.int8, 5),
    (" without", np.int8, None),
):
    case(
        f"dynamic convolution{name}",
        "ConvInteger",
        lambda g, dtype=dtype, zero=zero: dynamic(
            g,
            "x",
            "ConvInteger",
            integers(g, 7, 3, 3, 3, dtype=dtype),
            None if zero is None else g.s(zero, dtype),
            g.s(0.004),
            pads=P,
            strides=[2, 1],
        ),
        lo=11,
    )
    case(
        f"dynamic product{name}",
        "MatMulInteger",
        lambda g, dtype=dtype, zero=zero: dynamic(
            g,
            g.reshape("x", 6, 18),
            "MatMulInteger",
            integers(g, 18, 5, dtype=dtype),
            None if zero is None else g.s(zero, dtype),
            g.f(0.004, 0.003, 0.005, 0.002, 0.004),
        ),
        lo=11,
    )
case(
    "dynamic product channels",
    "MatMulInteger",
    lambda g: dynamic(
        g, g.reshape("x", 6, 18), "MatMulInteger", integers(g, 18, 3), g.w(np.array([1, -3, 0], np.int8)), g.s(0.004)
    ),
    lo=11,
)
# More weights than are read into the graph.
case(
    "dynamic product large",
    "MatMulInteger",
    lambda g: dynamic(g, g.reshape("x", 1, 108), "MatMulInteger", integers(g, 108, 200), g.s(2, np.int8), g.s(0.004)),
    lo=11,
)


def read_twice(g, what):
    """Something else reads the numbers, the scale or the sums, too."""
    x = g.reshape("x", 1, 108)
    q, s, z = g("DynamicQuantizeLinear", x, outs=3)
    sums = g("MatMulInteger", q, integers(g, 108, 200), z, g.s(2, np.int8))
    floats = g.cast(sums, TensorProto.FLOAT)
    product = g("Mul", floats, g("Mul", s, g.s(0.004)))
    other = {"numbers": q, "scale": s, "zero point": z, "sums": sums}[what]
    return g("Concat", product, g.reshape(g.cast(other, TensorProto.FLOAT), 1, -1), axis=1)


for what in ("numbers", "scale", "zero point", "sums"):
    case(f"dynamic {what} read twice", "MatMulInteger", lambda g, what=what: read_twice(g, what), lo=11)
for name, change in (("positive values", ("Add", 3.0)), ("zeros", ("Mul", 0.0))):
    case(
        f"dynamic of {name}",
        "MatMulInteger",
        lambda g, change=change: dynamic(
            g,
            g.reshape(g(change[0], "x", g.s(change[1])), 6, 18),
            "MatMulInteger",
            integers(g, 18, 3),
            g.s(0, np.int8),
            g.s(0.004),
        ),
        lo=11,
    )


def squared(g):
    """The sums are multiplied by the square of the scale."""
    q, s, z = g("DynamicQuantizeLinear", g.reshape("x", 6, 18), outs=3)
    sums = g("MatMulInteger", q, integers(g, 18, 3), z)
    return g("Mul", g.cast(sums, TensorProto.FLOAT), g("Mul", s, s))


case("dynamic squared scale", "MatMulInteger", squared, lo=11)


def weight_only(g, *shape, axis=None, zeros=(0,), dtype=np.int8):
    """8-bit weights of an operator that computes in float32; zero points vary where scales do."""
    low, high = (-128, 128) if dtype == np.int8 else (0, 256)
    values = g.w(g.random.integers(low, high, shape).astype(dtype))
    if axis is None:
        return g("DequantizeLinear", values, g.s(0.004), g.s(zeros[0], dtype))
    scales = g.random.uniform(0.002, 0.006, shape[axis]).astype(F)
    zeros = np.resize(np.array(zeros, dtype), shape[axis])
    return g("DequantizeLinear", values, g.w(scales), g.w(zeros), axis=axis)


for name, shape, more, attributes in (
    ("3x3", (20, 3, 3, 3), {"axis": 0}, {"pads": P}),
    ("zero points", (20, 3, 3, 3), {"axis": 0, "zeros": (-128, 0, 5, 127)}, {"pads": P}),
    ("unsigned", (20, 3, 3, 3), {"zeros": (131,), "dtype": np.uint8}, {"strides": [2, 1]}),
    ("unsigned zero points", (9, 3, 1, 1), {"axis": 0, "zeros": (0, 128, 255), "dtype": np.uint8}, {}),
    ("group 3", (6, 1, 3, 3), {"axis": 0, "zeros": (3, -9)}, {"group": 3, "pads": P}),
    ("depthwise", (3, 1, 3, 3), {"axis": 0, "zeros": (0, 1, 2)}, {"group": 3, "pads": P}),
    ("scales of inputs", (20, 3, 3, 3), {"axis": 1, "zeros": (0, 1, 2)}, {}),
    ("scales of columns", (20, 3, 3, 3), {"axis": 3, "zeros": (0, 1, 2)}, {}),
):
    case(
        f"weight-only Conv {name}",
        "int8",
        lambda g, s=shape, m=more, a=attributes: g("Conv", "x", weight_only(g, *s, **m), g.r(s[0]), **a),
    )
for name, axis in (("outputs", 1), ("inputs", 0)):
    case(
        f"weight-only ConvTranspose scales of {name}",
        "int8",
        lambda g, axis=axis: g("ConvTranspose", "x", weight_only(g, 3, 5, 2, 2, axis=axis), strides=[2, 2]),
    )
for name, axis in (("one scale", None), ("scales of outputs", 1), ("scales of inputs", 0)):
    case(
        f"weight-only MatMul {name}",
        "int8",
        lambda g, axis=axis: g("MatMul", g.reshape("x", 6, 18), weight_only(g, 18, 5, axis=axis, zeros=(4, -7))),
    )
    case(
        f"weight-only Gemm {name}",
        "int8",
        lambda g, axis=axis: g(
            "Gemm",
            g.reshape("x", 6, 18),
            weight_only(g, 5, 18, axis=None if axis is None else 1 - axis, zeros=(4, -7)),
            g.r(5),
            transB=1,
            alpha=0.5,
        ),
    )
