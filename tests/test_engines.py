from __future__ import annotations

import numpy as np
import pytest

from edgekit.backends.onnxruntime import OnnxRuntimeBackend
from edgekit.engines import import_onnxruntime, in_ort_format, new_session, saturates
from edgekit.errors import UsageError
from edgekit.targets import load_target
from tests.backends import models


@pytest.mark.parametrize(
    "machine, flags, expected",
    [
        ("x86_64", {"avx2", "avx512f"}, True),
        ("x86_64", {"avx2", "avx_vnni", "vnni"}, False),
        ("x86_64", {"avx512f", "avx512_vnni", "vnni"}, False),
        ("AMD64", {"avx2"}, True),
        ("aarch64", {"asimd"}, False),
    ],
)
def test_only_x86_without_vnni_saturates(machine: str, flags: set[str], expected: bool) -> None:
    assert saturates(machine, frozenset(flags)) is expected


class TestOrtFormat:
    @pytest.fixture
    def model(self) -> bytes:
        return models.quantized_conv(np.uint8, zero_point=128, bias="int32")

    def test_it_is_loaded_and_gives_the_same(self, model: bytes) -> None:
        ort = import_onnxruntime()
        stored = in_ort_format(ort, model)
        assert stored[4:8] == b"ORTM"
        inputs = {"image": models.sample()}
        (expected,) = new_session(ort, model, 1).run(["features"], inputs)
        (found,) = new_session(ort, stored, 1).run(["features"], inputs)
        np.testing.assert_array_equal(found, expected)

    def test_the_build_says_that_it_is_not_the_same_bytes_again(self, model: bytes) -> None:
        build = OnnxRuntimeBackend().build
        assert not build(model, load_target("arm-cortex-a55")).reproducible
        assert build(model, load_target("arm-cortex-a76")).reproducible

    def test_a_bundle_for_small_boards_holds_both_and_loads_it(self, model: bytes) -> None:
        backend, target = OnnxRuntimeBackend(), load_target("arm-cortex-a55")
        members = backend.build(model, target).members
        assert set(members) == {"model.onnx", "model.ort"}
        only_there = {**members, "model.onnx": b"damaged"}
        found = backend.load(only_there, target.options, 1).run({"image": models.sample()})["features"]
        expected = backend.load({"model.onnx": model}, {}, 1).run({"image": models.sample()})["features"]
        np.testing.assert_array_equal(found, expected)

    def test_an_unknown_format_is_refused_with_the_known_ones(self, model: bytes) -> None:
        with pytest.raises(UsageError, match="onnx, ort"):
            OnnxRuntimeBackend().load({"model.onnx": model}, {"format": "tflite"}, 1)
