"""Every kind of picture is seen alike; drawings are of its shape."""

import io
import pathlib
import pickle
import threading

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def pixels(example):
    return np.asarray(Image.open(example).convert("RGB"))


def same(a, b):
    return np.array_equal(a.scores, b.scores) and a.ranking == b.ranking


def test_paths_and_bytes(classifier, example):
    expected = classifier.predict(example)
    data = example.read_bytes()
    for picture in (str(example), pathlib.Path(example), data, bytearray(data), memoryview(data)):
        assert same(classifier.predict(picture), expected)
    assert expected.class_id == expected.ranking[0][0] == classifier.model.classes[expected.class_index]
    assert sum(expected.as_dict().values()) == pytest.approx(1, abs=1e-5)
    assert list(expected.as_dict()) == classifier.model.classes
    assert expected.as_dict()[expected.class_id] == pytest.approx(expected.probability)
    assert expected.size == Image.open(example).size
    assert expected.model.digest == classifier.model.digest is not None
    assert expected.probabilities.dtype == expected.scores.dtype == np.float32


def test_arrays_and_images_are_seen_as_their_file(classifier, pixels):
    expected = classifier.predict(png(pixels))
    read_only = pixels.copy()
    read_only.flags.writeable = False
    for picture in (
        pixels,
        read_only,
        np.asfortranarray(pixels),
        pixels.transpose(2, 0, 1).copy().transpose(1, 2, 0),
        Image.fromarray(pixels),
        Image.open(io.BytesIO(png(pixels))),
        np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]),
    ):
        assert same(classifier.predict(picture), expected)
    mirrored = pixels[:, ::-1]
    assert same(classifier.predict(mirrored), classifier.predict(png(np.ascontiguousarray(mirrored))))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "YCbCr"])
def test_modes_of_pillow(classifier, pixels, mode):
    image = Image.fromarray(pixels)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(pixels[:, :, 0]))
    image = image.convert(mode)
    if mode in ("CMYK", "YCbCr"):  # no PNG has them
        assert same(classifier.predict(image), classifier.predict(image.convert("RGB")))
        return
    buffer = io.BytesIO()
    image.save(buffer, "png")
    assert same(classifier.predict(image), classifier.predict(buffer.getvalue()))
    if mode in ("L", "LA", "RGBA"):
        assert same(classifier.predict(np.asarray(image)), classifier.predict(buffer.getvalue()))


def test_an_image_of_pillow_is_turned_as_its_file_is(classifier, pixels):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(buffer, "png", exif=exif)
    turned = classifier.predict(Image.open(io.BytesIO(buffer.getvalue())))
    # Stored columns are resized first in the file: values differ by rounding.
    assert np.abs(turned.scores - classifier.predict(buffer.getvalue()).scores).max() <= 0.1
    assert turned.size == (pixels.shape[0], pixels.shape[1])
    assert np.abs(turned.scores - classifier.predict(pixels).scores).max() > 0.2


def test_lists_are_in_order_whatever_the_number_of_workers(classifier, pixels):
    pictures = [pixels, png(pixels[::-1]), pixels[:, ::-1], Image.fromarray(pixels[::-1])]
    expected = [classifier.predict(picture) for picture in pictures]
    for workers in (1, 2, 16):
        found = classifier.predict(pictures, workers=workers)
        assert [same(a, b) for a, b in zip(found, expected)] == [True] * 4
    assert len(classifier.predict(tuple(pictures[:1]))) == 1
    assert classifier.predict([]) == []
    stacked = classifier.predict(np.stack([pixels, pixels[::-1]]))
    assert same(stacked[0], expected[0]) and same(stacked[1], expected[1])


def test_tta_averages(classifier, pixels):
    symmetric = classifier.predict(pixels, tta=8).probabilities
    assert np.allclose(symmetric, classifier.predict(pixels[::-1], tta=8).probabilities, atol=0.05)
    assert not np.array_equal(symmetric, classifier.predict(pixels).probabilities)


def test_an_explanation(classifier, pixels):
    found = classifier.explain(pixels)
    prediction = classifier.predict(pixels)
    assert found.class_id == prediction.class_id and found.probability == prediction.probability
    assert same(found.prediction, prediction)
    assert (found.method, found.layer, found.model.name) == ("gradcam", None, classifier.model.name)
    assert found.layers == classifier.layers and len(found.layers) > 10
    rows, columns = found.heatmap.shape
    assert rows == columns == 7
    assert found.heatmap.min() == 0 and found.heatmap.max() == 1
    assert found.contrast >= 0 and found.range[0] < found.range[1]
    side = classifier.model.input_shape[2]
    assert found.resized().shape == (side, side)
    assert found.resized(30, 20).shape == (20, 30)
    assert found.overlay.shape == (side, side, 3) and found.overlay.dtype == np.uint8
    assert found.draw("heatmap").shape == (side, side, 4)
    mask = found.draw("mask", contour=0.7)
    assert mask.shape == (side, side) and set(np.unique(mask)) == {0, 255}
    assert not np.array_equal(found.draw(colormap="viridis"), found.overlay)
    assert np.array_equal(found.draw(alpha=0), classifier.explain(pixels, alpha=0).overlay)
    assert found.overlay_on(pixels).shape == pixels.shape
    assert np.array_equal(found.overlay_on(pixels, alpha=0), pixels)
    assert "7x7" in repr(found) and found.class_id in repr(found)


