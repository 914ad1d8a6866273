"""The Spark example of docs/scaling.md, as it stands, in local mode with two tasks at a time: the answers of `derm predict`."""

import os
import shutil
import subprocess
import sys

import numpy as np
import onnx_gradcam
import pytest

from scaling import BROKEN, PICTURES, draw, of_derm, run_example


def need_java():
    """Skips where Spark finds no Java with the modules that it starts with: a runtime may be cut down."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin/java") if home else shutil.which("java")
    if java is None or not os.path.isfile(java):
        pytest.skip("Java is not installed (a full runtime, 17 or newer)")
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=False).stdout
    if "jdk.incubator.vector" not in modules:
        pytest.skip(f"{java} is no full Java runtime of 17 or newer: it has no jdk.incubator.vector")


def test_the_example_answers_as_derm_predict(tmp_path, monkeypatch):
    pytest.importorskip("pyspark.sql")
    pytest.importorskip("pandas")
    parquet = pytest.importorskip("pyarrow.parquet")
    need_java()
    draw(tmp_path / "pictures")
    expected = of_derm(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master local[2] pyspark-shell")
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    try:
        run_example("import SparkSession")
    finally:
        stop()
    rows = parquet.read_table(tmp_path / "predictions").to_pylist()
    assert len(rows) == PICTURES
    classes = onnx_gradcam.Classifier().model.classes
    for row in rows:
        probabilities = expected[os.path.basename(row["path"])]
        if os.path.basename(row["path"]) == BROKEN:
            assert "not a picture" in row["error"] and row["class"] is None and probabilities is None
        else:
            best = int(np.argmax(probabilities))
            assert row["error"] is None and row["class"] == classes[best]
            assert abs(row["probability"] - probabilities[best]) <= 1e-5


def stop():
    """Ends the session that the example has begun, if it has."""
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    if session is not None:
        session.stop()
