"""The Ray example of docs/scaling.md, as it stands, on a local cluster of two workers: the answers of `derm predict`."""

import csv
import io
import os
import re
import subprocess

import numpy as np
import onnx_gradcam
import pytest

from conftest import EXAMPLE, ROOT

PICTURES = 1_000


def draw(folder):
    """Writes so many different pictures, and one that cannot be read."""
    image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(0)
    whole = image.open(EXAMPLE).convert("RGB")
    folder.mkdir()
    for number in range(PICTURES - 1):
        left, top = random.integers(0, whole.width // 2), random.integers(0, whole.height // 2)
        part = whole.crop((left, top, left + whole.width // 2, top + whole.height // 2))
        part.resize((160, 120)).save(folder / f"{number:04}.jpg")
    (folder / "broken.jpg").write_bytes(b"not a picture")


def of_derm(folder):
    """What `derm predict` says: probabilities by file name."""
    names = [os.environ.get("DERM"), ROOT / "target/release/derm", ROOT / "target/debug/derm"]
    found = next((name for name in names if name and os.path.isfile(name)), None)
    if found is None:
        pytest.skip("derm is not built (cargo build --release -p derm-cli)")
    command = [found, "predict", "--csv", "--quiet", folder]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == PICTURES
    classes = onnx_gradcam.Classifier().model.classes
    return {
        os.path.basename(row["picture"]): [float(row[name]) for name in classes] if row[classes[0]] else None
        for row in rows
    }


def test_the_example_answers_as_derm_predict(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    parquet = pytest.importorskip("pyarrow.parquet")
    draw(tmp_path / "pictures")
    expected = of_derm(tmp_path / "pictures")
    text = (ROOT / "docs/scaling.md").read_text()
    example = next(found for found in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "import ray" in found)
    monkeypatch.chdir(tmp_path)
    # Each worker holds a core as Ray counts them; reading and writing need some, too.
    ray.init(num_cpus=4, include_dashboard=False, object_store_memory=100 << 20)
    try:
        exec(compile(example, "scaling.md", "exec"), {"__name__": "__main__"})
    finally:
        ray.shutdown()
    rows = parquet.read_table(tmp_path / "predictions").to_pylist()
    assert len(rows) == PICTURES
    classes = onnx_gradcam.Classifier().model.classes
    for row in rows:
        name = os.path.basename(row["path"])
        if name == "broken.jpg":
            assert "not a picture" in row["error"] and row[classes[0]] is None and expected[name] is None
        else:
            found = np.array([row[one] for one in classes])
            assert row["error"] == "" and np.abs(found - expected[name]).max() <= 1e-5
