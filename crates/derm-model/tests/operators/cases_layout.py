"""Operators that move, pick, lengthen and resample values."""

import numpy as np
from builder import case
from onnx import TensorProto as T
from onnx import helper

F = np.float32


def pad(pads, mode="constant", value=None, axes=None, given=True):
    def build(g):
        if g.opset < 11:
            return g(
                "Pad",
                "x",
                pads=pads,
                **({"mode": mode} if given else {}),
                **({"value": value} if value is not None else {}),
            )
        inputs = ["x", g.i(*pads)]
        if value is not None or axes is not None:
            inputs.append(g.s(value) if value is not None else "")
        if axes is not None:
            inputs.append(g.i(*axes))
        return g("Pad", *inputs, **({"mode": mode} if given else {}))

    return build


for mode, lo in (("constant", 7), ("edge", 7), ("reflect", 7), ("wrap", 19)):
    for label, pads in (
        ("", [0, 0, 1, 2, 0, 0, 2, 0]),
        ("channels", [0, 1, 0, 0, 0, 2, 0, 1]),
        ("negative", [0, 0, -1, 0, 0, -1, 0, -2]),
        ("mixed", [0, 0, -2, 1, 0, 0, 1, -1]),
        ("large", [0, 0, 0, 5, 0, 0, 5, 3]),
        ("none", [0] * 8),
    ):
        if mode == "reflect" and label == "channels":
            pads = [0, 1, 0, 0, 0, 1, 0, 1]
        case(f"Pad {mode} {label}", "Pad", pad(pads, mode), lo=lo)
    case(f"Pad {mode} axes", "Pad", pad([1, 2, 0, 1], mode, axes=[3, -2]), lo=max(lo, 18))
case("Pad wrap twice", "Pad", pad([0, 0, 8, 0, 0, 0, 7, 0], "wrap"), lo=19)
case("Pad value", "Pad", pad([0, 1, 1, 0, 0, 0, 0, 1], value=0.7))
case("Pad default", "Pad", pad([0, 1, 1, 0, 0, 0, 0, 1], given=False))
for label, shape, axes in (
    ("", (1, 2, 4, 8), None),
    ("axes", (3, 9), [2, 3]),
    ("odd", (1, 5, 3, 7), None),
    ("negative axes", (7, 3), [-1, -2]),
    ("channels", (2,), [1]),
):
    case(
        f"CenterCropPad {label}",
        "CenterCropPad",
        lambda g, s=shape, a=axes: g("CenterCropPad", "x", g.i(*s), **({"axes": a} if a else {})),
        lo=18,
    )

for perm in ([0, 2, 3, 1], [3, 2, 1, 0], [0, 1, 3, 2]):
    case(f"Transpose {perm}", "Transpose", lambda g, p=perm: g("Transpose", "x", perm=p))
case("Transpose default", "Transpose", lambda g: g("Transpose", "x"))
for shape in ((1, -1), (0, 3, 36), (2, 3, 18), (0, 0, -1)):
    case(f"Reshape {shape}", "Reshape", lambda g, s=shape: g("Transpose", g.reshape("x", *s)))
case("Reshape allowzero", "Reshape", lambda g: g("Reshape", "x", g.i(1, 108), allowzero=1), lo=14)
for axis in (0, 1, 2, 4, 3):
    case(f"Flatten {axis}", "Flatten", lambda g, a=axis: g("Transpose", g("Flatten", "x", axis=a)))
for axis in (-1, -2):
    case(f"Flatten {axis}", "Flatten", lambda g, a=axis: g("Transpose", g("Flatten", "x", axis=a)), lo=11)
