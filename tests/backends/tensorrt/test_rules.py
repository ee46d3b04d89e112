from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.backends.tensorrt.rules import check
from edgekit.targets import load_target
from tests.backends import models
from tests.graph.models import joining_net, residual_net
from tests.graph.quantized import image, quantized

SCHEME = load_target("nvidia-rtx-sm86").scheme


def good(net: Callable[[], onnx.ModelProto] = residual_net) -> onnx.ModelProto:
    return quantized(net(), SCHEME, image())


def constant(model: onnx.ModelProto, name: str, change: Callable[[Any], Any]) -> None:
    tensor = next(each for each in model.graph.initializer if each.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(change(numpy_helper.to_array(tensor))), name))


def node(model: onnx.ModelProto, kind: str, index: int = 0) -> onnx.NodeProto:
    return [each for each in model.graph.node if each.op_type == kind][index]


def refused(model: onnx.ModelProto) -> list[str]:
    return [str(violation) for violation in check(model) if violation.refused]


def advised(model: onnx.ModelProto) -> list[str]:
    return [str(violation) for violation in check(model) if not violation.refused]


@pytest.mark.parametrize("net", [residual_net, joining_net])
def test_what_edgekit_writes_keeps_the_rules(net: Callable[[], onnx.ModelProto]) -> None:
    assert refused(good(net)) == []
    assert [violation for violation in check(good(net)) if "adds" in violation.message] == []


def test_a_zero_point() -> None:
    model = good()
    pair = node(model, "QuantizeLinear")
    constant(model, pair.input[2], lambda values: values + 3)
    assert f"{pair.name} has a zero point that is not 0: TensorRT quantizes symmetrically" in refused(model)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_another_integer(dtype: type[Any]) -> None:
    model = onnx.load_model_from_string(models.quantized_conv(dtype, zero_point=0))
    assert any(f"is in {np.dtype(dtype)}: TensorRT takes int8" in told for told in refused(model))


def test_a_quantized_bias() -> None:
    model = onnx.load_model_from_string(models.quantized_conv(np.int8, zero_point=0, bias="int32"))
    assert refused(model) == ["bias dequantizes the 32-bit integers b: a bias has to be floating point"]


def test_an_activation_per_channel() -> None:
    model = good()
    pair = node(model, "QuantizeLinear")
    constant(model, pair.input[1], lambda scale: np.full(3, scale))
    assert any(
        told.startswith(f"{pair.name} has 3 scales: TensorRT quantizes an activation per") for told in refused(model)
    )


def test_weights_along_another_axis() -> None:
    model = good()
    weights = next(each for each in model.graph.node if each.name == "first_w_dequantized_DequantizeLinear")
    next(attribute for attribute in weights.attribute if attribute.name == "axis").i = 1
    assert refused(model) == [f"{weights.name} scales first_w_quantized along axis 1: output channels lie on axis 0"]


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_a_scale_that_is_none(value: float) -> None:
    model = good()
    constant(model, node(model, "QuantizeLinear").input[1], lambda scale: np.float32(value))
    assert any("has a scale that is not positive" in told for told in refused(model))


def test_a_scale_that_is_computed() -> None:
    model = good()
    pair = node(model, "QuantizeLinear")
    model.graph.node.insert(0, onnx.helper.make_node("Identity", [pair.input[1]], ["computed"]))
    pair.input[1] = "computed"
    assert f"{pair.name} computes its scale computed: TensorRT needs a constant" in refused(model)


def test_an_add_whose_other_branch_is_not_quantized_is_not_refused_but_told() -> None:
    model = good()
    add = node(model, "Add")
    slot = next(slot for slot, name in enumerate(add.input) if "dequantized" in name)
    add.input[slot] = "pooled"
    assert refused(model) == []
    assert advised(model) == ["added_node adds pooled, which is not quantized, to a result in 8 bit: it is not fused"]


def test_a_concat_of_other_scales_is_not_refused_but_told() -> None:
    share = {"outputs": True, "share_scale": (*SCHEME.share_scale, "Concat")}
    model = quantized(joining_net(), SCHEME.model_copy(update=share), image())
    assert advised(model) == []
    join = node(model, "Concat")
    branch = next(each for each in model.graph.node if each.output[0] == join.input[0])
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "another"))
    branch.input[1] = "another"
    assert refused(model) == []
    (told,) = advised(model)
    assert told.startswith(f"{join.name} joins inputs of other scales (0.5, ")
