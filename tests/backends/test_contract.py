"""What holds for every backend. A new one is tested by its name in BACKENDS and a target here.

ONNX Runtime counts twice: on this machine, and on an emulated Arm core.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.backends import BACKENDS, Backend, Engine, backend_for
from edgekit.backends.emulated import EmulatedBackend
from edgekit.emulation import emulated_python
from edgekit.errors import ArtifactError, ModelError, TargetError, UsageError
from edgekit.targets import Target, load_target
from tests.backends import models

TARGETS = {
    "onnxruntime": "arm-cortex-a76",
    "openvino": "intel-cpu-vnni",
    "tensorrt": "jetson-orin",
    "qnn": "qualcomm-htp-v75",
}
TOLERANCES = {"f32": 1e-5, "f16": 4e-3}
"""By the precision that the engine computes a floating-point model in."""

EMULATED = "onnxruntime on aarch64"
EMULATED_CASE = pytest.param(EMULATED, marks=[pytest.mark.arm, pytest.mark.slow])
RUN_HERE = [name for name in BACKENDS if load_target(TARGETS[name]).builds == "here"]
DEFERRED = [name for name in BACKENDS if load_target(TARGETS[name]).builds == "on-device"]


def target_of(backend: Backend) -> Target:
    return load_target(TARGETS[backend.name])


def quantized_for(backend: Backend) -> bytes:
    scheme = target_of(backend).scheme
    unsigned = scheme.activations.dtype == "uint8"
    return models.quantized_conv(
        np.uint8 if unsigned else np.int8, zero_point=128 if unsigned else 0, bias=scheme.bias, opset=scheme.opset
    )


@pytest.fixture(scope="class")
def backend(name: str, request: pytest.FixtureRequest) -> Backend:
    if name == EMULATED:
        return EmulatedBackend(emulated_python("cortex-a76", request.getfixturevalue("arm_root")))
    return backend_for(name)


@pytest.fixture(scope="class")
def installed(backend: Backend) -> None:
    require_installed(backend)


@pytest.fixture(scope="class")
def engine(backend: Backend) -> Iterator[Engine]:
    engine = backend.load({"model.onnx": models.conv_relu()}, target_of(backend).options, 1)
    yield engine
    engine.close()


def require_installed(backend: Backend) -> None:
    if target_of(backend).builds == "here" and not backend.available().version:
        pytest.skip(backend.available().reason)


def require_times_that_count(backend: Backend) -> None:
    if backend.available().reason:
        pytest.skip(backend.available().reason)


def members_of(backend: Backend) -> dict[str, bytes]:
    require_installed(backend)
    return dict(backend.build(quantized_for(backend), target_of(backend)).members)


def reference(model: bytes, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What the ONNX standard says that the model gives."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.load_model_from_string(model))
    return dict(zip(evaluator.output_names, evaluator.run(None, dict(inputs)), strict=True))


@pytest.mark.parametrize("name", BACKENDS, scope="class")
class TestEveryBackend:
    def test_has_the_name_that_it_is_found_by(self, backend: Backend) -> None:
        assert BACKENDS[backend.name].endswith(type(backend).__name__)

    def test_says_whether_it_can_run_without_loading_the_engine(self, backend: Backend) -> None:
        engine = {"qnn": "onnxruntime_qnn"}.get(backend.name, backend.name)
        code = (
            "import sys\nfrom edgekit.backends import backend_for\n"
            f"found = backend_for({backend.name!r}).available()\n"
            f"assert found.version or found.reason\nassert {engine!r} not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_build_gives_the_model_and_plain_names(self, backend: Backend) -> None:
        members = members_of(backend)
        assert members["model.onnx"] == quantized_for(backend)
        assert not any("/" in name for name in members)

    def test_build_gives_the_same_bytes_again(self, backend: Backend) -> None:
        assert members_of(backend) == members_of(backend)

    @pytest.mark.parametrize(
        "damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"no model"]
    )
    def test_build_refuses_damaged_models(self, backend: Backend, damage: Any) -> None:
        require_installed(backend)
        with pytest.raises(ModelError):
            backend.build(damage(quantized_for(backend)), target_of(backend))

    @pytest.mark.parametrize("members", [{}, {"engine.plan": b"x"}, {"model.onnx": b"x", "engine.plan": b"x"}])
    def test_load_refuses_foreign_members(self, backend: Backend, members: dict[str, bytes]) -> None:
        with pytest.raises(ArtifactError):
            backend.load(members, {}, 1)


@pytest.mark.parametrize("name", [*BACKENDS, EMULATED_CASE], scope="class")
class TestLoading:
    def test_load_refuses_damaged_members(self, backend: Backend) -> None:
        members = members_of(backend)
        members["model.onnx"] = members["model.onnx"][:-40]
        with pytest.raises(ArtifactError):
            backend.load(members, {}, 1)


@pytest.mark.parametrize("name", DEFERRED)
class TestBackendThatBuildsOnTheDevice:
    def test_load_says_where_and_how_the_engine_is_built(self, name: str) -> None:
        backend = backend_for(name)
        target = target_of(backend)
        with pytest.raises(TargetError) as refusal:
            backend.load(members_of(backend), target.options, 1)
        assert "built on the device" in refusal.value.problem
        assert target.device.soc in refusal.value.problem
        assert target.build_note.strip() in refusal.value.fix

    def test_available_gives_the_reason_why_not(self, name: str) -> None:
        assert backend_for(name).available().reason

    def test_target_without_a_command_is_refused(self, name: str) -> None:
        backend = backend_for(name)
        silent = target_of(backend).model_copy(update={"build_note": ""})
        with pytest.raises(UsageError, match="build_note"):
            backend.build(quantized_for(backend), silent)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", [*RUN_HERE, EMULATED_CASE], scope="class")
class TestBackendThatRunsHere:
    def test_names_shapes_and_types_are_the_models(self, engine: Engine) -> None:
        assert [str(spec) for spec in engine.inputs] == ["image float32 1 x 3 x 12 x 16"]
        assert {spec.name: spec.shape for spec in engine.outputs} == {
            "features": (1, 8, 12, 16),
            "copy": (1, 8, 12, 16),
            "anchors": (4,),
            "seen": models.SHAPE,
        }

    def test_results_are_those_of_the_standard(self, backend: Backend, engine: Engine) -> None:
        inputs = {"image": models.sample()}
        expected, actual = reference(models.conv_relu(), inputs), engine.run(inputs)
        assert list(actual) == list(expected)
        tolerance = TOLERANCES[str(target_of(backend).options.get("precision", "f32"))]
        for output, values in expected.items():
            np.testing.assert_allclose(actual[output], values, rtol=tolerance, atol=tolerance, err_msg=output)

    @pytest.mark.parametrize("dtype, zero_point", [(np.uint8, 128), (np.uint8, 0), (np.int8, 0)])
    def test_quantized_results_are_those_of_the_standard(self, backend: Backend, dtype: Any, zero_point: int) -> None:
        model, inputs = models.quantized_conv(dtype, zero_point=zero_point), {"image": models.sample()}
        engine = backend.load(backend.build(model, target_of(backend)).members, target_of(backend).options, 1)
        expected, actual = reference(model, inputs)["features"], engine.run(inputs)["features"]
        # A value that lies between two steps may be rounded to either.
        assert np.abs(actual - expected).max() <= models.OUTPUT_SCALE * 1.01
        # HTP's own arithmetic decides so more often: 4 % of these values on v73 and v75, 6 % on v69.
        share = 0.1 if backend.name == "qnn" else 0.01
        assert np.mean(np.abs(actual - expected) > models.OUTPUT_SCALE / 2) < share

    def test_layers_say_kernel_precision_device_and_node(self, backend: Backend) -> None:
        layers = backend.build(quantized_for(backend), target_of(backend)).layers
        convolution = next(layer for layer in layers if "conv" in layer.nodes)
        assert convolution.kind and convolution.device and convolution.name
        assert convolution.precision == "int8"

    def test_layers_of_a_float_model_are_in_the_targets_precision(self, backend: Backend, engine: Engine) -> None:
        if isinstance(backend, EmulatedBackend):
            pytest.skip("layers are read with the package onnx, which the emulated Python does not have")
        layers = engine.layers()
        assert {"conv", "relu"} <= {node for layer in layers for node in layer.nodes}
        assert {layer.precision for layer in layers} == {target_of(backend).options.get("precision", "f32")}

    def test_built_and_loaded_layers_are_the_same(self, backend: Backend) -> None:
        if isinstance(backend, EmulatedBackend):
            pytest.skip("it is built on another processor, which has other kernels")
        built = backend.build(quantized_for(backend), target_of(backend))
        engine = backend.load(built.members, target_of(backend).options, 1)
        assert engine.layers() == built.layers

    def test_every_layer_that_runs_is_timed(self, backend: Backend) -> None:
        require_times_that_count(backend)
        inputs = {"image": models.sample()}
        built = backend.build(quantized_for(backend), target_of(backend))
        timed = backend.time_layers(built.members, target_of(backend).options, 1, inputs, 3)
        assert len(timed) == len(built.layers)
        assert {one.layer for one in timed if one.layer.nodes} == {layer for layer in built.layers if layer.nodes}
        assert all(one.microseconds >= 0 for one in timed)
        assert sum(one.microseconds for one in timed) > 0

    def test_timing_layers_refuses_wrong_inputs(self, backend: Backend) -> None:
        require_times_that_count(backend)
        with pytest.raises(UsageError, match="cannot run"):
            backend.time_layers(members_of(backend), target_of(backend).options, 1, {}, 1)

    def test_inputs_are_left_as_they_are(self, engine: Engine) -> None:
        values = models.sample()
        engine.run({"image": values})["seen"][:] = 7.0
        np.testing.assert_array_equal(values, models.sample())

    def test_results_are_the_callers_own(self, engine: Engine) -> None:
        first = engine.run({"image": models.sample(0)})
        kept = {name: values.copy() for name, values in first.items()}
        second = engine.run({"image": models.sample(1)})
        for name, values in kept.items():
            np.testing.assert_array_equal(first[name], values)
            first[name][:] = -1.0
        np.testing.assert_array_equal(second["anchors"], np.arange(4))
        np.testing.assert_array_equal(engine.run({"image": models.sample(0)})["features"], kept["features"])

    def test_input_that_is_not_contiguous_gives_the_same(self, engine: Engine) -> None:
        values = models.sample()
        strided = np.asfortranarray(values)
        assert not strided.flags.c_contiguous
        np.testing.assert_array_equal(
            engine.run({"image": strided})["features"], engine.run({"image": values})["features"]
        )

    def test_input_that_must_not_be_written_to_gives_the_same(self, engine: Engine) -> None:
        values = models.sample()
        expected = engine.run({"image": values})["features"]
        values.flags.writeable = False
        np.testing.assert_array_equal(engine.run({"image": values})["features"], expected)

    @pytest.mark.parametrize(
        "inputs, found",
        [
            ({}, "no input"),
            ({"picture": models.sample()}, "picture float32"),
            ({"image": models.sample(), "mask": models.sample()}, "mask float32"),
            ({"image": models.sample()[:, :, :-1]}, "1 x 3 x 11 x 16"),
            ({"image": models.sample()[0]}, "3 x 12 x 16"),
            ({"image": models.sample().astype(np.float64)}, "float64"),
            ({"image": models.sample().tolist()}, "list"),
        ],
    )
    def test_wrong_inputs_are_refused_with_what_the_model_takes(self, engine: Engine, inputs: Any, found: str) -> None:
        with pytest.raises(UsageError) as refusal:
            engine.run(inputs)
        assert found in refusal.value.found
        assert "image float32 1 x 3 x 12 x 16" in refusal.value.fix

    def test_cannot_run_once_closed(self, backend: Backend) -> None:
        engine = backend.load({"model.onnx": models.conv_relu()}, target_of(backend).options, 1)
        engine.close()
        engine.close()
        with pytest.raises(UsageError, match="closed"):
            engine.run({"image": models.sample()})

    def test_engines_do_not_disturb_each_other(self, backend: Backend, engine: Engine) -> None:
        other = backend.load({"model.onnx": models.conv_relu()}, target_of(backend).options, 1)
        expected = engine.run({"image": models.sample()})["features"]
        other.close()
        np.testing.assert_array_equal(engine.run({"image": models.sample()})["features"], expected)

    def test_unknown_option_is_refused_with_the_known_ones(self, backend: Backend) -> None:
        with pytest.raises(UsageError, match="turbo"):
            backend.load({"model.onnx": models.conv_relu()}, {"turbo": True}, 1)

    def test_model_with_an_unknown_operator_is_refused(self, backend: Backend) -> None:
        with pytest.raises(ModelError, match="Wobble"):
            backend.build(models.unknown_operator(), target_of(backend))

    @pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has no second thread to start")
    @pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
    def test_threads_are_as_many_as_asked_for(self, backend: Backend, tmp_path: Path) -> None:
        require_times_that_count(backend)
        (tmp_path / "model.onnx").write_bytes(models.conv_relu())
        code = (
            "import os, pathlib, sys\nimport numpy as np\nfrom edgekit.backends import backend_for\n"
            "backend = backend_for(sys.argv[1])\n"
            "members = {'model.onnx': pathlib.Path(sys.argv[2]).read_bytes()}\n"
            f"engine = backend.load(members, {dict(target_of(backend).options)!r}, int(sys.argv[3]))\n"
            f"engine.run({{'image': np.zeros({models.SHAPE}, np.float32)}})\n"
            "print(len(os.listdir('/proc/self/task')))"
        )
        counts = [
            int(
                subprocess.run(
                    [sys.executable, "-c", code, backend.name, str(tmp_path / "model.onnx"), str(threads)],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            for threads in (1, 2)
        ]
        assert counts[1] == counts[0] + 1

    def test_leaves_nothing_in_the_home_folder_and_says_nothing(self, backend: Backend, tmp_path: Path) -> None:
        if isinstance(backend, EmulatedBackend):
            pytest.skip("it runs in a home folder of its own")
        (tmp_path / "model.onnx").write_bytes(models.conv_relu())
        home = tmp_path / "home"
        home.mkdir()
        code = (
            "import pathlib, sys\nimport numpy as np\nfrom edgekit.backends import backend_for\n"
            "backend = backend_for(sys.argv[1])\n"
            "engine = backend.load({'model.onnx': pathlib.Path(sys.argv[2]).read_bytes()}, {}, 1)\n"
            f"engine.run({{'image': np.zeros({models.SHAPE}, np.float32)}})\n"
            "try:\n    backend.load({'model.onnx': b'damaged'}, {}, 1)\nexcept Exception:\n    pass"
        )
        environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
        done = subprocess.run(
            [sys.executable, "-c", code, backend.name, str(tmp_path / "model.onnx")],
            check=True,
            capture_output=True,
            text=True,
            # A continuous-integration variable would switch OpenVINO's telemetry off by itself.
            env={**environment, "HOME": str(home), "CI": "", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert [str(path.relative_to(home)) for path in home.rglob("*")] == []
        assert done.stdout + done.stderr == ""
