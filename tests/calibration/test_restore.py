from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgekit
from edgekit.calibration.restore import restore
from edgekit.reference import model_path
from edgekit.reference.road import render


@pytest.mark.parametrize(
    ("target", "bits"), [("arm-cortex-a76", "w8a8"), ("intel-cpu-vnni", "w8a8"), ("jetson-orin", "w4a4")]
)
def test_what_is_restored_writes_the_same_model(tmp_path: Path, target: str, bits: str) -> None:
    """With learned integers and biases as well, in int32 and in floating point."""
    np.savez(tmp_path / "frames.npz", frames=np.stack([render(7, index).pixels for index in range(8)]))
    calibration = edgekit.calibrate(
        model_path(),
        tmp_path / "frames.npz",
        recipe="reference-lane",
        target=target,
        bits=bits,
        out=tmp_path / "calibration",
        effort="quick",
        min_f1=0.0,
        max_lateral=1e3,
    )
    restored = restore(calibration)
    assert restored.qdq() == onnx.load(calibration.qdq_model)

    random = np.random.default_rng(0)
    weight = restored.placement.weights[0]
    shape = restored.integers[weight.tensor].shape
    learned = replace(
        restored,
        integers={**restored.integers, weight.tensor: random.integers(-7, 8, shape).astype(np.int8)},
        biases={weight.node: random.normal(size=shape[weight.axis]).astype(np.float32)},
    )
    onnx.save(learned.qdq(), calibration.qdq_model)
    assert restore(calibration).qdq() == learned.qdq()