def test_a_notebook_shows_the_overlay(classifier, example):
    found = classifier.explain(example, colormap="inferno", alpha=0.6, contour=0.5)
    data = found._repr_png_()
    assert isinstance(data, bytes)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), found.overlay)
    assert np.asarray(Image.open(io.BytesIO(found.png("mask")))).ndim == 2


def test_the_upload_is_drawn_on_at_its_size(classifier, pixels):
    found = classifier.explain(pixels, size="upload")
    assert found.overlay.shape == pixels.shape


def test_classes_and_layers(classifier, pixels):
    names = classifier.model.classes
    by_name, by_index = classifier.explain(pixels, classes=[names[1], names[2]]), classifier.explain(pixels, classes=1)
    assert [one.class_id for one in by_name] == names[1:3]
    assert np.array_equal(by_name[0].heatmap, by_index.heatmap) and by_index.class_index == 1
    assert np.array_equal(classifier.explain(pixels, classes=np.int64(1)).heatmap, by_index.heatmap)
    name, shape = list(classifier.layers.items())[20]
    at = classifier.explain(pixels, "layercam", classes=1, layer=name)
    assert at.heatmap.shape == tuple(shape[2:]) and at.layer == name
    numbered = classifier.explain(pixels, "layercam", classes=1, layer=20)
    assert np.array_equal(numbered.heatmap, at.heatmap) and numbered.layer == name
    saliency = classifier.explain(pixels, "saliency")
    assert saliency.heatmap.shape == classifier.model.input_shape[2:] and saliency.layer == "input"
    assert classifier.explain(pixels, scale="max", smooth=4).heatmap.max() == 1


def test_a_heatmap_is_no_copy_and_outlives_its_explanation(classifier, pixels):
    found = classifier.explain(pixels, "saliency")
    heatmap, again = found.heatmap, found.heatmap
    assert heatmap.ctypes.data == again.ctypes.data and heatmap.base is found
    with pytest.raises(ValueError):
        heatmap[0, 0] = 2
    with pytest.raises(ValueError):
        heatmap.flags.writeable = True
    expected = heatmap.copy()
    del found, again
    others = [classifier.explain(pixels, "saliency", classes=0) for _ in range(5)]
    assert np.array_equal(heatmap, expected) and len(others) == 5


def test_a_tensor_is_drawn_in_colours_alone(classifier):
    tensor = np.random.default_rng(0).normal(size=classifier.model.input_shape)
    found = classifier.explain_tensor(tensor)
    assert found.overlay is None
    side = classifier.model.input_shape[2]
    assert np.asarray(Image.open(io.BytesIO(found._repr_png_()))).shape == (side, side, 3)
    assert found.overlay_on(np.zeros((50, 40, 3), np.uint8)).shape == (50, 40, 3)


def test_tensors_of_other_types_and_orders(classifier):
    tensor = np.random.default_rng(1).normal(size=(2, *classifier.model.input_shape[1:])).astype(np.float32)
    expected = classifier.predict_tensor(tensor)
    assert [same(a, b) for a, b in zip(classifier.predict_tensor(tensor.astype(np.float64)), expected)] == [True, True]
    assert [same(a, b) for a, b in zip(classifier.predict_tensor(np.asfortranarray(tensor)), expected)] == [True, True]
    assert same(classifier.predict_tensor(tensor[1]), expected[1])
    assert same(classifier.predict_tensor(tensor[0].tolist()), expected[0])
    integers = classifier.predict_tensor(np.ones(classifier.model.input_shape, np.int64))
    assert same(integers[0], classifier.predict_tensor(np.ones(classifier.model.input_shape[1:])))


def test_a_pickled_classifier_is_the_same(classifier, pixels):
    copy = pickle.loads(pickle.dumps(classifier))
    assert copy is not classifier and same(copy.predict(pixels), classifier.predict(pixels))


def test_an_unloaded_model_is_loaded_again(classifier, pixels):
    expected = classifier.predict(pixels)
    assert classifier.unload() and not classifier.unload()
    assert same(classifier.predict(pixels), expected)
    classifier.release_idle()
    assert same(classifier.predict(pixels), expected)


def test_many_threads_share_one_classifier(classifier, pixels):
    expected = classifier.explain(pixels, classes=1)
    wrong = []

    def work():
        for _ in range(3):
            found = classifier.explain(pixels, classes=1)
            if not np.array_equal(found.heatmap, expected.heatmap):
                wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
