from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes import common as passes

from edgekit.graph.clean import clean, largest_difference
from edgekit.graph.dead import NOTHING, cut_dead_branches
from edgekit.graph.read import read_model


def attention_net(gamma: float, to_output: bool = False) -> onnx.ModelProto:
    """A residual branch of attention, let through by a learned factor: x + gamma * softmax(x x^T) x."""
    nodes = [
        helper.make_node("Transpose", ["image"], ["turned"], "turn", perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["image", "turned"], ["energy"], "energy"),
        helper.make_node("Softmax", ["energy"], ["share"], "share"),
        helper.make_node("MatMul", ["share", "image"], ["mixed"], "mix"),
        helper.make_node("Mul", ["mixed", "gamma"], ["let_through"], "gate"),
        helper.make_node("Add", ["let_through", "image"], ["head" if to_output else "sum"], "add"),
    ]
    nodes += [] if to_output else [helper.make_node("Relu", ["sum"], ["head"], "relu")]
    shape = [1, 3, 8, 8]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("head", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array([gamma], np.float32), "gamma")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("gamma", [0.0, -4.35e-20, NOTHING / 2])
def test_a_branch_that_decayed_to_nothing_is_cut_off(gamma: float) -> None:
    model = attention_net(gamma)
    cleaned = clean(model, 17)
    assert operators(cleaned.model) == ["Relu"]
    assert largest_difference(model, cleaned.model) == 0.0
    assert "1 branches of zeros cut off" in cleaned.changes


@pytest.mark.parametrize("gamma", [NOTHING * 2, 1e-8, 0.5])
def test_a_branch_that_may_count_stays(gamma: float) -> None:
    assert operators(clean(attention_net(gamma), 17).model) == operators(attention_net(gamma))


def test_an_output_of_the_network_keeps_its_name() -> None:
    cleaned = clean(attention_net(0.0, to_output=True), 17).model
    assert [value.name for value in cleaned.graph.output] == ["head"]
    assert largest_difference(attention_net(0.0, to_output=True), cleaned) == 0.0


def test_an_add_that_broadcasts_is_not_skipped() -> None:
    """Zeros of the larger shape still decide the shape of the result."""
    nodes = [
        helper.make_node("Mul", ["image", "nothing"], ["zeros"], "zero"),
        helper.make_node("ReduceMean", ["image"], ["mean"], "mean", axes=[2, 3], keepdims=1),
        helper.make_node("Add", ["zeros", "mean"], ["sum"], "add"),
        helper.make_node("Relu", ["sum"], ["head"], "relu"),
    ]
    graph = helper.make_graph(
        nodes,
        "broadcast",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("head", TensorProto.FLOAT, [1, 3, 8, 8])],
        [numpy_helper.from_array(np.array([0.0], np.float32), "nothing")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert operators(clean(model, 17).model) == operators(model)


def test_a_convolution_without_weights_but_with_a_bias_is_no_zero() -> None:
    weights = np.full((3, 3, 1, 1), 1e-30, np.float32)
    for bias, skipped in ((0.0, 1), (1.0, 0)):
        nodes = [
            helper.make_node("Conv", ["image", "w", "b"], ["branch"], "conv"),
            helper.make_node("Add", ["image", "branch"], ["sum"], "add"),
            helper.make_node("Relu", ["sum"], ["head"], "relu"),
        ]
        values = [("w", weights), ("b", np.full(3, bias, np.float32))]
        graph = helper.make_graph(
            nodes,
            "conv",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
            [helper.make_tensor_value_info("head", TensorProto.FLOAT, [1, 3, 8, 8])],
            [numpy_helper.from_array(array, name) for name, array in values],
        )
        model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
        passes.ShapeInferencePass()(model)
        assert cut_dead_branches(model) == skipped
        assert not model.graph.initializers["w"].const_value.numpy().any()


def test_the_dead_attention_of_a_real_network_goes(shared_lanes: Path) -> None:
    model = read_model(shared_lanes / "models" / "twinlitenet-bdd100k" / "model.onnx")
    names = {node.name for node in clean(model, 17).model.graph.node}
    assert not any(name.startswith("/encoder/sa/") for name in names)
    assert any(name.startswith("/encoder/sc/") for name in names)
