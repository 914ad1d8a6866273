"""Operators on single elements, and reductions."""

import numpy as np
from builder import case
from onnx import TensorProto as T

F = np.float32


def unary(operator, *variants, lo=7, positive=False, inside=False):
    """One case for each dictionary of attributes."""

    def build(attributes):
        def of(g):
            value = "x"
            if positive:
                value = g("Add", g("Abs", "x"), g.f(0.3))
            if inside:
                value = g("Mul", "x", g.f(0.9))
            return g(operator, value, **attributes)

        return of

    for attributes in variants or ({},):
        described = "".join(f" {name}={value}" for name, value in attributes.items())
        case(f"{operator}{described}", operator, build(attributes), lo=lo)


for name in [
    "Abs",
    "Neg",
    "Exp",
    "Floor",
    "Ceil",
    "Relu",
    "Sigmoid",
    "Tanh",
    "Softplus",
    "Softsign",
    "Identity",
    "Sin",
    "Cos",
    "Tan",
    "Atan",
    "Sign",
]:
    unary(name)
for name in ["Sinh", "Cosh", "Asinh", "Round", "Erf"]:
    unary(name, lo=9)
for name in ["Asin", "Acos", "Atanh"]:
    unary(name, inside=True)
for name in ["Sqrt", "Log", "Reciprocal"]:
    unary(name, positive=True)
case("Acosh", "Acosh", lambda g: g("Acosh", g("Add", g("Abs", "x"), g.f(1.1))), lo=9)
unary("Elu", {}, {"alpha": 0.5})
unary("LeakyRelu", {}, {"alpha": 0.3})
unary("Selu", {}, {"alpha": 1.3, "gamma": 1.2})
unary("HardSigmoid", {}, {"alpha": 0.3, "beta": 0.4})
unary("ThresholdedRelu", {}, {"alpha": 0.3}, lo=10)
unary("Celu", {}, {"alpha": 0.7}, lo=12)
unary("Shrink", {}, {"lambd": 0.3, "bias": 0.1}, lo=9)
unary("HardSwish", lo=14)
unary("Mish", lo=18)
unary("Gelu", {}, {"approximate": "none"}, {"approximate": "tanh"}, lo=20)
unary("Swish", {}, {"alpha": 1.5}, lo=24)
for axis in (0, 1, 2, 3, -1, -2):
    for name in ("Softmax", "LogSoftmax", "Hardmax"):
        if axis >= 0:
            unary(name, {"axis": axis})
        else:
            unary(name, {"axis": axis}, lo=11)
for name in ("Softmax", "LogSoftmax", "Hardmax"):
    unary(name)

OTHER = (1, 3, 1, 6)
for name in ["Add", "Sub", "Mul"]:
    case(f"{name} broadcast", name, lambda g, name=name: g(name, "x", g.r(*OTHER)))
    case(f"{name} left", name, lambda g, name=name: g(name, g.r(6), "x"))
    case(f"{name} itself", name, lambda g, name=name: g(name, "x", "x"))
    case(
        f"{name} int64",
        name,
        lambda g, name=name: g.cast(g(name, g.cast(g("Mul", "x", g.f(9)), T.INT64), g.i(-3)), T.FLOAT),
    )
    case(
        f"{name} int32",
        name,
        lambda g, name=name: g.cast(
            g(name, g.cast(g("Mul", "x", g.f(9)), T.INT32), g.w(np.array([4], np.int32))), T.FLOAT
        ),
    )
case("Div broadcast", "Div", lambda g: g("Div", "x", g.w(g.random.uniform(0.5, 2, OTHER).astype(F))))
case("Div left", "Div", lambda g: g("Div", g.r(6), g("Add", g("Abs", "x"), g.f(0.3))))
case("Div int64", "Div", lambda g: g.cast(g("Div", g.cast(g("Mul", "x", g.f(20)), T.INT64), g.i(3)), T.FLOAT))
case("Pow", "Pow", lambda g: g("Pow", g("Abs", "x"), g.s(1.7)))
case("Pow two", "Pow", lambda g: g("Pow", "x", g.s(2.0)))
case("Pow three", "Pow", lambda g: g("Pow", "x", g.s(3.0)))
case("Pow half", "Pow", lambda g: g("Pow", g("Abs", "x"), g.s(0.5)))
case("Pow tensor", "Pow", lambda g: g("Pow", g("Add", g("Abs", "x"), g.f(0.2)), "x"))
case("Pow int", "Pow", lambda g: g("Pow", "x", g.s(3, np.int64)), lo=12)
case("Mod float", "Mod", lambda g: g("Mod", "x", g.s(0.7), fmod=1), lo=10)
case("Mod int", "Mod", lambda g: g.cast(g("Mod", g.cast(g("Mul", "x", g.f(20)), T.INT64), g.i(7)), T.FLOAT), lo=10)
case(
    "Mod int down",
    "Mod",
    lambda g: g.cast(
        g("Mod", g.cast(g("Mul", "x", g.f(20)), T.INT32), g.w(np.array([-7, 5, -3, 4, 6, -2], np.int32))), T.FLOAT
    ),
    lo=10,
)


