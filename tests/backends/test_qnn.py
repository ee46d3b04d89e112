from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.backends import Build, qnn
from edgekit.backends.qnn import QnnBackend
from edgekit.errors import ArtifactError, ModelError, TargetError
from edgekit.graph.reference import ReferenceRun
from edgekit.targets import Target, load_target
from tests.backends import models
from tests.graph.models import residual_net
from tests.graph.test_wide import quantized

V69, V73, V75 = (load_target(f"qualcomm-htp-v{arch}") for arch in (69, 73, 75))
MODEL = models.quantized_conv(np.uint8, zero_point=128, bias="int32")
INPUTS = {"image": models.sample()}

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_qnn") is None, reason="onnxruntime-qnn is not installed"
)


def with_modulo() -> bytes:
    """Conv, Mod, Relu: HTP has no Mod of floating-point numbers."""
    weight = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("Mod", ["c", "k"], ["d"], name="modulo", fmod=1),
            helper.make_node("Relu", ["d"], ["features"], name="relu"),
        ],
        "modulo",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, models.SHAPE)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, (1, 8, *models.SHAPE[2:]))],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.float32(0.7), "k")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())


def allowing_fallback(target: Target) -> Target:
    return target.model_copy(update={"options": {**target.options, "cpu_fallback": True}})


def run(members: Mapping[str, bytes], options: Mapping[str, Any]) -> dict[str, Any]:
    engine = QnnBackend().load(members, options, 1)
    try:
        return engine.run(INPUTS)
    finally:
        engine.close()


@pytest.fixture(scope="module")
def built() -> Build:
    return QnnBackend().build(MODEL, V73)


@pytest.fixture(scope="module")
def members(built: Build) -> dict[str, bytes]:
    return dict(built.members)


@pytest.fixture(scope="module")
def falling_back() -> tuple[Build, Target]:
    target = allowing_fallback(V73)
    return QnnBackend().build(with_modulo(), target), target


class TestContext:
    def test_runs_on_the_qnn_provider_and_on_no_other(self, members: dict[str, bytes]) -> None:
        engine = QnnBackend().load(members, V73.options, 1)
        assert {layer.device for layer in engine.layers()} == {"QNNExecutionProvider"}
        engine.close()

    def test_says_what_it_computes_in_8_bit(self, built: Build) -> None:
        assert {layer.precision for layer in built.layers if "conv" in layer.nodes} == {"int8"}
        assert built.fallback == ()
        assert built.seconds and built.peak_bytes

    def test_same_bytes_again_or_it_says_so(self, built: Build) -> None:
        assert built.reproducible
        assert QnnBackend().build(MODEL, V73).members == built.members

    @pytest.mark.parametrize("target", [V69, V75])
    def test_is_another_one_for_another_htp(self, members: dict[str, bytes], target: Target) -> None:
        other = QnnBackend().build(MODEL, target).members
        assert other["context_qnn.bin"] != members["context_qnn.bin"]
        # The arithmetic differs by rounding, and by no more than a step.
        difference = run(other, target.options)["features"] - run(members, V73.options)["features"]
        assert np.abs(difference).max() <= models.OUTPUT_SCALE * 1.01


class TestFallback:
    def test_is_refused_and_the_nodes_are_named(self) -> None:
        with pytest.raises(ModelError, match="cannot run 1 nodes") as refusal:
            QnnBackend().build(with_modulo(), V73)
        assert refusal.value.found == "modulo: Mod"
        assert "--require-offload" in refusal.value.fix

    def test_is_listed_where_it_was_asked_for(self, falling_back: tuple[Build, Target]) -> None:
        built, target = falling_back
        assert [(one.node, one.operator) for one in built.fallback] == [("modulo", "Mod")]
        engine = QnnBackend().load(built.members, target.options, 1)
        assert {layer.device for layer in engine.layers()} == {"QNNExecutionProvider", "CPUExecutionProvider"}
        engine.close()

    def test_a_context_that_needs_it_is_not_loaded_without(self, falling_back: tuple[Build, Target]) -> None:
        built, _ = falling_back
        with pytest.raises(ArtifactError, match="does not load"):
            QnnBackend().load(built.members, V73.options, 1)


class TestRefusal:
    def test_context_of_another_htp(self, members: dict[str, bytes]) -> None:
        with pytest.raises(ArtifactError, match="another HTP") as refusal:
            QnnBackend().load(members, V75.options, 1)
        assert "htp_arch 73, not 75" in refusal.value.found

    def test_context_of_another_version(self, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
        built = json.loads(members["context.json"])["version"]
        monkeypatch.setattr(qnn, "_version", lambda: "1.0.0")
        with pytest.raises(ArtifactError, match="another version") as refusal:
            QnnBackend().load(members, V73.options, 1)
        assert refusal.value.found == f"onnxruntime-qnn {built}, not 1.0.0"

    @pytest.mark.parametrize("member", ["context.onnx", "context_qnn.bin", "context.json", "model.onnx"])
    def test_damaged_member(self, members: dict[str, bytes], member: str) -> None:
        with pytest.raises(ArtifactError, match="damaged"):
            QnnBackend().load({**members, member: members[member][:-9]}, V73.options, 1)

    def test_context_that_the_engine_finds_damaged(
        self, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        damaged = {**members, "context_qnn.bin": members["context_qnn.bin"][:20_000]}
        monkeypatch.setattr(qnn, "unsealed", lambda engine, name, members: json.loads(members[name]))
        with pytest.raises(ArtifactError, match="does not load"):
            QnnBackend().load(damaged, V73.options, 1)

    def test_missing_package_names_the_extra(self, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        for refused in (lambda: QnnBackend().build(MODEL, V73), lambda: QnnBackend().load(members, V73.options, 1)):
            with pytest.raises(TargetError) as refusal:
                refused()
            assert refusal.value.fix == "pip install 'edgekit[qnn]'"

    def test_library_that_does_not_load(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = tmp_path / "libonnxruntime_providers_qnn.so"
        broken.write_bytes(b"no library")
        monkeypatch.setattr("onnxruntime_qnn.get_library_path", lambda: str(broken))
        from edgekit.backends.qnn_process import compile_context

        with pytest.raises(TargetError, match="does not load here"):
            compile_context(tmp_path, dict(V73.options))

    def test_compiler_that_takes_too_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(qnn, "COMPILE_S", 0.2)
        with pytest.raises(TargetError, match=r"did not end within 0\.2 s"):
            QnnBackend().build(MODEL, V73)


def test_a_floating_point_model_runs_in_half_precision() -> None:
    import onnxruntime

    expected = onnxruntime.InferenceSession(models.conv_relu()).run(["features"], INPUTS)[0]
    actual = run({"model.onnx": models.conv_relu()}, V73.options)["features"]
    error = np.abs(actual - expected).max()
    assert 0.0 < error < 4e-3 * np.abs(expected).max()


@pytest.mark.parametrize("target", [V69, V75])
def test_nodes_with_16_bit_activations_run_in_16_bit_and_as_onnxruntime_runs_them(target: Target) -> None:
    model, placement, _ = quantized(residual_net, ("first_node",))
    assert len(placement.wide) == 2
    built = QnnBackend().build(model.SerializeToString(), target)
    assert [layer.precision for layer in built.layers if layer.kind == "Conv2d"].count("int16") == 2
    assert built.fallback == ()
    values = np.random.default_rng(5).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    engine = QnnBackend().load(built.members, target.options, 1)
    actual, expected = engine.run({"image": values})["head"], ReferenceRun(model)(values)["head"]
    engine.close()
    assert np.abs(actual - expected).max() < 0.03 * np.abs(expected).max()
