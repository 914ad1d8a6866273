"""Quantised operators, control flow, functions, windows, and operators of contributors."""

import numpy as np
from builder import case
from onnx import TensorProto as T
from onnx import helper, numpy_helper

F = np.float32


def u8(g, value, scale=0.02, zero=120, dtype=np.uint8):
    return g("QuantizeLinear", value, g.s(scale), g.s(zero, dtype))


for kind, dtype, zero, lo in (
    ("uint8", np.uint8, 120, 10),
    ("int8", np.int8, -3, 10),
    ("uint16", np.uint16, 30000, 21),
    ("int16", np.int16, -30, 21),
):
    scale = 0.02 if "8" in kind else 0.0007
    case(
        f"QuantizeLinear {kind}",
        "QuantizeLinear",
        lambda g, s=scale, z=zero, d=dtype: g.cast(u8(g, "x", s, z, d), T.FLOAT),
        lo=lo,
    )
    case(
        f"DequantizeLinear {kind}",
        "DequantizeLinear",
        lambda g, s=scale, z=zero, d=dtype: g("DequantizeLinear", u8(g, "x", s, z, d), g.s(s), g.s(z, d)),
        lo=lo,
    )
for axis in (1, 3, -1, 2):
    n = 3 if axis == 1 else 6

    def scales(g, n=n):
        return g.w(np.linspace(0.01, 0.05, n).astype(F))

    def zeros(g, n=n):
        return g.w(np.arange(n).astype(np.int8))

    case(
        f"QuantizeLinear axis {axis}",
        "QuantizeLinear",
        lambda g, a=axis, s=scales, z=zeros: g.cast(g("QuantizeLinear", "x", s(g), z(g), axis=a), T.FLOAT),
        lo=13,
    )
    case(
        f"DequantizeLinear axis {axis}",
        "DequantizeLinear",
        lambda g, a=axis, s=scales, z=zeros: g(
            "DequantizeLinear", g("QuantizeLinear", "x", s(g), z(g), axis=a), s(g), z(g), axis=a
        ),
        lo=13,
    )
for dtype, low, high in ((np.uint16, 0, 65535), (np.int16, -32768, 32767)):
    case(
        f"DequantizeLinear axis {np.dtype(dtype)}",
        "DequantizeLinear",
        lambda g, d=dtype, a=low, b=high: g(
            "Add",
            "x",
            g(
                "DequantizeLinear",
                g.w(g.random.integers(a, b, (3, 6, 6)).astype(d)),
                g.w(np.linspace(1e-5, 5e-5, 6).astype(F)),
                g.w(np.arange(6).astype(d)),
                axis=1,
            ),
        ),
        lo=21,
    )
    case(
        f"QuantizeLinear axis {np.dtype(dtype)}",
        "QuantizeLinear",
        lambda g, d=dtype: g.cast(
            g("QuantizeLinear", "x", g.w(np.linspace(1e-5, 5e-4, 3).astype(F)), g.w(np.arange(3).astype(d)), axis=1),
            T.FLOAT,
        ),
        lo=21,
    )
case(
    "DequantizeLinear weights",
    "DequantizeLinear",
    lambda g: g(
        "Conv",
        "x",
        g(
            "DequantizeLinear",
            g.w(g.random.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8)),
            g.w(np.linspace(0.01, 0.05, 4).astype(F)),
            g.w(np.zeros(4, np.int8)),
            axis=0,
        ),
    ),
    lo=13,
)
case(
    "DequantizeLinear no zero",
    "DequantizeLinear",
    lambda g: g("DequantizeLinear", g("QuantizeLinear", "x", g.s(0.02)), g.s(0.02)),
    lo=10,
)
case(
    "DequantizeLinear int32",
    "DequantizeLinear",
    lambda g: g("DequantizeLinear", g.cast(g("Mul", "x", g.f(900)), T.INT32), g.s(0.02)),
    lo=10,
)
case("QuantizeLinear saturates", "QuantizeLinear", lambda g: g.cast(u8(g, "x", 0.002), T.FLOAT), lo=10)
case(
    "DynamicQuantizeLinear",
    "DynamicQuantizeLinear",
    lambda g: (lambda r: g("Mul", g.cast(r[0], T.FLOAT), r[1]))(g("DynamicQuantizeLinear", "x", outs=3)),
    lo=11,
)


def weights(g, *s):
    return g.w(g.random.integers(-128, 128, s).astype(np.int8))


for pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    case(f"QLinearConv {pad}", "QLinearConv", lambda g, p=pad: qconv(g, auto_pad=p, strides=[2, 2]), lo=10)
    case(
        f"ConvInteger {pad}",
        "ConvInteger",
        lambda g, p=pad: g.cast(
            g("ConvInteger", u8(g, "x"), weights(g, 4, 3, 3, 3), g.s(120, np.uint8), auto_pad=p, strides=[2, 2]),
            T.FLOAT,
        ),
        lo=10,
    )
case(
    "ConvInteger",
    "ConvInteger",
    lambda g: g.cast(g("ConvInteger", u8(g, "x"), weights(g, 4, 3, 3, 3), g.s(120, np.uint8)), T.FLOAT),
    lo=10,
)
case(
    "ConvInteger pads",
    "ConvInteger",
    lambda g: g.cast(
        g("ConvInteger", u8(g, "x"), weights(g, 4, 3, 3, 3), g.s(120, np.uint8), pads=[1, 1, 1, 1], strides=[2, 2]),
        T.FLOAT,
    ),
    lo=10,
)
case(
    "MatMulInteger",
    "MatMulInteger",
    lambda g: g.cast(g("MatMulInteger", u8(g, "x"), weights(g, 6, 4), g.s(120, np.uint8)), T.FLOAT),
    lo=10,
)
case(
    "MatMulInteger zeros",
    "MatMulInteger",
    lambda g: g.cast(g("MatMulInteger", u8(g, "x"), weights(g, 6, 4), g.s(120, np.uint8), g.s(3, np.int8)), T.FLOAT),
    lo=10,
)


