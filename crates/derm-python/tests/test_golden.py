"""Heatmaps equal pytorch-grad-cam's on the same weights and input, scores onnxruntime's: models/zoo/golden."""

import json

import numpy as np
import onnx_gradcam
import pytest

from conftest import GOLDEN, golden, golden_input, zoo

NETWORKS = sorted(path.stem for path in GOLDEN.glob("*.json") if "heatmap" in json.loads(path.read_text()))
# As crates/derm-gradcam/tests/golden.rs: methods that sum over hundreds of predictions are less exact.
TOLERANCE, SLOW_TOLERANCE = 1e-3, 5e-3
SLOW = {"scorecam", "ablationcam"}
# `upsampled` holds every 16th row and column.
STEP = 16


def difference(found, expected):
    expected = np.asarray(expected, dtype=np.float32)
    assert found.shape == expected.shape and found.dtype == np.float32
    return float(np.abs(found - expected).max())


def network(name):
    folder, expected = zoo(name), golden(name)
    is_keras = name.startswith("keras")
    shape = onnx_gradcam.Classifier(folder).model.input_shape
    return folder, expected, golden_input(shape[1] if is_keras else shape[2], is_keras)


def test_there_are_networks():
    assert len(NETWORKS) == 14


@pytest.mark.parametrize("name", NETWORKS)
def test_without_a_manifest(name):
    folder, expected, tensor = network(name)
    found = onnx_gradcam.explain_onnx(folder / "model.onnx", tensor, classes=expected["class"])
    assert difference(found.heatmap, expected["heatmap"]) <= TOLERANCE
    assert difference(np.ascontiguousarray(found.resized()[::STEP, ::STEP]), expected["upsampled"]) <= TOLERANCE
    assert found.class_index == expected["class"]
    assert np.abs(found.prediction.scores - np.float32(expected["scores"])).max() <= 2e-3
    # The same of one input without the batch's axis, and of float64.
    again = onnx_gradcam.explain_onnx(
        folder / "model.onnx", tensor[0].astype(np.float64), "gradcam", [expected["class"]]
    )
    assert np.array_equal(again[0].heatmap, found.heatmap)


@pytest.mark.parametrize("name", NETWORKS)
def test_methods_and_layers(name):
    folder, expected, tensor = network(name)
    classifier = onnx_gradcam.Classifier(folder)
    failures = {}
    assert len(expected["methods"]) >= 6
    for method, maps in expected["methods"].items():
        found = classifier.explain_tensor(tensor, method, expected["class"])
        # The sign of a principal component is arbitrary: either is right.
        signs = maps if method.startswith("eigen") else [maps]
        off = min(difference(found.heatmap, sign) for sign in signs)
        if not off <= (SLOW_TOLERANCE if method in SLOW else TOLERANCE):
            failures[method] = off
    for layer, heatmap in expected["layers"].items():
        found = classifier.explain_tensor(tensor, classes=expected["class"], layer=layer)
        off = difference(found.heatmap, heatmap)
        if not off <= TOLERANCE:
            failures[layer] = off
        assert found.layer == layer
    assert not failures


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet-lite0.opset23",
        "efficientnetv2-s.opset13",
        "mobilenetv3-l.opset23",
        "deit-ti.opset13",
        "resnet18.opset13",
    ],
)
def test_scores_are_those_of_onnxruntime(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = zoo(name)
    classifier = onnx_gradcam.Classifier(folder)
    tensors = np.random.default_rng(0).normal(size=(3, *classifier.model.input_shape[1:])).astype(np.float32)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    found = classifier.predict_tensor(tensors, workers=2)
    for prediction, tensor in zip(found, tensors):
        scores = session.run(None, {session.get_inputs()[0].name: tensor[None]})[0][0]
        assert np.abs(prediction.scores - scores).max() <= 1e-4 * max(np.abs(scores).max(), 1)
        exponentials = np.exp(scores - scores.max())
        assert np.abs(prediction.probabilities - exponentials / exponentials.sum()).max() <= 1e-3
        assert prediction.class_index == scores.argmax()


def test_the_bundled_model_answers_as_onnxruntime_and_pillow(classifier, example):
    onnxruntime = pytest.importorskip("onnxruntime")
    image = pytest.importorskip("PIL.Image")
    from conftest import ROOT

    tomllib = pytest.importorskip("tomllib")
    manifest = tomllib.loads((ROOT / "models/derm-lite0/model.toml").read_text())
    spec = manifest["input"]
    side, resized = spec["height"], spec.get("fit", {})
    picture = image.open(example).convert("RGB")
    shortest = resized["crop_shortest_side"]
    scale = shortest / min(picture.size)
    size = tuple(max(round(length * scale), shortest) for length in picture.size)
    filters = {"bilinear": image.Resampling.BILINEAR, "bicubic": image.Resampling.BICUBIC}
    picture = picture.resize(size, filters[spec.get("filter", "bilinear")])
    left, top = ((length - side) // 2 for length in size)
    pixels = np.asarray(picture.crop((left, top, left + side, top + side)), dtype=np.float32)
    tensor = (pixels * spec.get("scale", 1 / 255) - spec["mean"]) / spec["std"]
    tensor = tensor.transpose(2, 0, 1)[None].astype(np.float32)
    path = ROOT / "models/derm-lite0/model.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    element = {"tensor(float16)": np.float16}.get(session.get_inputs()[0].type, np.float32)
    outputs = session.run(None, {session.get_inputs()[0].name: tensor.astype(element)})
    scores = next(output for output in outputs if output.shape == (1, len(manifest["classes"])))[0]
    # Weights are float16, and Pillow's JPEG decoder rounds differently.
    assert np.abs(classifier.predict_tensor(tensor)[0].scores - scores).max() <= 0.02
    assert np.abs(classifier.predict(example).scores - scores).max() <= 0.1
