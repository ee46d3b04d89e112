from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.calibration.artifact import Calibration
from edgekit.emulation import EmulatedPython, emulated_python
from edgekit.reference import model_path
from edgekit.reference.road import render


@pytest.fixture(scope="session")
def a72(arm_root: Path) -> EmulatedPython:
    """Python on a core without dot product."""
    return emulated_python("cortex-a72", arm_root)


@pytest.fixture(scope="session")
def arm_calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """The built-in lane model, calibrated for Arm."""
    folder = tmp_path_factory.mktemp("arm")
    np.savez(folder / "frames.npz", frames=np.stack([render(7, index).pixels for index in range(8)]))
    return edgekit.calibrate(
        model_path(),
        folder / "frames.npz",
        recipe="reference-lane",
        target="arm-cortex-a76",
        out=folder / "calibration",
        effort="quick",
    )
