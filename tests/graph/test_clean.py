from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.errors import ModelError
from edgekit.graph.clean import at_opset, clean, largest_difference, opset_of
from edgekit.graph.cost import tensor_shapes
from edgekit.graph.read import read_model
from tests.graph.models import batchnorm_net, joining_net, residual_net

REAL = ["lstr-culane", "quantlanenet-tusimple", "pinetq", "twinlitenet-bdd100k"]


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("name", REAL)
def test_real_models_stay_the_same(shared_lanes: Path, name: str, opset: int) -> None:
    model = read_model(shared_lanes / "models" / name / "model.onnx")
    cleaned = clean(model, opset)
    assert opset_of(cleaned.model) == opset
    assert cleaned.largest_difference < 1e-5
    onnx.checker.check_model(cleaned.model, full_check=True)


def test_batchnorm_is_fused_into_conv_and_conv_transpose() -> None:
    cleaned = clean(batchnorm_net(), 17)
    assert [node.op_type for node in cleaned.model.graph.node] == ["Conv", "Relu", "ConvTranspose", "Mul"]
    assert "2 BatchNormalization fused" in cleaned.changes
    assert cleaned.largest_difference < 1e-5


def test_every_node_has_its_own_name_and_every_tensor_its_shape() -> None:
    model = joining_net()
    for node in model.graph.node:
        node.name = ""
    cleaned = clean(model, 17).model
    names = [node.name for node in cleaned.graph.node]
    assert len(set(names)) == len(names)
    shapes = tensor_shapes(cleaned)
    assert shapes["joined"] == (1, 16, 16, 16)
    assert all(name in shapes for node in cleaned.graph.node for name in node.output)


def test_an_opset_beyond_the_one_asked_for_is_left() -> None:
    raised = at_opset(clean(residual_net(), 17).model, 21)
    assert opset_of(raised) == 21
    assert opset_of(clean(raised, 17).model) == 21


@pytest.mark.parametrize("name", REAL)
def test_raising_the_opset_keeps_names_and_adds_no_constant_nodes(shared_lanes: Path, name: str) -> None:
    cleaned = clean(read_model(shared_lanes / "models" / name / "model.onnx"), 17).model
    raised = at_opset(cleaned, 21)
    names = [node.name for node in raised.graph.node]
    assert len(set(names)) == len(names)
    assert {node.name for node in cleaned.graph.node} <= set(names)
    assert "" not in names
    assert "Constant" not in {node.op_type for node in raised.graph.node}


def test_a_model_that_computes_something_else_is_noticed() -> None:
    model, other = residual_net(), residual_net()
    weight = other.graph.initializer[0]
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += np.float32(0.5)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    assert largest_difference(model, model) == 0
    assert largest_difference(model, other) > 1e-3


def test_shapes_that_depend_on_values_are_refused() -> None:
    model = residual_net()
    model.graph.node.append(onnx.helper.make_node("NonZero", ["head"], ["where"], name="where_node"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("where", onnx.TensorProto.INT64, None))
    with pytest.raises(ModelError, match="depend on the input's values"):
        clean(model, 17)
