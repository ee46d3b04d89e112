from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import edgekit
from edgekit.calibration.restore import restore
from edgekit.reference import model_path
from edgekit.reference.road import render


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "bits", "effort"),
    [("arm-cortex-a76", "w8a8", "standard"), ("intel-cpu-vnni", "w8a8", "quick"), ("jetson-orin", "w4a4", "quick")],
)
def test_what_is_restored_writes_the_same_model(tmp_path: Path, target: str, bits: str, effort: str) -> None:
    """With learned integers and biases, in int32 and in floating point, and with fewer bits."""
    np.savez(tmp_path / "frames.npz", frames=np.stack([render(7, index).pixels for index in range(8)]))
    calibration = edgekit.calibrate(
        model_path(),
        tmp_path / "frames.npz",
        recipe="reference-lane",
        target=target,
        bits=bits,
        out=tmp_path / "calibration",
        effort=effort,
        min_f1=0.0,
        max_lateral=1e3,
    )
    assert restore(calibration).qdq() == onnx.load(calibration.qdq_model)
