from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

from edgekit.backends.openvino import OpenVinoBackend
from edgekit.backends.openvino_core import import_openvino
from edgekit.errors import ModelError, TargetError, UsageError
from edgekit.targets import cpu_flags, load_target
from tests.backends import models

pytest.importorskip("openvino", reason="OpenVINO comes with the extra 'openvino'")


def run(precision: str | None) -> np.ndarray:
    options = {} if precision is None else {"precision": precision}
    engine = OpenVinoBackend().load({"model.onnx": models.conv_relu()}, options, 1)
    return engine.run({"image": models.sample()})["features"]


def test_float_models_run_in_f32_unless_told_otherwise() -> None:
    np.testing.assert_array_equal(run(None), run("f32"))


@pytest.mark.skipif(not cpu_flags() & {"avx512_bf16", "amx_bf16"}, reason="this CPU has no bf16")
def test_bf16_is_what_runs_when_asked_for() -> None:
    difference = np.abs(run("bf16") - run("f32")).max()
    assert 1e-4 < difference < 0.1


def test_unknown_precision_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="f32, bf16, f16"):
        run("int4")


def test_device_that_is_not_here_is_named_with_those_that_are() -> None:
    if any(name.startswith("NPU") for name in import_openvino().Core().available_devices):
        pytest.skip("this machine has an NPU")
    with pytest.raises(TargetError, match="no NPU") as refusal:
        OpenVinoBackend().load({"model.onnx": models.conv_relu()}, {"device": "NPU", "precision": "f16"}, 1)
    assert "CPU" in refusal.value.found


def test_model_for_a_device_elsewhere_is_read_and_given_as_it_is() -> None:
    backend, target = OpenVinoBackend(), load_target("intel-npu")
    assert backend.build(models.conv_relu(), target).members == {"model.onnx": models.conv_relu()}
    with pytest.raises(ModelError):
        backend.build(models.unknown_operator()[:-20], target)


def test_telemetry_is_hidden_from_openvino_alone() -> None:
    import_openvino()
    assert "openvino_telemetry" not in sys.modules or sys.modules["openvino_telemetry"] is not None
    if importlib.util.find_spec("openvino_telemetry"):
        assert importlib.import_module("openvino_telemetry").__name__ == "openvino_telemetry"
