from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest

from edgekit.backends.openvino import OpenVinoBackend
from edgekit.backends.openvino_core import import_openvino
from edgekit.errors import ArtifactError, HostMismatchWarning, ModelError, TargetError, UsageError
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


class TestBf16:
    @pytest.mark.skipif(not cpu_flags() & {"avx512_bf16", "amx_bf16"}, reason="this CPU has no bf16")
    def test_layers_say_so(self) -> None:
        engine = OpenVinoBackend().load({"model.onnx": models.conv_relu()}, {"precision": "bf16"}, 1)
        assert "bf16" in {layer.precision for layer in engine.layers() if "conv" in layer.nodes}

    @pytest.mark.skipif("avx512_fp16" in cpu_flags(), reason="this CPU has f16")
    def test_another_precision_than_asked_for_is_refused(self) -> None:
        """OpenVINO computes in bf16 or f32 where it is asked for f16 and the CPU has none, and says nothing."""
        with pytest.raises(TargetError, match="asked to compute in f16 and computes in"):
            run("f16")


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    target = load_target("host")
    if target.backend != "openvino":
        pytest.skip("this machine's own target is not OpenVINO's")
    model = models.quantized_conv(np.uint8, zero_point=128)
    return dict(OpenVinoBackend().build(model, target).members)


class TestCompiledModel:
    def load(self, members: dict[str, bytes]) -> np.ndarray:
        engine = OpenVinoBackend().load(members, load_target("host").options, 1)
        return engine.run({"image": models.sample()})["features"]

    def changed(self, members: dict[str, bytes], **record: object) -> dict[str, bytes]:
        return {**members, "compiled.json": json.dumps(json.loads(members["compiled.json"]) | record).encode()}

    def test_computes_what_the_model_beside_it_does(self, members: dict[str, bytes]) -> None:
        np.testing.assert_array_equal(self.load(members), self.load({"model.onnx": members["model.onnx"]}))

    def test_of_another_version_is_not_used(self, members: dict[str, bytes]) -> None:
        expected = self.load(members)
        with pytest.warns(HostMismatchWarning, match=r"openvino is 2025\.0\.0"):
            np.testing.assert_array_equal(self.load(self.changed(members, openvino="2025.0.0")), expected)

    def test_of_another_instruction_set_is_not_used(self, members: dict[str, bytes]) -> None:
        """The blob says itself what it runs on: one that was compiled elsewhere, with a record that hides it."""
        foreign = members | {"compiled.blob": members["compiled.blob"].replace(b"isa=Intel", b"isa=Other")}
        assert foreign != members
        expected = self.load(members)
        with pytest.warns(HostMismatchWarning, match="different runtime configuration"):
            np.testing.assert_array_equal(self.load(foreign), expected)

    def test_for_other_settings_is_not_used(self, members: dict[str, bytes]) -> None:
        with pytest.warns(HostMismatchWarning, match="settings"):
            OpenVinoBackend().load(members, {**load_target("host").options, "performance_hint": "throughput"}, 1)

    def test_cut_off_is_not_used(self, members: dict[str, bytes]) -> None:
        half = members["compiled.blob"][: len(members["compiled.blob"]) // 2]
        with pytest.warns(HostMismatchWarning):
            self.load(members | {"compiled.blob": half})

    def test_record_that_is_damaged_is_refused(self, members: dict[str, bytes]) -> None:
        with pytest.raises(ArtifactError, match=r"compiled\.json"):
            self.load(members | {"compiled.json": b"{"})

    def test_target_of_another_instruction_set_gets_none(self) -> None:
        other = load_target("intel-cpu-vnni")
        other = other.model_copy(update={"device": other.device.model_copy(update={"isa": ("amx_int8",)})})
        model = models.quantized_conv(np.uint8, zero_point=128)
        assert set(OpenVinoBackend().build(model, other).members) == {"model.onnx"}


class TestDeviceElsewhere:
    @pytest.mark.parametrize("name", ["intel-gpu", "intel-npu"])
    def test_ir_computes_here_what_the_model_does(self, name: str) -> None:
        backend, target = OpenVinoBackend(), load_target(name)
        model, inputs = models.quantized_conv(np.uint8, zero_point=128), {"image": models.sample()}
        built = backend.build(model, target)
        assert set(built.members) == {"model.onnx", "model.xml", "model.bin", "build.json"}
        assert built.members == backend.build(model, target).members
        actual = backend.load(built.members, {"device": "CPU"}, 1).run(inputs)["features"]
        expected = backend.load({"model.onnx": model}, {}, 1).run(inputs)["features"]
        # Biases and scales are stored as f16: a value that lies between two steps may be rounded to either.
        assert np.abs(actual - expected).max() <= models.OUTPUT_SCALE * 1.01
        assert np.mean(np.abs(actual - expected) > models.OUTPUT_SCALE / 2) < 0.01

    def test_recipe_says_what_the_device_compiles_with(self) -> None:
        target = load_target("intel-npu")
        record = json.loads(OpenVinoBackend().build(models.conv_relu(), target).members["build.json"])
        assert record["settings"] == {
            "device": "NPU",
            "INFERENCE_PRECISION_HINT": "f16",
            "PERFORMANCE_HINT": "LATENCY",
        }
        assert record["commands"][0] == "unzip -p BUNDLE.edge engine/model.xml > model.xml"
        assert record["commands"][-1] == target.build_note.strip()

    def test_ir_that_was_changed_is_refused(self) -> None:
        members = dict(OpenVinoBackend().build(models.conv_relu(), load_target("intel-gpu")).members)
        members["model.bin"] = members["model.bin"][:-4] + b"abcd"
        with pytest.raises(ArtifactError):
            OpenVinoBackend().load(members, {"device": "CPU"}, 1)

    def test_model_that_openvino_refuses_gets_none(self) -> None:
        with pytest.raises(ModelError):
            OpenVinoBackend().build(models.unknown_operator()[:-20], load_target("intel-npu"))


def test_telemetry_is_hidden_from_openvino_alone() -> None:
    import_openvino()
    assert "openvino_telemetry" not in sys.modules or sys.modules["openvino_telemetry"] is not None
    if importlib.util.find_spec("openvino_telemetry"):
        assert importlib.import_module("openvino_telemetry").__name__ == "openvino_telemetry"
