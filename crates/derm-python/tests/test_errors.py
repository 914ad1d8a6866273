"""Whatever is wrong is an exception that says what, never a panic."""

import os
import pickle
import shutil

import numpy as np
import onnx_gradcam
import pytest
from onnx_gradcam import Classifier, ModelError

from conftest import ROOT, zoo


def test_pictures_that_cannot_be_read(classifier, tmp_path, example):
    with pytest.raises(FileNotFoundError) as raised:
        classifier.predict(tmp_path / "missing.jpg")
    assert raised.value.filename == str(tmp_path / "missing.jpg") and raised.value.errno == 2
    with pytest.raises(IsADirectoryError):
        classifier.predict(tmp_path)
    with pytest.raises(ValueError, match=r"notes\.txt: not a picture"):
        (tmp_path / "notes.txt").write_text("notes")
        classifier.predict(tmp_path / "notes.txt")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="not a regular file"):
        classifier.predict(tmp_path / "fifo")
    for data, message in [
        (b"", "empty"),
        (b"abc", "not a picture"),
        (example.read_bytes()[:300], "JPEG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "PNG"),
    ]:
        with pytest.raises(ValueError, match=message):
            classifier.predict(data)
        with pytest.raises(ValueError, match=message):
            classifier.explain(data)


@pytest.mark.parametrize(
    ("picture", "kind", "message"),
    [
        (None, TypeError, "not NoneType"),
        (7, TypeError, "not int"),
        ({}, TypeError, "not dict"),
        (np.zeros((4, 4, 3)), TypeError, "predict_tensor"),
        (np.zeros((4, 4, 3), np.uint16), TypeError, "uint16"),
        (np.array(["a"]), TypeError, "uint8"),
        (np.zeros((3, 40, 40), np.uint8), ValueError, "channels last"),
        (np.zeros((4, 4, 5), np.uint8), ValueError, "channels"),
        (np.zeros(4, np.uint8), ValueError, "channels"),
        (np.zeros((), np.uint8), ValueError, "channels"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "no pixels"),
        (np.zeros((4, 0, 3), np.uint8), ValueError, "no pixels"),
        (np.zeros((1, 1, 1, 1, 1), np.uint8), ValueError, "channels"),
        (np.broadcast_to(np.uint8(0), (6000, 6000, 3)), ValueError, "at most 25000000"),
    ],
)
def test_what_is_no_picture(classifier, picture, kind, message):
    with pytest.raises(kind, match=message):
        classifier.predict(picture)
    with pytest.raises(kind, match=message):
        classifier.explain(picture)


def test_the_error_of_a_list_names_the_picture(classifier, example):
    for workers in (1, 3):
        with pytest.raises(ValueError, match=r"picture 1: .*empty"):
            classifier.predict([example, b"", example, b"abc"], workers=workers)
    with pytest.raises(TypeError, match="picture 2: "):
        classifier.predict([example, example, None])
    with pytest.raises(FileNotFoundError):
        classifier.predict([example, "missing.jpg"])


def test_errors_may_be_part_of_a_list(classifier, example):
    for workers in (1, 3):
        found = classifier.predict([example, b"abc", "missing.jpg", example], workers=workers, errors="return")
        kinds = [type(one) for one in found]
        assert kinds == [onnx_gradcam.Prediction, ValueError, FileNotFoundError, onnx_gradcam.Prediction]
    with pytest.raises(ValueError):
        classifier.predict(b"abc", errors="return")
    with pytest.raises(ValueError, match="errors must be"):
        classifier.predict([example], errors="ignore")


def test_limits_are_of_the_classifier(example):
    small = Classifier(max_bytes=100)
    with pytest.raises(ValueError, match="at most 100"):
        small.predict(example)
    with pytest.raises(ValueError, match="at most 100"):
        small.predict(example.read_bytes())
    with pytest.raises(ValueError, match="at most 10 in all"):
        Classifier(max_pixels=10).predict(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="bytes of memory"):
        Classifier(max_memory=10).predict(example)


def test_modes_of_pillow_without_a_range(classifier):
    image = pytest.importorskip("PIL.Image")
    for mode in ("I", "F", "I;16"):
        with pytest.raises(ValueError, match="mode"):
            classifier.predict(image.new(mode, (4, 4)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "gradcamera"}, "method: unknown variant `gradcamera`, expected one of `gradcam`"),
        ({"classes": "nothing"}, 'no class "nothing"'),
        ({"classes": 99}, 'no class "99"'),
        ({"classes": -1}, "no class"),
        ({"classes": []}, "empty list"),
        ({"layer": "nowhere"}, "nowhere"),
        ({"layer": 10_000}, "10000"),
        ({"scale": "log"}, "scale"),
        ({"size": "large"}, "size"),
        ({"colormap": "grey"}, "colormap"),
        ({"alpha": 2}, "alpha must be in 0..=1"),
        ({"alpha": float("nan")}, "alpha"),
        ({"contour": -1}, "contour"),
        ({"smooth": 9}, "8 flips"),
    ],
)
def test_arguments_of_explain(classifier, example, arguments, message):
    with pytest.raises(ValueError, match=message):
        classifier.explain(example, **arguments)


