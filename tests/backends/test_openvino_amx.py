from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.backends.openvino_amx import Row, equal, rewrite_convolutions
from edgekit.backends.openvino_core import import_openvino
from edgekit.targets import cpu_flags
from tests.backends.rows import OUTPUT_STEP, Convolution

openvino = pytest.importorskip("openvino", reason="OpenVINO comes with the extra 'openvino'")

WIDE = [
    Convolution(16, (3, 40), (8, 40)),
    Convolution(16, (2, 8), (3, 12)),
    Convolution(8, (3, 16), (6, 20), pads=(2, 1)),
    Convolution(24, (2, 8), (3, 12), zero_point=5),
    Convolution(4, (3, 32), (5, 40)),
    Convolution(8, (2, 16), (3, 40), dilation=2),
    Convolution(16, (3, 16), (5, 20), groups=2),
]
SINGLE = [
    Convolution(32, (3, 3), (9, 3), stride=2),
    Convolution(48, (2, 28), (6, 28), stride=2, pads=(0, 1)),
    Convolution(20, (3, 12), (9, 34), stride=2, dilation=3, pads=(0, 1)),
    Convolution(16, (3, 7), (9, 8), stride=2),
    Convolution(8, (3, 8), (9, 16), stride=2, dilation=2),
]


def row(one: Convolution) -> Row:
    return Row(one.channels, one.size[1], one.kernel[1], one.stride, one.dilation, one.pads)


@pytest.mark.parametrize("one", [*WIDE, *SINGLE], ids=str)
def test_what_amx_computes_wrong_is_rewritten_and_right(one: Convolution) -> None:
    assert equal(row(one), 64) != row(one)
    found, _ = one.by_openvino(rewritten=True)
    assert found.shape == one.expected().shape
    assert np.abs(found - one.expected()).max() <= 1.001 * OUTPUT_STEP


@pytest.mark.skipif("amx_bf16" not in cpu_flags(), reason="this CPU has no AMX")
def test_bf16_of_wide_kernels_is_right() -> None:
    one = Convolution(8, (3, 16), (6, 20), quantized=False)
    expected = one.expected()
    found, kernel = one.by_openvino(rewritten=True, precision="bf16")
    assert "amx_bf16" in kernel
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


@st.composite
def rows(draw: st.DrawFn) -> Row:
    kernel, dilation = draw(st.integers(1, 48)), draw(st.integers(1, 3))
    pads = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    least = max(1, (kernel - 1) * dilation + 1 - sum(pads))
    width = draw(st.integers(least, least + 12))
    channels = draw(st.sampled_from([1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 32, 48, 64]))
    return Row(channels, width, kernel, draw(st.integers(1, 3)), dilation, pads)


@settings(max_examples=1000)
@given(rows(), st.sampled_from([0, 32, 64]))
def test_equal_rows_have_as_many_results_and_are_computed_right(one: Row, values: int) -> None:
    found = equal(one, values)
    assert found.results == one.results
    assert equal(found, values) == found
    assert min(found.pads) >= 0
    assert found.kernel - one.kernel in (0, 1, 2, 3)
    packed = found.channels * found.kernel
    assert not values or 2 * found.channels >= values or packed % values or packed == values


@given(rows())
def test_in_f32_nothing_is_rewritten(one: Row) -> None:
    assert equal(one, 0) == one


@st.composite
def rewritten(draw: st.DrawFn) -> Convolution:
    """Draw a convolution of a kind that is rewritten, over an image that is as wide as its kernel or wider."""
    channels, dilation = draw(st.sampled_from([4, 8, 12, 16, 20, 24, 28])), draw(st.integers(1, 2))
    single = draw(st.booleans())
    # The least number of columns that fill whole rows of 64 values, and a few times as many.
    columns = 64 // math.gcd(channels, 64)
    kernel = draw(st.integers(2, 40)) if single else columns * draw(st.integers(1 + (columns * channels == 64), 4))
    pads = draw(st.sampled_from([(0, 0), (1, 0), (0, 1)]))
    spare = draw(st.integers(sum(pads), 1 if single else 9))
    return Convolution(
        channels,
        (3, kernel),
        (5, (kernel - 1) * dilation + 1 + spare - sum(pads)),
        stride=2 if single else 1,
        dilation=dilation,
        pads=pads,
        zero_point=draw(st.sampled_from([0, 3])),
    )


@settings(max_examples=40, deadline=None)
@given(rewritten())
def test_equal_rows_give_the_same_results(one: Convolution) -> None:
    """Held against ONNX Runtime, on whatever CPU this is."""
    assert equal(row(one), 64) != row(one)
    values, _ = one.by_openvino(rewritten=True)
    assert np.abs(values - one.expected()).max() <= 1.001 * OUTPUT_STEP


def test_names_stay() -> None:
    network = import_openvino().Core().read_model(WIDE[0].model())
    before = {node.get_friendly_name() for node in network.get_ordered_ops()}
    rewrite_convolutions(openvino, network, "f32")
    assert {node.get_friendly_name() for node in network.get_ordered_ops()} == before
    assert [port.get_any_name() for port in network.outputs] == ["y"]


def kernels(image: Any, *weights: Any, inputs: Sequence[Any] = ()) -> list[int]:
    """Columns of the kernels of convolutions with these weights, after the rewriting."""
    opset = openvino.opset1
    made = [opset.convolution(image, one, [1, 1], [0, 0], [0, 0], [1, 1]) for one in weights]
    network = openvino.Model(made, [image, *inputs])
    rewrite_convolutions(openvino, network, "bf16")
    found = [node for node in network.get_ordered_ops() if node.get_type_name() == "Convolution"]
    return [node.get_input_shape(1)[-1] for node in found]


def test_weights_that_are_not_a_convolutions_own_are_left_alone() -> None:
    opset, ones = openvino.opset1, np.ones((2, 8, 1, 16), np.float32)
    image, computed = opset.parameter([1, 8, 4, 20]), opset.parameter([2, 8, 1, 16])
    shared = openvino.op.Constant(ones)
    assert kernels(image, shared, shared) == [16, 16]
    assert kernels(image, computed, inputs=[computed]) == [16]
    assert kernels(image, opset.multiply(openvino.op.Constant(ones), openvino.op.Constant(2 * ones))) == [16]
    flat = openvino.op.Constant(np.ones((1, 16, 1, 16), np.float32))
    assert kernels(image, opset.reshape(flat, openvino.op.Constant(np.array([2, 8, 1, 16])), False)) == [16]


def test_weights_scaled_by_column_are_left_alone() -> None:
    opset = openvino.opset1
    stored = opset.convert(openvino.op.Constant(np.ones((2, 8, 1, 16), np.int8)), "f32")
    by_column = openvino.op.Constant(np.ones((1, 1, 1, 16), np.float32))
    assert kernels(opset.parameter([1, 8, 4, 20]), opset.multiply(stored, by_column)) == [16]


def test_unknown_widths_are_left_alone() -> None:
    weights = openvino.op.Constant(np.ones((2, 8, 1, 16), np.float32))
    assert kernels(openvino.opset1.parameter([1, 8, 4, -1]), weights) == [16]


def test_own_weights_are_widened() -> None:
    weights = openvino.op.Constant(np.ones((2, 8, 1, 16), np.float32))
    assert kernels(openvino.opset1.parameter([1, 8, 4, 20]), weights) == [17]
