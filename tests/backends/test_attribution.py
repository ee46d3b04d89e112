from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.backends.attribution import Kernel, OnnxNodes


@pytest.fixture
def nodes() -> OnnxNodes:
    """Two convolutions in a row, each with a Relu, and a branch from between them."""
    made = [
        helper.make_node("Conv", ["image", "w1"], ["a"], name="conv1"),
        helper.make_node("Relu", ["a"], ["b"], name="relu1"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="conv2"),
        helper.make_node("Relu", ["c"], ["d"], name="relu2"),
        helper.make_node("Sigmoid", ["b"], ["e"], name="branch"),
    ]
    graph = helper.make_graph(
        made,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 4, 4))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("d", "e")],
    )
    model: onnx.ModelProto = helper.make_model(graph)
    return OnnxNodes(model)


def computed(nodes: OnnxNodes, *kernels: Kernel) -> list[tuple[str, ...]]:
    return nodes.computed_by(kernels, nodes.known_tensors(kernels))


def test_fused_kernel_has_all_nodes_between_its_tensors(nodes: OnnxNodes) -> None:
    first = Kernel("conv1", "FusedConv", ("image", "w1"), ("b",))
    second = Kernel("conv2", "FusedConv", ("b", "w2"), ("d",))
    assert computed(nodes, first, second) == [("conv1", "relu1"), ("conv2", "relu2")]


def test_node_belongs_to_one_kernel(nodes: OnnxNodes) -> None:
    found = computed(nodes, Kernel("x", "Fused", ("image",), ("e",)), Kernel("y", "Fused", ("b", "w2"), ("d",)))
    assert found == [("conv1", "relu1", "branch"), ("conv2", "relu2")]


def test_tensors_laid_out_anew_are_seen_through(nodes: OnnxNodes) -> None:
    kernels = [
        Kernel("b_nchwc", "Conv", ("image", "reorder"), ("token_1",)),
        Kernel("d_nchwc", "Conv", ("token_1", "reorder_2"), ("token_2",)),
        Kernel("ReorderOutput", "ReorderOutput", ("token_2",), ("d",)),
    ]
    assert computed(nodes, *kernels) == [("conv1", "relu1"), ("conv2", "relu2"), ()]


def test_transpose_of_the_model_itself_is_no_insertion() -> None:
    node = helper.make_node("Transpose", ["image"], ["out"], name="turn")
    model = helper.make_model(helper.make_graph([node], "small", [], []))
    assert computed(OnnxNodes(model), Kernel("turn", "Transpose", ("image",), ("out",))) == [("turn",)]


def test_names_are_the_same_whatever_the_engine_counts(nodes: OnnxNodes) -> None:
    one, other = (Kernel(f"conv1_token_{count}", "QLinearConv", ("image",), (f"t{count}",)) for count in (3, 17))
    assert nodes.stable_name(one, {}) == nodes.stable_name(other, {}) == "conv1"
    inserted = Kernel("Transpose_token_4", "Transpose", ("x",), ("d",))
    assert nodes.stable_name(inserted, nodes.known_tensors([inserted])) == "Transpose of d"


def test_names_of_nodes_and_tensors_are_found(nodes: OnnxNodes) -> None:
    assert nodes.called(["d", "conv1/WithoutBiases", "Multiply_4196", "conv1"]) == ("conv1", "relu2")


def test_position_is_that_of_the_model(nodes: OnnxNodes) -> None:
    assert nodes.position(Kernel("x", "Fused", (), ("d",)), {"d": "d"}) == 3
    assert nodes.position(Kernel("branch", "Sigmoid", (), ("t",)), {}) == 4
    assert nodes.position(Kernel("x", "Fused", (), ("t",)), {}) == -1
