"""What the tests of the examples of docs/scaling.md share: pictures, their answers by `derm predict`, and the examples."""

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
BROKEN = "broken.jpg"


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
    (folder / BROKEN).write_bytes(b"not a picture")


def of_derm(folder):
    """What `derm predict` says: probabilities by file name, None where there are none."""
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


def run_example(of):
    """Runs the Python example of docs/scaling.md that has this text, as it stands."""
    text = (ROOT / "docs/scaling.md").read_text()
    example = next(found for found in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if of in found)
    exec(compile(example, "scaling.md", "exec"), {"__name__": "__main__"})