def mod_of_shape(g):
    length = g("Gather", g("Shape", "x"), g.s(2, np.int64), axis=0)
    rest = g("Mod", g("Neg", length), g.s(4, np.int64))
    return g("Slice", "x", g("Concat", g.i(1), g.unsqueeze(rest, 0), axis=0), g.i(3, 6), g.i(1, 2))


case("Mod of a shape", "Mod", mod_of_shape, lo=10)
case(
    "Mod uint8",
    "Mod",
    lambda g: g.cast(
        g("Mod", g.cast(g("Mul", g("Abs", "x"), g.f(20)), T.UINT8), g.w(np.array([7], np.uint8))), T.FLOAT
    ),
    lo=10,
)
case(
    "Mod int fmod",
    "Mod",
    lambda g: g.cast(g("Mod", g.cast(g("Mul", "x", g.f(20)), T.INT64), g.i(7), fmod=1), T.FLOAT),
    lo=10,
)
case("PRelu", "PRelu", lambda g: g("PRelu", "x", g.r(3, 1, 1)))
case("PRelu scalar", "PRelu", lambda g: g("PRelu", "x", g.r(1)))
case("PRelu spatial", "PRelu", lambda g: g("PRelu", "x", g.r(1, 6, 6)))
for name in ["Max", "Min", "Sum", "Mean"]:
    case(f"{name} three", name, lambda g, name=name: g(name, "x", g.r(3, 1, 1), g("Relu", "x")), lo=8)
    case(f"{name} one", name, lambda g, name=name: g(name, "x"))
    case(f"{name} two", name, lambda g, name=name: g(name, "x", g.s(0.1)), lo=8)
for name, lo in (("Greater", 7), ("Less", 7), ("Equal", 7), ("GreaterOrEqual", 12), ("LessOrEqual", 12)):
    if name == "Equal":
        case(
            name,
            name,
            lambda g: g.cast(g("Equal", g.cast(g("Mul", "x", g.f(2)), T.INT32), g.w(np.array([0], np.int32))), T.FLOAT),
        )
        case("Equal float", name, lambda g: g.cast(g("Equal", g("Relu", "x"), g.s(0.0)), T.FLOAT), lo=11)
    else:
        case(name, name, lambda g, name=name: g.cast(g(name, "x", g.r(3, 1, 1)), T.FLOAT), lo=lo)
        case(
            f"{name} int64",
            name,
            lambda g, name=name: g.cast(g(name, g.cast(g("Mul", "x", g.f(5)), T.INT64), g.i(1)), T.FLOAT),
            lo=max(lo, 9),
        )
for name in ["And", "Or", "Xor"]:
    case(
        name,
        name,
        lambda g, name=name: g.cast(g(name, g("Greater", "x", g.s(0.0)), g("Less", "x", g.s(0.4))), T.FLOAT),
        lo=9,
    )
case("Not", "Not", lambda g: g.cast(g("Not", g("Greater", "x", g.s(0.0))), T.FLOAT), lo=9)
case("Where", "Where", lambda g: g("Where", g("Greater", "x", g.s(0.1)), g.r(3, 1, 1), "x"), lo=9)
case("Where constant", "Where", lambda g: g("Where", g.w(np.array([True, False, True] * 2)), "x", g.s(0.5)), lo=9)
case("IsNaN", "IsNaN", lambda g: g.cast(g("IsNaN", g("Sqrt", "x")), T.FLOAT), lo=9)
case("IsInf", "IsInf", lambda g: g.cast(g("IsInf", g("Div", "x", g("Relu", "x"))), T.FLOAT), lo=10)
for positive, negative in ((1, 0), (0, 1), (0, 0)):
    case(
        f"IsInf {positive}{negative}",
        "IsInf",
        lambda g, p=positive, n=negative: g.cast(
            g("IsInf", g("Div", g("Sign", "x"), g("Mul", g("Abs", "x"), g.f(0))), detect_positive=p, detect_negative=n),
            T.FLOAT,
        ),
        lo=10,
    )