def qconv(g, per_channel=False, bias=False, **attributes):
    scale = g.w(np.linspace(0.002, 0.006, 4).astype(F)) if per_channel else g.s(0.004)
    zero = g.w(np.zeros(4, np.int8)) if per_channel else g.s(0, np.int8)
    inputs = [
        u8(g, "x"),
        g.s(0.02),
        g.s(120, np.uint8),
        weights(g, attributes.get("kernels", 4), 3 // attributes.get("group", 1), 3, 3),
        scale,
        zero,
        g.s(0.05),
        g.s(110, np.uint8),
    ]
    if bias:
        inputs.append(g.w(np.array([100, -2000, 0, 500], np.int32)))
    attributes.pop("kernels", None)
    return g.cast(g("QLinearConv", *inputs, **attributes), T.FLOAT)


case("QLinearConv depthwise", "QLinearConv", lambda g: qconv(g, group=3, kernels=3), lo=10)
case(
    "QLinearConv depthwise channels",
    "QLinearConv",
    lambda g: qconv(g, group=3, kernels=6, pads=[1, 1, 1, 1], dilations=[1, 1]),
    lo=10,
)
case("QLinearConv dilated", "QLinearConv", lambda g: qconv(g, dilations=[2, 2]), lo=10)
case(
    "QLinearConv group 2",
    "QLinearConv",
    lambda g: g.cast(
        g(
            "QLinearConv",
            u8(g, g("Concat", "x", "x", axis=1)),
            g.s(0.02),
            g.s(120, np.uint8),
            weights(g, 4, 3, 3, 3),
            g.s(0.004),
            g.s(0, np.int8),
            g.s(0.05),
            g.s(110, np.uint8),
            group=2,
        ),
        T.FLOAT,
    ),
    lo=11,
)
case(
    "ConvInteger depthwise",
    "ConvInteger",
    lambda g: g.cast(
        g(
            "ConvInteger",
            u8(g, "x"),
            weights(g, 3, 1, 3, 3),
            g.s(120, np.uint8),
            group=3,
            kernel_shape=[3, 3],
            dilations=[1, 1],
        ),
        T.FLOAT,
    ),
    lo=10,
)
case(
    "ConvInteger group 2",
    "ConvInteger",
    lambda g: g.cast(
        g("ConvInteger", u8(g, g("Concat", "x", "x", axis=1)), weights(g, 4, 3, 3, 3), g.s(120, np.uint8), group=2),
        T.FLOAT,
    ),
    lo=11,
)
case("QLinearConv", "QLinearConv", lambda g: qconv(g), lo=10)
case("QLinearConv bias", "QLinearConv", lambda g: qconv(g, bias=True), lo=10)
case("QLinearConv channels", "QLinearConv", lambda g: qconv(g, True, True), lo=10)
case(
    "QLinearConv pads", "QLinearConv", lambda g: qconv(g, pads=[1, 1, 1, 1], strides=[2, 1], kernel_shape=[3, 3]), lo=10
)
case(
    "QLinearMatMul",
    "QLinearMatMul",
    lambda g: g.cast(
        g(
            "QLinearMatMul",
            u8(g, "x"),
            g.s(0.02),
            g.s(120, np.uint8),
            weights(g, 6, 4),
            g.s(0.004),
            g.s(0, np.int8),
            g.s(0.05),
            g.s(110, np.uint8),
        ),
        T.FLOAT,
    ),
    lo=10,
)

for name in ("HannWindow", "HammingWindow", "BlackmanWindow"):
    for periodic in (0, 1):
        case(
            f"{name} {periodic}",
            name,
            lambda g, n=name, p=periodic: g("Mul", "x", g(n, g.s(6, np.int64), periodic=p)),
            lo=17,
        )

V = helper.make_tensor_value_info


def branch(name, nodes, result, constants=()):
    return helper.make_graph(
        nodes, name, [], [V(result, T.FLOAT, None)], [numpy_helper.from_array(a, n) for n, a in constants]
    )


def choose(condition):
    def build(g):
        scale = g.s(2.0)
        yes = branch("yes", [helper.make_node("Mul", ["x", scale], ["y"])], "y")
        no = branch("no", [helper.make_node("Sub", ["x", "c"], ["n"])], "n", [("c", np.array(0.3, F))])
        return g("If", condition(g), then_branch=yes, else_branch=no)

    return build


case("If constant", "If", choose(lambda g: g.w(np.array(True))))
case("If computed", "If", choose(lambda g: g("Equal", g("Size", "x"), g.s(9, np.int64))))
case("If of the picture", "If", choose(lambda g: g("Greater", g("ReduceMax", "x", keepdims=0), g.s(0.5))), lo=11)
case(
    "If nested",
    "If",
    lambda g: g(
        "If",
        g.w(np.array([True])),
        then_branch=branch(
            "yes",
            [
                helper.make_node(
                    "If",
                    ["k"],
                    ["y"],
                    then_branch=branch("a", [helper.make_node("Neg", ["x"], ["na"])], "na"),
                    else_branch=branch("b", [helper.make_node("Relu", ["x"], ["nb"])], "nb"),
                )
            ],
            "y",
            [("k", np.array(False))],
        ),
        else_branch=branch("no", [helper.make_node("Identity", ["x"], ["n"])], "n"),
    ),
)


def body(nodes, inputs, outputs):
    def info(n):
        return V(n, T.INT64, []) if n == "i" else V(n, T.BOOL, []) if n.startswith("c") else V(n, T.FLOAT, None)

    return helper.make_graph(nodes, "body", [info(n) for n in inputs], [info(n) for n in outputs])


N = helper.make_node
case(
    "Loop",
    "Loop",
    lambda g: g(
        "Loop",
        g.s(3, np.int64),
        g.s(True, bool),
        "x",
        body=body(
            [N("Tanh", ["v"], ["t"]), N("Add", ["v", "t"], ["o"]), N("Identity", ["cin"], ["cout"])],
            ["i", "cin", "v"],
            ["cout", "o"],
        ),
    ),
)
case(
    "Loop scan",
    "Loop",
    lambda g: g(
        "Loop",
        g.s(3, np.int64),
        "",
        g("GlobalAveragePool", "x"),
        outs=2,
        body=body(
            [
                N("Cast", ["i"], ["f"], to=T.FLOAT),
                N("Add", ["v", "f"], ["o"]),
                N("Mul", ["v", "v"], ["s"]),
                N("Identity", ["cin"], ["cout"]),
            ],
            ["i", "cin", "v"],
            ["cout", "o", "s"],
        ),
    )[1],
)
case(
    "Loop until",
    "Loop",
    lambda g: (
        lambda limit: g(
            "Loop",
            "",
            g.s(True, bool),
            "x",
            body=body(
                [N("Mul", ["v", "v"], ["o"]), N("Less", ["i", limit], ["cout"])], ["i", "cin", "v"], ["cout", "o"]
            ),
        )
    )(g.s(2, np.int64)),
    lo=11,
)
case(
    "Loop no rounds",
    "Loop",
    lambda g: g(
        "Loop",
        g.s(0, np.int64),
        g.s(True, bool),
        "x",
        body=body([N("Neg", ["v"], ["o"]), N("Identity", ["cin"], ["cout"])], ["i", "cin", "v"], ["cout", "o"]),
    ),
)
case(
    "Scan",
    "Scan",
    lambda g: g(
        "Scan",
        g.f(*[0.0] * 18),
        g.reshape("x", 6, 18),
        outs=2,
        num_scan_inputs=1,
        body=helper.make_graph(
            [N("Add", ["s", "e"], ["t"]), N("Identity", ["t"], ["o"])],
            "b",
            [V("s", T.FLOAT, [18]), V("e", T.FLOAT, [18])],
            [V("t", T.FLOAT, [18]), V("o", T.FLOAT, [18])],
        ),
    )[1],
    lo=9,
)


def functions(g):
    """Two functions, one calling the other with an attribute of its own."""
    scaled = helper.make_function(
        "own",
        "scaled",
        ["a", "b"],
        ["r"],
        [
            N("Constant", [], ["k"], value_float=0.5),
            N("Mul", ["a", "k"], ["m"]),
            N("Elu", ["m"], ["e"]),
            N("Add", ["e", "b"], ["r"]),
        ],
        [helper.make_opsetid("", g.opset)],
        ["alpha"],
    )
    reference = helper.make_attribute("alpha", 0.0)
    reference.Clear()
    reference.name, reference.ref_attr_name, reference.type = "alpha", "alpha", 1
    scaled.node[2].attribute.append(reference)
    twice = helper.make_function(
        "own",
        "twice",
        ["a"],
        ["r"],
        [
            N("scaled", ["a", "a"], ["m"], domain="own", alpha=0.7),
            N("scaled", ["m", "a"], ["r"], domain="own", alpha=0.2),
        ],
        [helper.make_opsetid("", g.opset), helper.make_opsetid("own", 1)],
    )
    g.functions = [scaled, twice]
    return g("twice", "x", domain="own")


case("functions", "Elu", functions, lo=17)


def bfloat16(g):
    """A weight of bfloat16 that is widened: as raw bytes, and as a list of numbers."""
    import ml_dtypes

    values = np.linspace(-1, 2, 6).astype(ml_dtypes.bfloat16)
    raw = helper.make_tensor("raw16", T.BFLOAT16, [6], values.tobytes(), raw=True)
    listed = helper.make_tensor("listed16", T.BFLOAT16, [6], values.astype(np.float32))
    g.constants += [raw, listed]
    return g("Mul", g("Add", "x", g.cast("raw16", T.FLOAT)), g.cast("listed16", T.FLOAT))


def same_names(g):
    """A node with the name of a weight."""
    result = g("Neg", g("Add", "x", g.f(0.3)))
    g.nodes[-1].name = "w0"
    return result


case("bfloat16 weights", "Cast", bfloat16, lo=13)
case("Node with the name of a weight", "Neg", same_names, lo=13)
case("Sum of weights", "Concat", lambda g: g("Concat", g.r(1, 3, 2, 6), "x", axis=2), lo=13)
case("Gelu of contributors", "Gelu", lambda g: g("Gelu", "x", domain="com.microsoft"), domain="com.microsoft")
case(
    "FastGelu of contributors", "FastGelu", lambda g: g("FastGelu", "x", domain="com.microsoft"), domain="com.microsoft"
)
case("FastGelu bias", "FastGelu", lambda g: g("FastGelu", "x", g.r(6), domain="com.microsoft"), domain="com.microsoft")
case(
    "QuickGelu of contributors",
    "QuickGelu",
    lambda g: g("QuickGelu", "x", alpha=1.5, domain="com.microsoft"),
    domain="com.microsoft",
)
case(
    "BiasGelu of contributors",
    "BiasGelu",
    lambda g: g("BiasGelu", "x", g.r(6), domain="com.microsoft"),
    domain="com.microsoft",
)
case(
    "SkipLayerNormalization",
    "SkipLayerNormalization",
    lambda g: g(
        "SkipLayerNormalization",
        g.reshape("x", 1, 18, 6),
        g.reshape(g("Relu", "x"), 1, 18, 6),
        g.r(6),
        g.r(6),
        epsilon=1e-3,
        domain="com.microsoft",
    ),
    domain="com.microsoft",
)
case(
    "SimplifiedLayerNormalization",
    "SimplifiedLayerNormalization",
    lambda g: g("SimplifiedLayerNormalization", "x", g.r(6), axis=-1, epsilon=1e-3),
    lo=13,
)
case(
    "ArrayFeatureExtractor",
    "ArrayFeatureExtractor",
    lambda g: g("ArrayFeatureExtractor", g.reshape("x", 3, 36), g.i(3, 1, 20), domain="ai.onnx.ml"),
    domain="ai.onnx.ml",
)
case(
    "Normalizer",
    "Normalizer",
    lambda g: g("Normalizer", g.reshape("x", 3, 36), norm="L2", domain="ai.onnx.ml"),
    domain="ai.onnx.ml",
)
