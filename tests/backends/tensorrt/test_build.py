"""Builds with TensorRT-RTX, which needs no GPU for it."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.backends.base import Build
from edgekit.backends.tensorrt.adapter import Order, installed_version
from edgekit.backends.tensorrt.backend import TensorRtBackend
from edgekit.backends.tensorrt.build import make_engine
from edgekit.backends.tensorrt.cuda import has_driver
from edgekit.backends.tensorrt.floating import floating_engine
from edgekit.errors import ArtifactError, ModelError, TargetError
from edgekit.graph.clean import clean
from edgekit.isolation import call_isolated
from edgekit.runtime.session import OnDevice
from edgekit.targets import Target, load_target
from tests.backends import models
from tests.graph.models import residual_net
from tests.graph.quantized import image, quantized

RTX = pytest.mark.skipif(not installed_version("tensorrt_rtx"), reason="tensorrt_rtx is not installed")
SM86, SM89 = load_target("nvidia-rtx-sm86"), load_target("nvidia-rtx-sm89")
LANES = {
    "lstr-culane": (1, 3, 295, 820),
    "quantlanenet-tusimple": (1, 3, 256, 512),
    "pinetq": (1, 3, 256, 256),
    "twinlitenet-bdd100k": (1, 3, 360, 640),
}


def build(model: onnx.ModelProto, target: Target = SM86) -> Build:
    return TensorRtBackend().build(model.SerializeToString(), target)


@pytest.fixture(scope="module")
def small() -> onnx.ModelProto:
    return quantized(residual_net(), SM86.scheme, image())


@pytest.fixture(scope="module")
def built(small: onnx.ModelProto) -> Build:
    return build(small)


def convolutions(model: onnx.ModelProto) -> set[str]:
    return {node.name for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")}


def precision_of(built: Build, nodes: set[str]) -> dict[str, str]:
    return {name: layer.precision for layer in built.layers for name in nodes & set(layer.nodes)}


@RTX
class TestRtx:
    def test_every_quantized_convolution_is_in_8_bit_and_two_builds_are_the_same(
        self, small: onnx.ModelProto, built: Build
    ) -> None:
        one, two = built, build(small)
        assert set(precision_of(one, convolutions(small)).values()) == {"int8"}
        assert precision_of(one, convolutions(small)).keys() == convolutions(small)
        assert one.reproducible
        assert one.members == two.members
        assert json.loads(one.members["layers.json"])[0]["Inputs"][0]["Name"] == "image"
        assert one.built_for["compute_capability"] == "8.6"
        assert one.version == f"tensorrt_rtx {installed_version('tensorrt_rtx')}"
        assert one.peak_bytes is not None

    def test_what_is_not_quantized_is_in_half_precision(self) -> None:
        model = clean(residual_net(), SM86.scheme.opset).model
        assert set(precision_of(build(model), convolutions(model)).values()) == {"f16"}

    def test_another_compute_capability_gives_another_engine(self, small: onnx.ModelProto, built: Build) -> None:
        other = build(small, SM89)
        assert other.members["model.engine"] != built.members["model.engine"]
        assert other.built_for["compute_capability"] == "8.9"

    def test_an_operator_that_is_not_known_is_told_by_name(self) -> None:
        with pytest.raises(ModelError, match="Wobble"):
            TensorRtBackend().build(models.unknown_operator(), SM86)

    def test_a_workspace_limit_is_taken(self, small: onnx.ModelProto) -> None:
        limited = SM86.model_copy(update={"options": {**SM86.options, "workspace_mb": 64}})
        assert build(small, limited).members["model.engine"]

    def test_a_build_that_takes_too_long_is_given_up(self, small: onnx.ModelProto) -> None:
        hurried = SM86.model_copy(update={"options": {**SM86.options, "timeout_s": 0.01}})
        with pytest.raises(TargetError, match="did not end within"):
            build(small, hurried)

    @pytest.mark.skipif(has_driver(), reason="there is an NVIDIA driver here")
    def test_without_a_gpu_it_builds_and_refuses_to_run(self, built: Build) -> None:
        with pytest.raises(TargetError, match="run on an NVIDIA GPU, and there is none here"):
            TensorRtBackend().load(built.members, SM86.options, 1)
        assert "can be built for one, not run" in TensorRtBackend().available().reason

    @pytest.mark.skipif(not has_driver(), reason="no NVIDIA GPU here: what runs an engine was never run")
    def test_on_a_gpu_it_computes_what_the_standard_says(self, small: onnx.ModelProto) -> None:
        from edgekit.backends.onnxruntime import OnnxRuntimeBackend
        from edgekit.backends.tensorrt.cuda import Device

        capability = Device().identity()[1]
        target = SM86.model_copy(update={"options": {**SM86.options, "compute_capability": capability}})
        built, inputs = build(small, target), {"image": image()}
        expected = OnnxRuntimeBackend().load({"model.onnx": built.members["model.onnx"]}, {}, 1).run(inputs)
        engine = TensorRtBackend().load(built.members, target.options, 1)
        for name, values in engine.run(inputs).items():
            assert np.abs(values - expected[name]).max() <= 0.05 * np.ptp(expected[name])
        assert isinstance(engine, OnDevice)
        assert engine.device_ns > 0 and engine.device_bytes > 0
        engine.close()
        timed = TensorRtBackend().time_layers(built.members, target.options, 1, inputs, 5)
        assert {each.layer.name for each in timed} & {layer.name for layer in built.layers}
        assert all(each.microseconds >= 0 for each in timed)

    def test_a_floating_point_model_is_built_in_half_precision_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        model = residual_net()
        engine, layers = floating_engine(model.SerializeToString(), SM86.options)
        precisions = {layer.precision for layer in layers for name in layer.nodes if name in convolutions(model)}
        assert precisions == {"f16"}
        monkeypatch.setattr("edgekit.backends.tensorrt.floating.make_engine", None)
        assert floating_engine(model.SerializeToString(), SM86.options) == (engine, layers)

    def test_an_engine_of_another_version_is_refused_with_the_reason(self, built: Build) -> None:
        members = dict(built.members)
        record = json.loads(members["build.json"])
        record["built_for"]["version"] = "1.6.0.1"
        members["build.json"] = json.dumps(record).encode()
        with pytest.raises(TargetError, match=r"TensorRT was 1.6.0.1, and is (.|\n)*--overwrite"):
            TensorRtBackend().load(members, SM86.options, 1)

    @pytest.mark.parametrize("engine", [b"", b"ptrt not an engine"])
    def test_a_foreign_or_damaged_engine_is_refused(self, built: Build, engine: bytes) -> None:
        with pytest.raises(ArtifactError):
            TensorRtBackend().load({**built.members, "model.engine": engine}, SM86.options, 1)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", LANES)
    def test_a_real_lane_network_is_built_in_8_bit_and_in_half_precision(self, name: str, shared_lanes: Path) -> None:
        plain = clean(onnx.load(shared_lanes / "models" / name / "model.onnx"), SM86.scheme.opset).model
        model = quantized(plain, SM86.scheme, image(LANES[name]))
        expected = {node for node in convolutions(model) if node in _quantized_nodes(model)}
        eight, half = build(model, SM89), build(plain)
        assert precision_of(eight, expected) == dict.fromkeys(expected, "int8")
        assert {"f16"} <= set(precision_of(half, convolutions(plain)).values()) <= {"f16", "f32"}
        assert "int8" not in {layer.precision for layer in half.layers}


def _quantized_nodes(model: onnx.ModelProto) -> set[str]:
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return {node.name for node in model.graph.node if {*node.input[:2]} <= dequantized and len(node.input) > 1}


def test_for_a_jetson_there_is_a_recipe_and_no_engine(small: onnx.ModelProto) -> None:
    built = build(quantized(residual_net(), load_target("jetson-orin").scheme, image()), load_target("jetson-orin"))
    assert set(built.members) == {"model.onnx", "build.json"}
    assert (built.layers, built.seconds, built.version) == ((), None, "")


def test_for_tensorrt_11_what_is_not_quantized_is_written_in_half_precision(small: onnx.ModelProto) -> None:
    members = build(small, load_target("jetson-agx-orin-jp7")).members
    types = {tensor.data_type for tensor in onnx.load_model_from_string(members["model.onnx"]).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    assert onnx.TensorProto.FLOAT not in types


def test_a_jetsons_engine_is_not_built_on_another_machine(small: onnx.ModelProto) -> None:
    target = load_target("jetson-orin")
    members = build(quantized(residual_net(), target.scheme, image()), target).members
    with pytest.raises(TargetError) as refusal:
        TensorRtBackend().rebuild(members, target)
    assert "tensorrt" in str(refusal.value)


def test_without_the_module_the_error_names_the_extra(small: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.backends.tensorrt.adapter.installed_version", lambda library: "")
    with pytest.raises(TargetError, match=r"edgekit\[tensorrt-rtx\]"):
        build(small)


def crash(folder: Path, **arguments: Any) -> None:
    print("dlopen libcuda.so.1", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_library_that_crashes_while_it_loads_is_an_error_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(function: str, *arguments: Any, **options: Any) -> Any:
        assert function == "edgekit.backends.tensorrt.build:make"
        return call_isolated(f"{__name__}:crash", *arguments, **options)

    monkeypatch.setattr("edgekit.backends.tensorrt.build.call_isolated", call)
    monkeypatch.setattr("edgekit.isolation._SYSTEM_PATH", os.defpath)
    with pytest.raises(TargetError, match=r"TensorRT builds: the process crashed with SIGSEGV(.|\n)*libcuda"):
        make_engine("tensorrt_rtx", b"", Order(half=True), timeout_s=60)
    assert "tensorrt_rtx" not in sys.modules