def test_arguments_of_other_types(classifier, example):
    for arguments in ({"classes": 1.5}, {"classes": [None]}, {"layer": 1.5}, {"method": 3}):
        with pytest.raises(TypeError):
            classifier.explain(example, **arguments)
    for arguments in ({"workers": 0}, {"tta": 9}):
        with pytest.raises(ValueError):
            classifier.predict([example], **arguments)
    with pytest.raises(OverflowError):
        classifier.predict([example], workers=-1)
    with pytest.raises(ValueError, match="threads"):
        Classifier(threads=0)


def test_drawings(classifier, example):
    found = classifier.explain(example)
    for drawing in ("json", "npy", "nothing"):
        with pytest.raises(ValueError, match="drawing"):
            found.draw(drawing)
    for width, height in ((0, 5), (5, 0), (100_000, 5)):
        with pytest.raises(ValueError, match="width and height"):
            found.resized(width, height)
    with pytest.raises(AttributeError):
        found.heatmap = None


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (np.zeros((1, 3, 8, 8)), ValueError),
        (np.zeros((224, 224)), ValueError),
        (np.zeros((0, 3, 224, 224)), ValueError),
        (np.zeros((1, 224, 224, 3)), ValueError),
        (np.zeros(7), ValueError),
        ([[1, 2], [3]], ValueError),
        ("text", TypeError),
        (None, TypeError),
        (np.zeros((1, 3, 224, 224), complex), TypeError),
    ],
)
def test_what_is_no_tensor(classifier, tensor, kind):
    with pytest.raises(kind):
        classifier.predict_tensor(tensor)
    with pytest.raises(kind):
        classifier.explain_tensor(tensor)


def test_an_explanation_is_of_one_input(classifier):
    with pytest.raises(ValueError, match="batch of 2"):
        classifier.explain_tensor(np.zeros((2, *classifier.model.input_shape[1:])))


def test_numbers_that_are_not_finite_are_no_panic(classifier):
    for value in (np.nan, np.inf, -np.inf, 1e38):
        tensor = np.full(classifier.model.input_shape, value, np.float32)
        classifier.predict_tensor(tensor)
        for method in ("gradcam", "eigencam", "saliency"):
            assert classifier.explain_tensor(tensor, method)._repr_png_()


