"""Makes the graph-only ONNX files of this folder: architecture and shapes, no weights.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python export.py            # the PyTorch models, opset 13 and the newest
    venv/bin/python export.py --keras    # the Keras model (needs requirements-keras.txt instead)

Every float initialiser of more than 16 elements loses its data and keeps its type and shape;
`cargo xtask zoo` fills them again with seeded weights. Files are written beside this script.
"""

import argparse
import pathlib
import tempfile

import onnx
from onnx import TensorProto, numpy_helper

HERE = pathlib.Path(__file__).parent
CLASSES = 7
OLD_OPSET, NEW_OPSET = 13, 23

# name here -> (timm name, input size)
TIMM = {
    "efficientnet-lite0": ("efficientnet_lite0", 224),
    "efficientnet-b0": ("efficientnet_b0", 224),
    "efficientnetv2-s": ("efficientnetv2_s", 300),
    "mobilenetv2": ("mobilenetv2_100", 224),
    "mobilenetv3-l": ("mobilenetv3_large_100", 224),
    "resnet18": ("resnet18", 224),
    "resnet50": ("resnet50", 224),
    "densenet121": ("densenet121", 224),
    "convnext-t": ("convnext_tiny", 224),
    "deit-ti": ("deit_tiny_patch16_224", 224),
    "vgg16": ("vgg16", 224),
    "regnety-1.6": ("regnety_016", 224),
    "inception-v3": ("inception_v3", 299),
}


def create(timm_name):
    import timm
    import torch

    if timm_name == "vgg16":
        # Its 13 convolutions; the three dense layers of 120 million weights would only be carried.
        convolutions = timm.create_model("vgg16", num_classes=CLASSES).features
        head = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(512, CLASSES)]
        return torch.nn.Sequential(convolutions, *head)
    return timm.create_model(timm_name, num_classes=CLASSES, exportable=True)


def lift_constants(graph):
    """Turns large Constant nodes into initialisers, so that stripping sees them."""
    for node in list(graph.node):
        if node.op_type != "Constant" or node.attribute[0].name != "value":
            continue
        tensor = node.attribute[0].t
        if tensor.data_type == TensorProto.FLOAT and numpy_helper.to_array(tensor).size > 16:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            graph.node.remove(node)


def strip(model):
    """Removes weights, debugging metadata and intermediate shapes."""
    lift_constants(model.graph)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        tensor.doc_string = ""
        if tensor.data_type == TensorProto.FLOAT and array.size > 16:
            name, dims = tensor.name, list(tensor.dims)
            tensor.Clear()
            tensor.name, tensor.data_type = name, TensorProto.FLOAT
            tensor.dims.extend(dims)
    for part in [model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output]:
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
    del model.graph.value_info[:]
    return model


def export_timm(out, only):
    import timm
    import torch

    timm.layers.set_fused_attn(False)
    for name, (timm_name, size) in TIMM.items():
        if only and name not in only:
            continue
        torch.manual_seed(0)
        module = create(timm_name).eval()
        with torch.no_grad():  # equal tensors (zeros) would be exported as one
            for tensor in [*module.parameters(), *module.buffers()]:
                if tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.5)
        x = torch.zeros(1, 3, size, size)
        for opset in (OLD_OPSET, NEW_OPSET):
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "model.onnx"
                torch.onnx.export(
                    module,
                    (x,),
                    str(path),
                    input_names=["input"],
                    output_names=["logits"],
                    opset_version=opset,
                    dynamo=opset == NEW_OPSET,
                    external_data=False,
                )
                model = strip(onnx.load(path))
            target = out / f"{name}.opset{opset}.onnx"
            onnx.save(model, target)
            print(target.name, model.opset_import[0].version, target.stat().st_size, flush=True)


def export_keras(out):
    import keras

    module = keras.applications.EfficientNetV2S(
        weights=None, classes=CLASSES, input_shape=(300, 300, 3), include_preprocessing=True
    )
    module(keras.ops.zeros((1, 300, 300, 3)))  # the exporter wants a model that ran once
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        module.export(str(path), format="onnx")
        model = strip(onnx.load(path))
    target = out / "keras-efficientnetv2-s.onnx"
    onnx.save(model, target)
    print(target.name, model.opset_import[0].version, target.stat().st_size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keras", action="store_true")
    parser.add_argument("--only", nargs="*", help="names of models; all if none is given")
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    arguments = parser.parse_args()
    if arguments.keras:
        export_keras(arguments.out)
    else:
        export_timm(arguments.out, arguments.only)
