"""Quantises networks of the zoo to 8 bits as onnxruntime's tools do, with a scale for each channel of the weights, in both
formats that these write, and of the weights alone, and writes onnxruntime's answers beside them.

    cargo xtask zoo
    python -m venv venv && venv/bin/pip install numpy onnx onnxruntime sympy
    venv/bin/python int8.py ../../target/zoo

`NAME.int8/` (QDQ), `NAME.qoperator/` and `NAME.weight-only/` of that folder then hold `model.onnx`, `model.toml` and `expected.json`, for the input that
`derm_zoo::picture` makes:
  scores  what onnxruntime answers, [classes]
and of the QDQ format
  layer   the name of the value that the last product reads
  scale, zero_point  of that value
  values  its 8-bit numbers

The test `crates/derm-model/tests/int8.rs` reads them where they are there. `int8.py ZOO NAME...` makes only those.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

FORMATS = {"int8": QuantFormat.QDQ, "qoperator": QuantFormat.QOperator}
NAMES = ["efficientnet-lite0.opset13", "mobilenetv2.opset13", "resnet50.opset13", "efficientnetv2-s.opset13"]


def picture(side):
    """The input, [1, 3, side, side]: the values of derm_zoo::picture."""
    c, y, x = np.mgrid[0:3, 0:side, 0:side].astype(np.int64)
    wave = (y * (3 + c) + x * (7 - 2 * c) + (x * y) // 32) % 64
    block = ((x // 37) * 5 + (y // 23) * 3 + c) % 16
    value = wave * (y + 32) // 8 + block * 16 * (side - x) // 16
    return (((value % 512).astype(np.float32) - 256.0) / 256.0)[None]


class Pictures(CalibrationDataReader):
    """The picture, and it in other brightness and turned."""

    def __init__(self, name, value):
        turned = [value, value * 0.7, value[:, :, ::-1] * 0.9, value[:, :, :, ::-1] - 0.1]
        self.rest = iter([{name: np.ascontiguousarray(v, np.float32)} for v in turned])

    def get_next(self):
        return next(self.rest, None)


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def quantized(source, target, form):
    """Writes the quantised network; returns its input."""
    model = onnx.load(source)
    name = model.graph.input[0].name
    x = picture(model.graph.input[0].type.tensor_type.shape.dim[2].dim_value)
    with tempfile.TemporaryDirectory() as folder:
        prepared = pathlib.Path(folder) / "model.onnx"
        quant_pre_process(str(source), str(prepared))
        quantize_static(
            str(prepared),
            str(target),
            Pictures(name, x),
            quant_format=form,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return x


def weight_only(source, target):
    """Writes the network with 8-bit weights of convolutions and products, computed in float32; returns its input."""
    model = onnx.load(source)
    graph = model.graph
    x = picture(graph.input[0].type.tensor_type.shape.dim[2].dim_value)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    dequantized = {}
    for node in graph.node:
        name = node.input[1] if node.op_type in ("Conv", "Gemm", "MatMul") else ""
        if name not in constants:
            continue
        if name not in dequantized:
            values = numpy_helper.to_array(constants[name])
            is_transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            axis = 0 if node.op_type == "Conv" or is_transposed else values.ndim - 1
            others = tuple(other for other in range(values.ndim) if other != axis)
            scales = np.maximum(np.abs(values).max(others, keepdims=True) / 127, 1e-9).astype(np.float32)
            integers = np.rint(values / scales).astype(np.int8)
            parts = {"integers": integers, "scales": scales.reshape(-1), "zeros": np.zeros(scales.size, np.int8)}
            graph.initializer.remove(constants[name])
            graph.initializer.extend(numpy_helper.from_array(of, f"{name}.{part}") for part, of in parts.items())
            inputs = [f"{name}.{part}" for part in parts]
            dequantized[name] = helper.make_node("DequantizeLinear", inputs, [f"{name}.dequantized"], axis=axis)
        node.input[1] = f"{name}.dequantized"
    nodes = [*dequantized.values(), *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, target)
    return x


def scores(path, x):
    """What onnxruntime answers."""
    network = session(str(path))
    return [float(score) for score in network.run(None, {network.get_inputs()[0].name: x})[0][0]]


def layer(path, x):
    """What the last product of a network in the QDQ format reads."""
    model = onnx.load(path)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    product = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul")][-1]
    dequantize = next(node for node in model.graph.node if node.output[0] == product.input[0])
    # As onnxruntime computes it without the product: a value that is read twice it would compute otherwise.
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.output[:]
    cut.graph.output.append(onnx.helper.make_tensor_value_info(dequantize.output[0], onnx.TensorProto.FLOAT, None))
    value = session(cut.SerializeToString()).run(None, {model.graph.input[0].name: x})[0]
    scale, zero = (constants[name] for name in dequantize.input[1:3])
    numbers = np.rint(value.reshape(-1) / scale).astype(int) + int(zero)
    return {
        "layer": dequantize.output[0],
        "scale": float(scale),
        "zero_point": int(zero),
        "values": numbers.tolist(),
    }


def main(zoo, names):
    for name in names:
        for suffix, form in (FORMATS | {"weight-only": None}).items():
            folder = zoo / f"{name}.{suffix}"
            folder.mkdir(exist_ok=True)
            source, path = zoo / name / "model.onnx", folder / "model.onnx"
            x = quantized(source, path, form) if form else weight_only(source, path)
            (folder / "model.toml").write_text((zoo / name / "model.toml").read_text())
            expected = {"scores": scores(path, x)} | (layer(path, x) if form == QuantFormat.QDQ else {})
            (folder / "expected.json").write_text(json.dumps(expected))
            print(folder.name, flush=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:] or NAMES)