case("Squeeze attribute", "Squeeze", lambda g: g("Squeeze", "x", axes=[0]), hi=12)
case("Squeeze", "Squeeze", lambda g: g("Squeeze", "x", g.i(0)), lo=13)
case("Squeeze negative", "Squeeze", lambda g: g.squeeze("x", -4), lo=11)
case("Squeeze all", "Squeeze", lambda g: g("Squeeze", "x"))
case("Unsqueeze attribute", "Unsqueeze", lambda g: g("Unsqueeze", "x", axes=[0, 3]), hi=12)
case("Unsqueeze", "Unsqueeze", lambda g: g("Transpose", g("Unsqueeze", "x", g.i(2, -1))), lo=13)
for axis in (0, 1, 2, 3, -1, -2):
    case(
        f"Concat {axis}",
        "Concat",
        lambda g, a=axis: g("Concat", "x", g("Relu", "x"), g("Neg", "x"), axis=a),
        lo=11 if axis < 0 else 7,
    )
    case(
        f"Gather {axis}",
        "Gather",
        lambda g, a=axis: g("Gather", "x", g.i(*((0, 0) if a == 0 else (2, 0, 1, 1))), axis=a),
        lo=11 if axis < 0 else 7,
    )
    if axis != 0:
        case(
            f"Split {axis}",
            "Split",
            lambda g, a=axis: g(
                "Concat",
                *[
                    g("Mul", v, g.s(float(k + 1)))
                    for k, v in enumerate(
                        g("Split", "x", outs=3, axis=a, **({"num_outputs": 3} if g.opset >= 18 else {}))
                    )
                ],
                axis=1,
            ),
            lo=11 if axis < 0 else 7,
        )
        case(
            f"GatherElements {axis}",
            "GatherElements",
            lambda g, a=axis: g(
                "GatherElements",
                "x",
                g.w(g.random.integers(0, 3, (1, 3, 3, 3)) if a != 0 else np.zeros((1, 3, 3, 3), np.int64)),
                axis=a,
            ),
            lo=11,
        )
        for reduction in ("none", "add", "mul", "max", "min"):
            lo = {"none": 11, "add": 16, "mul": 16, "max": 18, "min": 18}[reduction]

            def scatter(g, a=axis, r=reduction):
                indices = (
                    np.stack([g.random.permutation(3) for _ in range(9)]).T.reshape(1, 3, 3, 3)
                    if a == 1
                    else np.broadcast_to(
                        np.array([2, 0, 1]).reshape([3 if k == a % 4 else 1 for k in range(4)]), (1, 3, 3, 3)
                    )
                )
                return g(
                    "ScatterElements",
                    "x",
                    g.w(np.ascontiguousarray(indices).astype(np.int64)),
                    g.r(1, 3, 3, 3),
                    axis=a,
                    **({} if r == "none" else {"reduction": r}),
                )

            case(f"ScatterElements {axis} {reduction}", "ScatterElements", scatter, lo=lo)
case(
    "Split sizes attribute",
    "Split",
    lambda g: g("Concat", *g("Split", "x", outs=2, axis=2, split=[2, 4])[::-1], axis=2),
    hi=12,
)
case("Split sizes", "Split", lambda g: g("Concat", *g("Split", "x", g.i(1, 3, 2), outs=3, axis=2)[::-1], axis=2), lo=13)
for count in (2, 4):
    case(
        f"Split num_outputs {count}",
        "Split",
        lambda g, n=count: g("Concat", *g("Split", "x", outs=n, axis=2, num_outputs=n)[::-1], axis=2),
        lo=18,
    )
case("Gather scalar", "Gather", lambda g: g("Gather", "x", g.s(1, np.int64), axis=1))
case("Gather negative", "Gather", lambda g: g("Gather", "x", g.i(-1, 0), axis=2), lo=11)
case("Gather two axes", "Gather", lambda g: g("Gather", "x", g.w(np.array([[0, 1], [2, 2]])), axis=1))
case("Gather table", "Gather", lambda g: g("Gather", g.r(5, 3), g.cast(g("Mul", g("Abs", "x"), g.f(4)), T.INT64)))
case("Gather int32 indices", "Gather", lambda g: g("Gather", "x", g.w(np.array([1, 1], np.int32)), axis=3))
for axis in (0, 1, 2, -1):
    case(
        f"Scatter {axis}",
        "Scatter",
        lambda g, a=axis: g(
            "Scatter",
            "x",
            g.w(
                np.zeros((1, 3, 6, 6), np.int64)
                if a == 0
                else np.broadcast_to(
                    np.array([2, 0, 1]).reshape([3 if k == a % 4 else 1 for k in range(4)]), (1, 3, 3, 3)
                ).astype(np.int64)
            ),
            g.r(1, 3, 6, 6) if a == 0 else g.r(1, 3, 3, 3),
            axis=a,
        ),
        lo=9,
        hi=10,
    )
