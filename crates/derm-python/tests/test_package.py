"""What the package promises of itself."""

import pathlib
import re
import subprocess
import sys

import onnx_gradcam
import pytest

from conftest import EXAMPLE, ROOT


def test_an_import_loads_nothing_else():
    script = "import sys; before = set(sys.modules); import onnx_gradcam; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert sorted(loaded) == ["onnx_gradcam", "onnx_gradcam._native"]


def test_everything_public_is_documented():
    for name in onnx_gradcam.__all__:
        value = getattr(onnx_gradcam, name)
        if not callable(value):
            continue
        assert value.__doc__, name
        for member, inner in vars(value).items() if isinstance(value, type) else ():
            if not member.startswith("_"):
                assert inner.__doc__, f"{name}.{member}"
    assert "gradcam" in onnx_gradcam.METHODS and "jet" in onnx_gradcam.COLORMAPS
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert onnx_gradcam.__version__ == version[1]


def test_the_types_are_those_of_the_module():
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy.stubtest", "onnx_gradcam"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_examples_of_the_readme_run(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "model.onnx").write_bytes((ROOT / "models/derm-lite0/model.onnx").read_bytes())
    image.open(EXAMPLE).save(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    text = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) >= 3
    names = {}
    for example in examples:
        exec(compile(example, "README.md", "exec"), names)
