"""The Python of the package's README, as it stands: one block after another, in a folder with a model and a picture."""

import os
import re
import shutil

import numpy as np
import onnx_gradcam
import pytest

from conftest import EXAMPLE, ROOT

README = ROOT / "crates/derm-python/README.md"


def test_the_readme_runs(tmp_path, monkeypatch):
    pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "models/derm-lite0/model.onnx", "model.onnx")
    shutil.copy(EXAMPLE, "picture.jpg")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 3
    names = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["explanation"].heatmap.dtype == np.float32
    assert isinstance(names["prediction"], onnx_gradcam.Prediction) and len(names["many"]) == 4
    assert names["prediction"].ranking[0][0] == "nv"
    assert os.path.getsize("overlay.png") > 1_000
