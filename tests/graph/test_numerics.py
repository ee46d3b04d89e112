from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from edgekit.graph.numerics import dequantize, integer_limits, quantize, scale_and_zero_point, widened
from edgekit.targets import TensorScheme

SCHEMES = [
    TensorScheme(dtype=dtype, symmetric=symmetric, granularity="tensor", reduce_range=reduce)
    for dtype in ("int8", "uint8", "int16", "uint16")
    for symmetric in (False, True)
    for reduce in (False, True)
]
reals = st.floats(-1e4, 1e4, width=32)


@pytest.mark.parametrize(
    ("dtype", "symmetric", "narrow", "reduce", "limits"),
    [
        ("int8", True, True, False, (-127, 127)),
        ("int8", True, False, False, (-128, 127)),
        ("int8", False, False, False, (-128, 127)),
        ("uint8", False, False, False, (0, 255)),
        ("int8", True, True, True, (-63, 63)),
        ("int8", True, False, True, (-64, 63)),
        ("uint16", False, False, False, (0, 65535)),
    ],
)
def test_integer_limits(dtype: str, symmetric: bool, narrow: bool, reduce: bool, limits: tuple[int, int]) -> None:
    one = TensorScheme(dtype=dtype, symmetric=symmetric, granularity="tensor", narrow_range=narrow, reduce_range=reduce)
    assert integer_limits(one) == limits


@given(values=st.lists(reals, min_size=4, max_size=4), extent=st.floats(0.5, 100, width=32))
def test_symmetric_activations_saturate_where_onnx_does(values: list[float], extent: float) -> None:
    scheme = TensorScheme(dtype="int8", symmetric=True, granularity="tensor")
    scale, zero_point = scale_and_zero_point(-extent, extent, scheme)
    array = np.array([*values, -2 * extent, 2 * extent], np.float32)
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    kinds = (("x", TensorProto.FLOAT), ("s", TensorProto.FLOAT), ("z", TensorProto.INT8))
    tensors = [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds]
    graph = helper.make_graph([node], "g", tensors, [helper.make_tensor_value_info("y", TensorProto.INT8, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    (expected,) = ReferenceEvaluator(model).run(None, {"x": array, "s": scale, "z": zero_point})
    found = quantize(array, scale, zero_point, scheme)
    assert np.array_equal(found, expected)
    assert found[-2:].tolist() == [-128, 127]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@given(low=reals, high=reals)
def test_zero_is_exact_and_the_range_is_covered(scheme: TensorScheme, low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    scale, zero_point = scale_and_zero_point(low, high, scheme)
    ends = np.array([0.0, low, high], np.float32)
    back = dequantize(quantize(ends, scale, zero_point, scheme), scale, zero_point)
    assert back[0] == 0.0
    # The ends may fall half a step beyond the grid, because the zero point is an integer.
    assert np.all(np.abs(back - ends) <= 1.01 * scale)
    if scheme.symmetric and scheme.dtype.startswith("int"):
        assert zero_point == 0


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@given(values=st.lists(reals, min_size=1, max_size=20))
def test_rounding_errs_by_half_a_step_at_most(scheme: TensorScheme, values: list[float]) -> None:
    array = np.array(values, np.float32)
    scale, zero_point = scale_and_zero_point(array.min(), array.max(), scheme)
    back = dequantize(quantize(array, scale, zero_point, scheme), scale, zero_point)
    inside = np.abs(back - array) <= 0.5001 * scale + 1e-3 * np.abs(array)
    assert np.all(inside | (np.abs(array) >= np.abs(array).max() * 0.99))


@given(values=st.lists(reals, min_size=6, max_size=6))
def test_per_channel_equals_onnx(values: list[float]) -> None:
    scheme = TensorScheme(dtype="int8", symmetric=False, granularity="channel")
    array = np.array(values, np.float32).reshape(2, 3)
    scale, zero_point = scale_and_zero_point(array.min(axis=0), array.max(axis=0), scheme)
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], axis=1)
    tensors = [
        helper.make_tensor_value_info(name, kind, None)
        for name, kind in (("x", TensorProto.FLOAT), ("s", TensorProto.FLOAT), ("z", TensorProto.INT8))
    ]
    graph = helper.make_graph([node], "g", tensors, [helper.make_tensor_value_info("y", TensorProto.INT8, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    (expected,) = ReferenceEvaluator(model).run(None, {"x": array, "s": scale, "z": zero_point})
    assert np.array_equal(quantize(array, scale, zero_point, scheme, axis=1), expected)


@given(st.floats(1e-6, 1e3), st.integers(0, 255), st.sampled_from(["uint8", "int8"]))
def test_widening_changes_no_level_of_an_8_bit_grid(scale: float, zero: int, dtype: str) -> None:
    limits = np.iinfo(dtype)
    zero_point = np.array(zero + limits.min, dtype)
    narrow = (np.float32(scale), zero_point)
    wide = widened(np.asarray(narrow[0]), zero_point)
    levels = dequantize(np.arange(limits.min, limits.max + 1).astype(dtype), *map(np.asarray, narrow))
    scheme = TensorScheme(dtype=str(wide[1].dtype), symmetric=False, granularity="tensor")  # type: ignore[arg-type]
    np.testing.assert_array_equal(dequantize(quantize(levels, *wide, scheme), *wide), levels)


@given(arrays(np.float32, 50, elements=st.floats(-4, 4, width=32)), st.integers(0, 255))
def test_rounding_to_16_bit_first_moves_a_value_by_no_more_than_a_512th_of_a_step(
    values: NDArray[np.float32], zero: int
) -> None:
    scheme, step = TensorScheme(dtype="uint8", symmetric=False, granularity="tensor"), np.float32(0.02)
    narrow = (np.asarray(step), np.array(zero, np.uint8))
    wide = widened(*narrow)
    rounded = dequantize(quantize(values, *wide, scheme.model_copy(update={"dtype": "uint16"})), *wide)
    twice = dequantize(quantize(rounded, *narrow, scheme), *narrow)
    clipped = np.clip(values, (0 - zero) * step, (255 - zero) * step)
    assert np.abs(twice - clipped).max() <= step * (0.5 + 1 / 512) * (1 + 1e-4)