case("Clip attributes", "Clip", lambda g: g("Clip", "x", min=-0.3, max=0.5), hi=10)
case("Clip both", "Clip", lambda g: g("Clip", "x", g.s(-0.3), g.s(0.5)), lo=11)
case("Clip min", "Clip", lambda g: g("Clip", "x", g.s(0.1)), lo=11)
case("Clip max", "Clip", lambda g: g("Clip", "x", "", g.s(0.1)), lo=11)
case("Clip none", "Clip", lambda g: g("Clip", "x"))
case(
    "Clip int64",
    "Clip",
    lambda g: g.cast(g("Clip", g.cast(g("Mul", "x", g.f(9)), T.INT64), g.s(-3, np.int64), g.s(4, np.int64)), T.FLOAT),
    lo=12,
)
for kind, code in (
    ("int32", T.INT32),
    ("int64", T.INT64),
    ("uint8", T.UINT8),
    ("int8", T.INT8),
    ("int16", T.INT16),
    ("uint16", T.UINT16),
    ("bool", T.BOOL),
    ("double", T.DOUBLE),
    ("float16", T.FLOAT16),
    ("uint32", T.UINT32),
    ("uint64", T.UINT64),
):

    def through(g, kind=kind, code=code):
        value = g("Mul", g("Abs", "x") if kind.startswith("u") else "x", g.f(9))
        return g.cast(g.cast(value, code), T.FLOAT)

    case(f"Cast {kind}", "Cast", through, lo=9)
case("Cast saturate", "Cast", lambda g: g("Cast", "x", to=T.FLOAT, saturate=0), lo=19)
case("CastLike", "CastLike", lambda g: g("Mul", "x", g("CastLike", g.i(2), "x")), lo=15)
case("CastLike int", "CastLike", lambda g: g.cast(g("CastLike", g("Mul", "x", g.f(9)), g.i(2)), T.FLOAT), lo=15)
for direction in ("LEFT", "RIGHT"):
    case(
        f"BitShift {direction.lower()}",
        "BitShift",
        lambda g, direction=direction: g.cast(
            g(
                "BitShift",
                g.cast(g("Mul", g("Abs", "x"), g.f(20)), T.UINT32),
                g.w(np.array([2], np.uint32)),
                direction=direction,
            ),
            T.FLOAT,
        ),
        lo=11,
    )
for name in ["BitwiseAnd", "BitwiseOr", "BitwiseXor"]:
    case(
        name,
        name,
        lambda g, name=name: g.cast(
            g(name, g.cast(g("Mul", "x", g.f(20)), T.INT32), g.w(np.array([6], np.int32))), T.FLOAT
        ),
        lo=18,
    )
case(
    "BitwiseNot",
    "BitwiseNot",
    lambda g: g.cast(g("BitwiseNot", g.cast(g("Mul", "x", g.f(20)), T.INT32)), T.FLOAT),
    lo=18,
)

REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
)
for name in REDUCTIONS.split():
    since = 13 if name == "ReduceSum" else 18
    for axes, keep in (([2, 3], 1), ([1], 0), ([0, 2], 1), ([-1], 0), ([-2, -1], 1), ([0, 1, 2, 3], 1)):

        def reduce(g, name=name, axes=axes, keep=keep, since=since):
            value = g("Add", g("Abs", "x"), g.f(0.6)) if name in ("ReduceLogSum", "ReduceProd") else "x"
            if g.opset < since:
                return g(name, value, axes=axes, keepdims=keep)
            return g(name, value, g.i(*axes), keepdims=keep)

        case(f"{name} {axes} {keep}", name, reduce, lo=11 if min(axes) < 0 else 7)
    for keep in (0, 1):
        case(
            f"{name} all {keep}",
            name,
            lambda g, name=name, keep=keep: g(name, g("Add", g("Abs", "x"), g.f(0.6)), keepdims=keep),
        )
    case(
        f"{name} noop",
        name,
        lambda g, name=name: g(name, g("Add", g("Abs", "x"), g.f(0.6)), noop_with_empty_axes=1),
        lo=since,
    )
for name in ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "ReduceProd"):
    case(
        f"{name} int32",
        name,
        lambda g, name=name: g.cast(g(name, g.cast(g("Mul", "x", g.f(2.9)), T.INT32), keepdims=0), T.FLOAT),
        lo=12,
    )
for name in ("ArgMax", "ArgMin"):
    for axis, keep in ((1, 1), (2, 0), (3, 1), (0, 1), (-1, 0), (-3, 1)):
        case(
            f"{name} {axis} {keep}",
            name,
            lambda g, name=name, axis=axis, keep=keep: g.cast(g(name, "x", axis=axis, keepdims=keep), T.FLOAT),
            lo=11 if axis < 0 else 7,
        )
    case(
        f"{name} last",
        name,
        lambda g, name=name: g.cast(g(name, g("Round", "x"), axis=3, keepdims=1, select_last_index=1), T.FLOAT),
        lo=12,
    )
for axis in (1, 2, 3, -1):
    for exclusive in (0, 1):
        for reverse in (0, 1):
            case(
                f"CumSum {axis} {exclusive}{reverse}",
                "CumSum",
                lambda g, a=axis, e=exclusive, r=reverse: g("CumSum", "x", g.s(a, np.int32), exclusive=e, reverse=r),
                lo=11,
            )
case("CumSum int64 axis", "CumSum", lambda g: g("CumSum", "x", g.s(2, np.int64)), lo=11)
