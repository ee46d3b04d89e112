"""Bundles for Arm, run by a real aarch64 Python and ONNX Runtime: on cores that qemu-user emulates."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.backends import backend_for
from edgekit.backends.emulated import EmulatedBackend
from edgekit.bundle import Bundle
from edgekit.calibration.artifact import Calibration
from edgekit.emulation import CORES, EmulatedPython, emulated_python
from edgekit.errors import ArtifactError
from tests.backends import models

pytestmark = [pytest.mark.arm, pytest.mark.slow]


@pytest.fixture(params=CORES)
def python(request: pytest.FixtureRequest, arm_root: Path) -> EmulatedPython:
    return emulated_python(request.param, arm_root)


@pytest.fixture
def bundle(python: EmulatedPython, arm_calibration: Calibration, tmp_path: Path) -> Bundle:
    return edgekit.compile(arm_calibration, target=f"arm-{python.core}", out=tmp_path / "lane.edge", tune=False)


def run(python: EmulatedPython, *arguments: str | Path) -> dict[str, Any]:
    """Run a command of EdgeKit on the core and return the JSON that it printed."""
    command = [*python.command(), "-m", "edgekit", *map(str, arguments), "--json"]
    done = subprocess.run(command, env=python.environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_edgekit_itself_verifies_a_bundle_there(python: EmulatedPython, bundle: Bundle) -> None:
    told = run(python, "verify", bundle.path)
    assert told["passed"]
    assert told["origin"] == "emulated"
    assert told["engine"] == told["golden_engine"]
    for vector in told["vectors"]:
        assert vector["agreement"]["f1"] == 1.0


def test_outputs_are_those_of_x86(python: EmulatedPython, bundle: Bundle) -> None:
    golden = list(bundle.golden())
    options = bundle.manifest.engine.options
    backend = EmulatedBackend(python)
    assert f"onnxruntime {backend.available().version}" == bundle.manifest.golden.engine
    engine = backend.load(bundle.engine_members(), options, 1)
    for one in golden:
        actual = engine.run({bundle.manifest.input.name: one.input})
        assert list(actual) == list(one.outputs)
        for name, expected in one.outputs.items():
            # 8-bit layers give the same integers. What is left in floating point adds up in another order.
            assert np.abs(actual[name] - expected).max() <= bundle.manifest.golden.tolerance[name] / 1000


def test_a_model_in_8_bit_throughout_gives_the_same_bits(python: EmulatedPython) -> None:
    model = models.quantized_conv(np.uint8, zero_point=128, bias="int32")
    backends = EmulatedBackend(python), backend_for("onnxruntime")
    there, here = (backend.load({"model.onnx": model}, {}, 1) for backend in backends)
    for inputs in ({"image": models.sample(seed)} for seed in range(4)):
        np.testing.assert_array_equal(there.run(inputs)["features"], here.run(inputs)["features"])


def test_what_cannot_be_loaded_there_is_an_error_here(python: EmulatedPython) -> None:
    with pytest.raises(ArtifactError, match="does not accept"):
        EmulatedBackend(python).load({"model.onnx": b"no model"}, {}, 1)