case("GatherND", "GatherND", lambda g: g("GatherND", "x", g.w(np.array([[0, 2], [0, 0]]))), lo=11)
for batch in (1, 2):
    case(
        f"GatherND batch {batch}",
        "GatherND",
        lambda g, b=batch: g(
            "GatherND", "x", g.w(np.array([[[1, 2]]]) if b == 1 else np.array([[[1], [0], [5]]])), batch_dims=b
        ),
        lo=12,
    )
for reduction in ("none", "add", "mul", "max", "min"):
    lo = {"none": 11, "add": 16, "mul": 16, "max": 18, "min": 18}[reduction]
    case(
        f"ScatterND {reduction}",
        "ScatterND",
        lambda g, r=reduction: g(
            "ScatterND", "x", g.w(np.array([[0, 2], [0, 0]])), g.r(2, 6, 6), **({} if r == "none" else {"reduction": r})
        ),
        lo=lo,
    )
for label, starts, ends, axes, steps in (
    ("", [1], [5], [2], None),
    ("all", [0, 1, 0, 2], [1, 3, 9, 6], None, None),
    ("negative", [-4], [-1], [-1], None),
    ("steps", [0, 1], [6, 6], [2, 3], [2, 3]),
    ("back", [-1], [-100], [3], [-1]),
    ("back two", [5], [0], [2], [-2]),
):

    def cut(g, starts=starts, ends=ends, axes=axes, steps=steps):
        if g.opset < 10:
            return g("Slice", "x", starts=starts, ends=ends, **({"axes": axes} if axes else {}))
        inputs = ["x", g.i(*starts), g.i(*ends)]
        if axes or steps:
            inputs.append(g.i(*axes))
        if steps:
            inputs.append(g.i(*steps))
        return g("Slice", *inputs)

    case(f"Slice {label}", "Slice", cut, lo=10 if steps or label == "negative" else 7)
case(
    "Slice strides after reshape",
    "Slice",
    lambda g: g("Slice", g.reshape(g.reshape("x", 1, 3, 36), 1, 3, 6, 6), g.i(0, 0), g.i(6, 6), g.i(2, 3), g.i(2, 2)),
    lo=10,
)
case(
    "Slice strides of tokens",
    "Slice",
    lambda g: g(
        "MatMul",
        g.reshape(
            g(
                "Slice",
                g.reshape(g("MatMul", g("Transpose", g.reshape("x", 1, 3, 36), perm=[0, 2, 1]), g.r(3, 4)), 1, 6, 6, 4),
                g.i(0, 0),
                g.i(6, 6),
                g.i(1, 2),
                g.i(2, 2),
            ),
            1,
            9,
            4,
        ),
        g.r(4, 5),
    ),
    lo=10,
)
case("Expand", "Expand", lambda g: g("Expand", "x", g.i(2, 3, 6, 6)), lo=8)
case("Expand rank", "Expand", lambda g: g("Expand", g("GlobalAveragePool", "x"), g.i(2, 1, 3, 2, 4)), lo=8)
case("Tile", "Tile", lambda g: g("Tile", "x", g.i(1, 2, 1, 3)))
for block in (2, 3, 1):

    def deep(g, b=block):
        return g.reshape(
            g("Concat", *["x"] * 3, axis=1) if b > 1 else "x", 1, 9 * 4 if b != 1 else 3, -1, 3 if b != 1 else 6
        )

    for mode in ("DCR", "CRD"):
        case(
            f"DepthToSpace {block} {mode}",
            "DepthToSpace",
            lambda g, b=block, m=mode, d=deep: g("DepthToSpace", d(g), blocksize=b, mode=m),
            lo=11,
        )
    case(f"DepthToSpace {block}", "DepthToSpace", lambda g, b=block, d=deep: g("DepthToSpace", d(g), blocksize=b))
    case(f"SpaceToDepth {block}", "SpaceToDepth", lambda g, b=block: g("SpaceToDepth", "x", blocksize=b))
for upper in (0, 1):
    for k in (0, 2, -1):
        case(f"Trilu {upper} {k}", "Trilu", lambda g, u=upper, k=k: g("Trilu", "x", g.s(k, np.int64), upper=u), lo=14)
