"""Pairs of unsigned times signed 8-bit products, up to 2 x 255 x 127, overflow 16 bit on x86 without VNNI.

A convolution whose inputs and weights are all near the ends of their range shows it. The target for such CPUs has
weights of 7 bit; the one for Arm needs none, on a core without dot product neither.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgekit.emulation import EmulatedPython
from edgekit.isolation import call_isolated
from edgekit.targets import cpu_flags, load_target
from tests.emulated import saturation
from tests.graph.quantized import quantized

SHAPE = (1, 32, 6, 8)
RIGHT, WRONG = 0.01, 0.1
"""Errors as a share of the largest output: at most what rounding makes, at least what saturation does."""

NO_VNNI = {"ONEDNN_MAX_CPU_ISA": "AVX2"}


def image() -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(0.9, 1.0, SHAPE).astype(np.float32)


def model_for(target: str) -> onnx.ModelProto:
    """Quantize two convolutions by the rules of a target: where it wants outputs quantized, the last is a head."""
    random = np.random.default_rng(0)
    weights = {
        name: random.uniform(0.8, 1.0, (channels, SHAPE[1], 1, 1)).astype(np.float32) / SHAPE[1]
        for name, channels in (("w1", SHAPE[1]), ("w2", 4))
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w1"], ["c"], name="conv1"),
            helper.make_node("Conv", ["c", "w2"], ["out"], name="conv2"),
        ],
        "full range",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, 4, *SHAPE[2:]))],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return quantized(model, load_target(target).scheme, image())


def error_of(
    target: str,
    function: str,
    arguments: Mapping[str, str],
    environment: Mapping[str, str] | None = None,
    python: Sequence[str] = (sys.executable,),
) -> float:
    """Return the largest error of an engine in a process of its own, as a share of the largest output."""
    model, values = model_for(target), io.BytesIO()
    np.save(values, image())
    (expected,) = ReferenceEvaluator(model).run(None, {"image": image()})
    found = call_isolated(
        f"{saturation.__name__}:{function}",
        arguments,
        {"model.onnx": model.SerializeToString(), "image.npy": values.getvalue()},
        what="The engine",
        timeout_s=120,
        environment=environment,
        python=python,
    ).result
    return float(np.abs(np.array(found) - expected.ravel()).max() / np.abs(expected).max())


@pytest.fixture
def haswell(arm_root: Path, tmp_path: Path) -> list[str]:
    """Python on an emulated x86-64 CPU with AVX2 and without VNNI."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(
        "processor\t: 0\nflags\t\t: fpu sse sse2 ssse3 sse4_1 sse4_2 avx avx2 fma\n"
    )
    return [str(arm_root / "qemu/qemu-x86_64-static"), "-cpu", "Haswell", "-L", str(tmp_path), sys.executable]


@pytest.mark.arm
@pytest.mark.slow
class TestOnCpusThatAreNotHere:
    def test_arms_scheme_is_right_without_a_dot_product(self, a72: EmulatedPython) -> None:
        found = error_of("arm-cortex-a72", "run", {"backend": "onnxruntime"}, a72.environment(), a72.command())
        assert found < RIGHT

    @pytest.mark.skipif(sys.platform != "linux", reason="qemu-user is for Linux")
    def test_onnxruntime_saturates_on_x86_without_vnni_unless_the_scheme_fits(self, haswell: list[str]) -> None:
        assert error_of("intel-cpu-vnni", "run_fast", {}, python=haswell) > WRONG
        assert error_of("intel-cpu-avx2", "run_fast", {}, python=haswell) < RIGHT

    def test_edgekit_has_it_take_the_kernels_that_do_not_saturate(self, haswell: list[str]) -> None:
        assert error_of("intel-cpu-vnni", "run", {"backend": "onnxruntime"}, python=haswell) < RIGHT


@pytest.mark.skipif("avx2" not in cpu_flags(), reason="this CPU has no AVX2")
def test_openvino_saturates_without_vnni_unless_the_scheme_fits() -> None:
    pytest.importorskip("openvino", reason="OpenVINO comes with the extra 'openvino'")
    assert error_of("intel-cpu-vnni", "run", {"backend": "openvino"}, NO_VNNI) > WRONG
    assert error_of("intel-cpu-avx2", "run", {"backend": "openvino"}, NO_VNNI) < RIGHT
