import json
import os
import pathlib

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
# Networks of the zoo with weights: `cargo xtask zoo`, or the tests of the workspace, write them.
ZOO = pathlib.Path(os.environ.get("DERM_ZOO", ROOT / "target/zoo"))
GOLDEN = ROOT / "models/zoo/golden"
EXAMPLE = ROOT / "bins/derm-server/src/page/example.jpg"


def zoo(name):
    """The folder of a network, or the test is skipped."""
    folder = ZOO / name
    if not (folder / "model.onnx").is_file():
        pytest.skip(f"{folder} is not there (cargo xtask zoo)")
    return folder


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def golden_input(side, is_keras=False):
    """The input of the golden files: what `picture` of models/zoo/golden.py makes."""
    c, y, x = np.mgrid[0:3, 0:side, 0:side]
    wave = (y * (3 + c) + x * (7 - 2 * c) + (x * y) // 32) % 64
    block = ((x // 37) * 5 + (y // 23) * 3 + c) % 16
    value = wave * (y + 32) // 8 + block * 16 * (side - x) // 16
    tensor = (((value % 512).astype(np.float32) - 256.0) / 256.0)[None]
    return np.ascontiguousarray(((tensor + 1) * 127.5).transpose(0, 2, 3, 1)) if is_keras else tensor


@pytest.fixture(scope="session")
def classifier():
    import onnx_gradcam

    return onnx_gradcam.Classifier()


@pytest.fixture
def example():
    return EXAMPLE