case("Trilu default", "Trilu", lambda g: g("Trilu", "x"), lo=14)
for axis in (1, 2, 3, -1):
    for largest in (0, 1):
        case(
            f"TopK {axis} {largest}",
            "TopK",
            lambda g, a=axis, largest=largest: (lambda r: g("Add", r[0], g.cast(r[1], T.FLOAT)))(
                g("TopK", "x", g.i(2), outs=2, axis=a, largest=largest, sorted=1)
            ),
            lo=11,
        )
case("TopK default", "TopK", lambda g: g("TopK", "x", g.i(3), outs=2)[0], lo=10)
for axis in (-1, 1, 0):
    case(
        f"OneHot {axis}",
        "OneHot",
        lambda g, a=axis: g("OneHot", g("ArgMax", "x", axis=3, keepdims=0), g.i(6), g.f(0.2, 1.3), axis=a),
        lo=9,
    )
case("NonZero", "NonZero", lambda g: g("Gather", "x", g.squeeze(g("NonZero", g.f(1, 0, 0, 1, 1, 0)), 0), axis=3), lo=9)
for axis in (1, 3, -2):
    case(
        f"Compress {axis}",
        "Compress",
        lambda g, a=axis: g("Compress", "x", g.w(np.array([True, False, True])), axis=a),
        lo=9,
    )
case("Compress flat", "Compress", lambda g: g("Compress", "x", g.w(np.array([True, False, True, True] * 5))), lo=9)
case(
    "Range",
    "Range",
    lambda g: g("Mul", "x", g.cast(g("Range", g.s(0, np.int64), g.s(12, np.int64), g.s(2, np.int64)), T.FLOAT)),
    lo=11,
)
case("Range float", "Range", lambda g: g("Mul", "x", g("Range", g.s(0.5), g.s(3.5), g.s(0.5))), lo=11)
case(
    "ConstantOfShape",
    "ConstantOfShape",
    lambda g: g("Add", "x", g("ConstantOfShape", g.i(6, 1), value=helper.make_tensor("v", T.FLOAT, [1], [0.3]))),
    lo=9,
)
case("ConstantOfShape zeros", "ConstantOfShape", lambda g: g("Add", "x", g("ConstantOfShape", g.i(6, 1))), lo=9)
case(
    "ConstantOfShape zeros overwritten",
    "ConstantOfShape",
    lambda g: g(
        "ScatterND",
        g("Unsqueeze", g("ConstantOfShape", g.i(3, 6, 6)), g.i(0)),
        g.w(np.zeros((1, 1), np.int64)),
        "x",
    ),
    lo=13,
)
case("EyeLike", "EyeLike", lambda g: g("MatMul", "x", g("EyeLike", g.w(np.zeros((6, 6), F)))), lo=9)
for k in (1, -2):
    case(
        f"EyeLike {k}",
        "EyeLike",
        lambda g, k=k: g("MatMul", "x", g("EyeLike", g.w(np.zeros((6, 6), F)), k=k, dtype=1)),
        lo=9,
    )
for label, attributes in (
    ("", {}),
    ("start", {"start": 1}),
    ("end", {"start": -3, "end": -1}),
    ("middle", {"start": 2, "end": 3}),
    ("end only", {"end": 2}),
):
    case(
        f"Shape {label}",
        "Shape",
        lambda g, a=attributes: g.cast(g("Shape", "x", **a), T.FLOAT),
        lo=15 if attributes else 7,
    )
case("Size", "Size", lambda g: g("Mul", "x", g.cast(g("Size", "x"), T.FLOAT)))
case(
    "Constant",
    "Constant",
    lambda g: g("Add", "x", g("Constant", value=helper.make_tensor("v", T.FLOAT, [6], [1, 2, 3, 4, 5, 6]))),
)
case("Constant float", "Constant", lambda g: g("Add", "x", g("Constant", value_float=0.7)), lo=12)
case("Constant floats", "Constant", lambda g: g("Add", "x", g("Constant", value_floats=[0.1] * 6)), lo=12)
case("Constant int", "Constant", lambda g: g("Gather", "x", g("Constant", value_int=1), axis=1), lo=12)
case("Constant int 2", "Constant", lambda g: g("Gather", "x", g("Constant", value_int=2), axis=1), lo=12)
case("Constant int 0", "Constant", lambda g: g("Gather", "x", g("Constant", value_int=0), axis=1), lo=12)
case("Constant ints", "Constant", lambda g: g("Reshape", "x", g("Constant", value_ints=[3, 36])), lo=12)
case(
    "ReverseSequence",
    "ReverseSequence",
    lambda g: g("ReverseSequence", g.reshape("x", 3, 36), g.i(3, 10, 36), batch_axis=0, time_axis=1),
    lo=10,
)


