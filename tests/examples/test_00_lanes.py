from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from edgekit.reference import model_path

TINY = ("--frames", "64", "--epochs", "2", "--batch", "16", "--held-out", "2")


@pytest.fixture(scope="module")
def script(root: Path) -> Path:
    return root / "examples" / "00_lanes" / "train.py"


def run(script: Path, *arguments: str | Path) -> str:
    environment = {"PYTHONPATH": str(script.parents[2]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout


def test_training_resumes_and_exports_the_shipped_architecture(script: Path, tmp_path: Path) -> None:
    printed = run(script, "--out", tmp_path, *TINY)
    assert "epoch 2/2" in printed
    assert "2 held-out frames" in printed
    first = (tmp_path / "model.onnx").read_bytes()
    again = run(script, "--out", tmp_path, *TINY)
    assert "resumed after epoch 2" in again
    assert "epoch 1/2" not in again
    assert (tmp_path / "model.onnx").read_bytes() == first
    trained, shipped = onnx.load(tmp_path / "model.onnx"), onnx.load(model_path())
    assert [node.op_type for node in trained.graph.node] == [node.op_type for node in shipped.graph.node]
    assert [node.name for node in trained.graph.node] == [node.name for node in shipped.graph.node]


def test_the_shipped_model_is_evaluated_on_its_own(script: Path) -> None:
    printed = run(script, "--evaluate", model_path(), "--held-out", "20")
    found = re.search(r"20 held-out frames: F1 (0\.\d+|1\.0+)", printed)
    assert found, printed
    assert float(found[1]) >= 0.9
