"""The Ray example of docs/scaling.md, as it stands, on a local cluster of two workers: the answers of `derm predict`."""

import os

import numpy as np
import onnx_gradcam
import pytest

from scaling import BROKEN, PICTURES, draw, of_derm, run_example


def test_the_example_answers_as_derm_predict(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    parquet = pytest.importorskip("pyarrow.parquet")
    draw(tmp_path / "pictures")
    expected = of_derm(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    # Each worker holds a core as Ray counts them; reading and writing need some, too.
    ray.init(num_cpus=4, include_dashboard=False, object_store_memory=100 << 20)
    try:
        run_example("import ray")
    finally:
        ray.shutdown()
    rows = parquet.read_table(tmp_path / "predictions").to_pylist()
    assert len(rows) == PICTURES
    classes = onnx_gradcam.Classifier().model.classes
    for row in rows:
        name = os.path.basename(row["path"])
        if name == BROKEN:
            assert "not a picture" in row["error"] and row[classes[0]] is None and expected[name] is None
        else:
            found = np.array([row[one] for one in classes])
            assert row["error"] == "" and np.abs(found - expected[name]).max() <= 1e-5