def resize(scales=None, sizes=None, roi=None, **attributes):
    def build(g):
        if g.opset < 11:
            return g("Resize", "x", g.f(*scales), **{k: v for k, v in attributes.items() if k == "mode"})
        r = g.f(*roi) if roi else (g.w(np.zeros(0, F)) if g.opset < 13 else "")
        if sizes:
            return g("Resize", "x", r, g.w(np.zeros(0, F)) if g.opset < 13 else "", g.i(*sizes), **attributes)
        return g("Resize", "x", r, g.f(*scales), **attributes)

    return build


for coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"):
    lo = 19 if coordinates == "half_pixel_symmetric" else 11
    for label, how in (
        ("up", {"sizes": [1, 3, 9, 11]}),
        ("down", {"sizes": [1, 3, 4, 3]}),
        ("scales", {"scales": [1, 1, 1.5, 0.7]}),
        ("to one", {"sizes": [1, 3, 1, 2]}),
    ):
        for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
            case(
                f"Resize nearest {coordinates} {nearest} {label}",
                "Resize",
                resize(mode="nearest", nearest_mode=nearest, coordinate_transformation_mode=coordinates, **how),
                lo=lo,
            )
        case(
            f"Resize linear {coordinates} {label}",
            "Resize",
            resize(mode="linear", coordinate_transformation_mode=coordinates, **how),
            lo=lo,
        )
        case(
            f"Resize cubic {coordinates} {label}",
            "Resize",
            resize(mode="cubic", cubic_coeff_a=-0.5, coordinate_transformation_mode=coordinates, **how),
            lo=lo,
        )
        case(
            f"Resize cubic exclude {coordinates} {label}",
            "Resize",
            resize(mode="cubic", exclude_outside=1, coordinate_transformation_mode=coordinates, **how),
            lo=lo,
        )
for mode in ("nearest", "linear", "cubic"):
    case(f"Resize {mode} default", "Resize", resize(scales=[1, 1, 2, 2], mode=mode), lo=10 if mode != "cubic" else 11)
    case(
        f"Resize {mode} tf_crop",
        "Resize",
        resize(
            sizes=[1, 3, 5, 4],
            roi=[0, 0, 0.1, 0.2, 1, 1, 0.9, 0.8],
            mode=mode,
            coordinate_transformation_mode="tf_crop_and_resize",
            extrapolation_value=0.3,
        ),
        lo=11,
    )
    if mode != "nearest":
        for anti in (0, 1):
            case(
                f"Resize {mode} antialias {anti}",
                "Resize",
                resize(sizes=[1, 3, 3, 4], mode=mode, antialias=anti),
                lo=18,
            )
for policy in ("stretch", "not_larger", "not_smaller"):
    case(
        f"Resize {policy}",
        "Resize",
        lambda g, p=policy: g(
            "Resize", "x", "", "", g.i(9, 12), axes=[2, 3], mode="linear", keep_aspect_ratio_policy=p
        ),
        lo=18,
    )
case("Resize axes", "Resize", lambda g: g("Resize", "x", "", g.f(2, 1.5), axes=[3, 2], mode="linear"), lo=18)
for mode in ("nearest", "linear"):
    case(
        f"Upsample {mode} attribute",
        "Upsample",
        lambda g, m=mode: g("Upsample", "x", mode=m, scales=[1.0, 1.0, 2.0, 2.0]),
        hi=8,
    )
    case(f"Upsample {mode}", "Upsample", lambda g, m=mode: g("Upsample", "x", g.f(1, 1, 2, 2), mode=m), lo=9, hi=9)
    case(
        f"Upsample {mode} fraction",
        "Upsample",
        lambda g, m=mode: g("Upsample", "x", g.f(1, 1, 1.5, 2), mode=m),
        lo=9,
        hi=9,
    )
