from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from edgekit.errors import ModelError
from edgekit.graph.clean import clean
from edgekit.graph.half import to_half
from tests.graph.models import joining_net, residual_net
from tests.graph.quantized import RULES, image, quantized


def outputs(model: onnx.ModelProto) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"image": image()}))


@pytest.mark.parametrize("net", [residual_net, joining_net])
@pytest.mark.parametrize("eight_bit", [False, True])
def test_it_computes_the_same_but_for_rounding(net: Callable[[], onnx.ModelProto], eight_bit: bool) -> None:
    model = quantized(net(), RULES["inputs"], image()) if eight_bit else clean(net(), 21).model
    half = to_half(model)
    onnx.checker.check_model(half, full_check=True)
    for one, two in zip(outputs(model), outputs(half), strict=True):
        assert one.dtype == two.dtype == np.float32
        assert 0 < np.abs(one - two).max() <= (0.04 if eight_bit else 0.005) * np.ptp(one)


def test_nothing_but_inputs_and_outputs_stays_in_float32() -> None:
    half = to_half(quantized(joining_net(), RULES["inputs"], image()))
    resize = {name for node in half.graph.node if node.op_type == "Resize" for name in node.input[1:3]}
    wide = {tensor.name for tensor in half.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    assert wide <= resize
    assert [node.op_type for node in half.graph.node if node.op_type == "Cast"] == ["Cast"] * 3


def test_values_that_float16_has_not_become_the_nearest() -> None:
    model = quantized(residual_net(), RULES["inputs"], image())
    scale = next(node for node in model.graph.node if node.name == "third_w_dequantized_DequantizeLinear").input[1]
    for tensor in model.graph.initializer:
        if tensor.name == scale:
            tensor.CopyFrom(numpy_helper.from_array(np.full(8, 1e-20, np.float32), scale))
        if tensor.name == "third_b":
            tensor.CopyFrom(numpy_helper.from_array(np.full(8, 1e9, np.float32), "third_b"))
    half = {tensor.name: numpy_helper.to_array(tensor) for tensor in to_half(model).graph.initializer}
    assert (half[scale] == np.finfo(np.float16).smallest_subnormal).all()
    assert (half["third_b"] == np.finfo(np.float16).max).all()


def test_the_model_given_is_left_as_it_is() -> None:
    model = clean(residual_net(), 21).model
    before = model.SerializeToString()
    to_half(model)
    assert model.SerializeToString() == before


def test_an_opset_without_half_precision_scales_is_refused() -> None:
    with pytest.raises(ModelError, match="opset 17; needed is 19"):
        to_half(quantized(residual_net(), RULES["signed"], image()))
