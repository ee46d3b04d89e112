"""Operators with many attributes against ONNX Runtime, over combinations that nobody would write down."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgekit.graph.execute import TorchGraph
from edgekit.graph.reference import ReferenceRun
from tests.graph.operators.test_gradients import one_node, weights

SIZE = st.integers(5, 9)
SMALL = st.integers(1, 3)
PADS = st.lists(st.integers(0, 1), min_size=4, max_size=4)
TWO = st.tuples(SMALL, SMALL).map(list)


def agrees(model: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(2).uniform(-1, 1, shape).astype(np.float32)
    try:
        (wanted,) = ReferenceRun(model, threads=1)(values).values()
    except Exception:  # what ONNX Runtime refuses makes no sense; its exceptions share no base of their own
        assume(False)
    (result,) = TorchGraph(model)(values).values()
    assert tuple(result.shape) == wanted.shape
    np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-4, atol=1e-5)


def padding(draw: st.DrawFn) -> dict[str, Any]:
    auto_pad = draw(st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    return {"auto_pad": auto_pad} | ({"pads": draw(PADS)} if auto_pad == "NOTSET" else {})


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(["MaxPool", "AveragePool"]), SIZE, SIZE, TWO)
def test_pooling(data: st.DataObject, operator: str, height: int, width: int, strides: list[int]) -> None:
    attributes = padding(data.draw) | {
        "kernel_shape": data.draw(st.tuples(st.integers(2, 3), st.integers(2, 3)).map(list)),
        "strides": strides,
    }
    if attributes["auto_pad"] == "NOTSET":
        attributes |= {
            "ceil_mode": data.draw(st.integers(0, 1)),
            "dilations": data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)).map(list)),
        }
    if operator == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    shape = (1, 2, height, width)
    agrees(one_node(operator, shape, {}, **attributes), shape)


@settings(max_examples=40, deadline=None)
@given(st.data(), SIZE, SIZE, TWO, st.sampled_from([1, 2]))
def test_convolution(data: st.DataObject, height: int, width: int, strides: list[int], group: int) -> None:
    attributes = padding(data.draw) | {"strides": strides, "group": group}
    if attributes["auto_pad"] == "NOTSET":
        attributes["dilations"] = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)).map(list))
    shape = (1, 4, height, width)
    model = one_node("Conv", shape, {"w": weights(6, 4 // group, 2, 3), "b": weights(6)}, **attributes)
    agrees(model, shape)


@settings(max_examples=60, deadline=None)
@given(st.data(), SIZE, SIZE, TWO, st.sampled_from([1, 2]))
def test_transposed_convolution(data: st.DataObject, height: int, width: int, strides: list[int], group: int) -> None:
    attributes = padding(data.draw) | {"strides": strides, "group": group}
    if attributes["auto_pad"] == "NOTSET":
        attributes["dilations"] = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)).map(list))
        attributes["output_padding"] = [data.draw(st.integers(0, stride - 1)) for stride in strides]
        if data.draw(st.booleans()):
            attributes["output_shape"] = [height * strides[0] + 1, width * strides[1]]
            del attributes["pads"]
    shape = (1, 4, height, width)
    model = one_node("ConvTranspose", shape, {"w": weights(4, 3, 3, 2), "b": weights(3 * group)}, **attributes)
    agrees(model, shape)


@settings(max_examples=80, deadline=None)
@given(
    st.data(),
    st.sampled_from(["nearest", "linear", "cubic"]),
    st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]),
    st.tuples(SIZE, SIZE),
)
def test_resize(data: st.DataObject, mode: str, coordinates: str, sizes: tuple[int, int]) -> None:
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        roundings = ["round_prefer_floor", "round_prefer_ceil"]
        # The middle value falls onto an old one exactly; ONNX Runtime's last bit decides on which side of it.
        roundings += ["floor", "ceil"] if coordinates != "half_pixel_symmetric" else []
        attributes["nearest_mode"] = data.draw(st.sampled_from(roundings))
    if mode == "cubic":
        attributes |= {"exclude_outside": data.draw(st.integers(0, 1)), "cubic_coeff_a": -0.5}
    # 0.6 is no factor here: its new values fall on the borders between old ones, where the last bit decides.
    factors = st.sampled_from([0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0])
    scales = np.array([1, 1, data.draw(factors), data.draw(factors)], np.float32)
    shape = (1, 2, *sizes)
    agrees(one_node("Resize", shape, {"roi": None, "scales": scales}, **attributes), shape)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["constant", "reflect", "edge", "wrap"]),
    st.lists(st.integers(-1, 3), min_size=4, max_size=4),
)
def test_padding(mode: str, amounts: list[int]) -> None:
    # What a crop leaves for a mirror to see is where engines differ.
    assume(mode == "constant" or min(amounts) >= 0)
    pads = np.array([0, 0, *amounts[:2], 0, 0, *amounts[2:]])
    agrees(one_node("Pad", (1, 2, 6, 5), {"pads": pads, "value": np.float32(0.3)}, mode=mode), (1, 2, 6, 5))


@settings(max_examples=40, deadline=None)
@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-3, 3).filter(bool))
def test_slice(start: int, end: int, step: int) -> None:
    named = {"from": start, "to": end, "on": 2, "by": step}
    constants = {name: np.array([value]) for name, value in named.items()}
    agrees(one_node("Slice", (1, 2, 6, 5), constants), (1, 2, 6, 5))


def test_global_lp_pool() -> None:
    for p in (1, 2, 3):
        agrees(one_node("GlobalLpPool", (1, 2, 6, 5), {}, p=p), (1, 2, 6, 5))