case("Upsample default", "Upsample", lambda g: g("Upsample", "x", g.f(1, 1, 3, 2)), lo=9, hi=9)


def grid(g, n=1.2):
    return g.w(g.random.uniform(-n, n, (1, 4, 5, 2)).astype(F))


for padding in ("zeros", "border", "reflection"):
    for corners in (0, 1):
        for modes in (("bilinear", "linear"), ("nearest", "nearest"), ("bicubic", "cubic")):
            case(
                f"GridSample {modes[0]} {padding} {corners}",
                "GridSample",
                lambda g, m=modes, p=padding, c=corners: g(
                    "GridSample", "x", grid(g), mode=m[0 if g.opset < 20 else 1], padding_mode=p, align_corners=c
                ),
                lo=16,
            )
case("GridSample default", "GridSample", lambda g: g("GridSample", "x", grid(g)), lo=16)
for corners in (0, 1):
    case(
        f"AffineGrid {corners}",
        "AffineGrid",
        lambda g, c=corners: g(
            "AffineGrid",
            g("Slice", g.reshape("x", 1, 18, 6), g.i(0, 0), g.i(2, 3), g.i(1, 2)),
            g.i(1, 3, 4, 5),
            align_corners=c,
        ),
        lo=20,
    )
    case(
        f"AffineGrid 3d {corners}",
        "AffineGrid",
        lambda g, c=corners: g(
            "AffineGrid",
            g("Slice", g.reshape("x", 1, 18, 6), g.i(0, 0), g.i(3, 4), g.i(1, 2)),
            g.i(1, 3, 2, 4, 3),
            align_corners=c,
        ),
        lo=20,
    )
case("Col2Im", "Col2Im", lambda g: g("Col2Im", g.reshape("x", 1, 12, 9), g.i(6, 6), g.i(2, 2), strides=[2, 2]), lo=18)
case("Col2Im overlap", "Col2Im", lambda g: g("Col2Im", g.reshape("x", 1, 12, 9), g.i(4, 4), g.i(2, 2)), lo=18)
case(
    "Col2Im pads",
    "Col2Im",
    lambda g: g("Col2Im", g.reshape("x", 1, 12, 9), g.i(5, 4), g.i(2, 2), strides=[2, 2], pads=[0, 1, 1, 1]),
    lo=18,
)
case(
    "Col2Im dilations",
    "Col2Im",
    lambda g: g(
        "Col2Im", g.reshape("x", 1, 12, 9), g.i(5, 7), g.i(2, 2), dilations=[2, 1], strides=[1, 2], pads=[0, 0, 0, 0]
    ),
    lo=18,
)
for mode in ("avg", "max"):
    for coordinates in ("half_pixel", "output_half_pixel"):
        for ratio in (0, 2, 3):
            case(
                f"RoiAlign {mode} {coordinates} {ratio}",
                "RoiAlign",
                lambda g, m=mode, c=coordinates, r=ratio: g(
                    "RoiAlign",
                    "x",
                    g.w(np.array([[0.5, 1, 4.5, 5], [-1, 0, 2, 9]], F)),
                    g.i(0, 0),
                    mode=m,
                    coordinate_transformation_mode=c,
                    output_height=3,
                    output_width=2,
                    sampling_ratio=r,
                    spatial_scale=0.8,
                ),
                lo=16,
            )
    case(
        f"RoiAlign old {mode}",
        "RoiAlign",
        lambda g, m=mode: g(
            "RoiAlign",
            "x",
            g.w(np.array([[0.5, 1, 4.5, 5], [-1, 0, 2, 9]], F)),
            g.i(0, 0),
            mode=m,
            output_height=3,
            output_width=2,
            sampling_ratio=2,
            spatial_scale=0.8,
        ),
        lo=10,
        hi=15,
    )
for size in (1, 2, 4):
    case(
        f"RoiAlign {size}",
        "RoiAlign",
        lambda g, n=size: g("RoiAlign", "x", g.w(np.array([[0, 1, 4, 5]], F)), g.i(0), output_height=n, output_width=n),
        lo=16,
    )
