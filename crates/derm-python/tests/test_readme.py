"""The Python of the package's README and of the repository's, as it stands."""

import os
import re
import shutil

import numpy as np
import onnx_gradcam
import pytest

from conftest import EXAMPLE, ROOT


def run(readme, minimum):
    """Runs its blocks, one after another; the names that they leave."""
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
    assert len(blocks) >= minimum
    names = {}
    for block in blocks:
        exec(compile(block, str(readme), "exec"), names)
    return names


def test_the_package(tmp_path, monkeypatch):
    """In a folder with a model and a picture."""
    pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "models/derm-lite0/model.onnx", "model.onnx")
    shutil.copy(EXAMPLE, "picture.jpg")
    names = run(ROOT / "crates/derm-python/README.md", 3)
    assert names["explanation"].heatmap.dtype == np.float32
    assert isinstance(names["prediction"], onnx_gradcam.Prediction) and len(names["many"]) == 4
    assert names["prediction"].ranking[0][0] == "nv"
    assert os.path.getsize("overlay.png") > 1_000


def test_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
    explanation = run(ROOT / "README.md", 1)["explanation"]
    assert (explanation.class_id, round(explanation.probability, 3)) == ("nv", 0.989)
    assert explanation.overlay.shape == (224, 224, 3)