def test_models_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        Classifier(tmp_path / "missing.onnx")
    assert raised.value.filename.endswith("missing.toml") or raised.value.filename.endswith("missing.onnx")
    model = tmp_path / "model.onnx"
    model.write_bytes(b"not an ONNX file")
    with pytest.raises(FileNotFoundError, match="draft_manifest"):
        Classifier(model)
    tensor = np.zeros((1, 3, 8, 8), np.float32)
    with pytest.raises(ModelError):
        onnx_gradcam.explain_onnx(model, tensor)
    with pytest.raises(ModelError):
        onnx_gradcam.draft_manifest(model)
    with pytest.raises(FileNotFoundError):
        onnx_gradcam.explain_onnx(tmp_path / "none.onnx", tensor)
    (tmp_path / "model.toml").write_text("name = 3")
    with pytest.raises(ModelError, match=r"model\.toml"):
        Classifier(tmp_path)
    shutil.copy(ROOT / "models/derm-lite0/model.toml", tmp_path)
    with pytest.raises(ModelError):
        Classifier(tmp_path).predict(np.zeros((8, 8, 3), np.uint8))
    model.write_bytes((ROOT / "models/derm-lite0/model.onnx").read_bytes()[:100_000])
    with pytest.raises(ModelError):
        Classifier(tmp_path).predict(np.zeros((8, 8, 3), np.uint8))
    assert issubclass(ModelError, ValueError)


def test_without_a_manifest_tensors_alone_are_taken(tmp_path):
    model = ROOT / "models/derm-lite0/model.onnx"
    shutil.copy(model, tmp_path)
    shape = (1, 3, 224, 224)
    classifier = Classifier(tmp_path / "model.onnx", input_shape=shape)
    tensor = np.random.default_rng(0).normal(size=shape)
    bundled = Classifier()
    found = classifier.explain_tensor(tensor, classes=2)
    assert np.array_equal(found.heatmap, bundled.explain_tensor(tensor, classes=2).heatmap)
    with pytest.raises(TypeError, match="draft_manifest"):
        classifier.predict(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="manifest"):
        Classifier(input_shape=shape)
    for shape in ((3, 224, 224), (), (1, 3, 0, 224), (1, 3, 99, 99)):
        with pytest.raises(ValueError):
            Classifier(tmp_path / "model.onnx", input_shape=shape).predict_tensor(np.zeros((1, 3, 99, 99)))
    (tmp_path / "model.toml").write_text(onnx_gradcam.draft_manifest(tmp_path / "model.onnx"))
    drafted = Classifier(tmp_path)
    assert np.array_equal(drafted.predict_tensor(tensor)[0].scores, bundled.predict_tensor(tensor)[0].scores)


def test_a_model_without_a_rule_predicts_and_says_why_it_is_not_explained():
    folder = zoo("unexplained")
    classifier = Classifier(folder)
    tensor = np.full(classifier.model.input_shape, 0.5, np.float32)
    assert classifier.predict_tensor(tensor)[0].scores.shape == (7,)
    with pytest.raises(ModelError, match="no differentiation rule for operator Cos"):
        classifier.explain_tensor(tensor)


def test_one_of_several_outputs():
    """The bundled graph has two: the logits, and a score of how unlike the training data a picture is."""
    model = ROOT / "models/derm-lite0/model.onnx"
    tensor = np.linspace(-1, 1, 3 * 224 * 224, dtype=np.float32).reshape(1, 3, 224, 224)
    logits = onnx_gradcam.explain_onnx(model, tensor, output="logits")
    assert logits.prediction.scores.shape == (7,)
    assert np.array_equal(onnx_gradcam.explain_onnx(model, tensor).heatmap, logits.heatmap)
    unlike = onnx_gradcam.explain_onnx(model, tensor, classes=1, output="ood_score")
    assert unlike.heatmap.shape == logits.heatmap.shape and not np.array_equal(unlike.heatmap, logits.heatmap)
    copy = pickle.loads(pickle.dumps(Classifier(model, input_shape=tensor.shape, output="ood_score")))
    assert np.array_equal(copy.explain_tensor(tensor, classes=1).heatmap, unlike.heatmap)
    with pytest.raises(ModelError, match='"logits" float32'):
        onnx_gradcam.explain_onnx(model, tensor, output="nothing")
    with pytest.raises(ValueError, match="output_name"):
        Classifier(output="logits")
