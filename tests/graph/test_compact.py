from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edgekit.engines import OPTIMIZED_MODEL, new_session
from edgekit.graph.compact import compact, with_computed_scales, with_small_weights
from edgekit.graph.reference import ReferenceRun
from tests.rankers import CANDIDATES, network


def verbose() -> onnx.ModelProto:
    """A network with long names, recorded shapes, and two equal weights."""
    model = onnx.shape_inference.infer_shapes(network())
    for index, node in enumerate(model.graph.node):
        node.name = f"/network/blocks.{index}/a/very/long/name"
        node.doc_string = "where it comes from"
    model.producer_name = "an exporter"
    model.metadata_props.add(key="a", value="b")
    twin = onnx.TensorProto.FromString(
        next(one for one in model.graph.initializer if one.name == "b0").SerializeToString()
    )
    twin.name = "twin"
    model.graph.initializer.append(twin)
    model.graph.node[2].input[2] = "twin"
    return model


def test_it_computes_the_same() -> None:
    rows = np.random.default_rng(0).normal(size=(CANDIDATES, 20)).astype(np.float32)
    model = verbose()
    one, two = ReferenceRun(model)(rows), ReferenceRun(compact(model))(rows)
    np.testing.assert_array_equal(one["score"], two["score"])


def test_only_inputs_and_outputs_keep_their_names() -> None:
    model = compact(verbose())
    onnx.checker.check_model(model, full_check=True)
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("features", "score")
    assert not model.graph.value_info
    assert not model.metadata_props
    assert {node.name for node in model.graph.node} == {""}
    assert max(len(name) for node in model.graph.node for name in node.input if name != "features") == 1


def test_what_is_there_twice_is_stored_once() -> None:
    before, after = verbose(), compact(verbose())
    assert len(after.graph.initializer) == len(before.graph.initializer) - 1
    assert after.graph.node[2].input[2] == after.graph.node[0].input[2]
    assert after.ByteSize() < before.ByteSize() - 400


def test_the_model_that_is_given_stays_as_it_is() -> None:
    model = verbose()
    before = model.SerializeToString(deterministic=True)
    compact(model)
    assert model.SerializeToString(deterministic=True) == before


def test_a_weight_that_is_an_output_keeps_its_name() -> None:
    weight = numpy_helper.from_array(np.ones(2, np.float32), "constant")
    twin = numpy_helper.from_array(np.ones(2, np.float32), "other")
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "other"], ["y"])],
        "g",
        [info("x", 1, [2])],
        [info("y", 1, [2]), info("constant", 1, [2])],
        [twin, weight],
    )
    model = compact(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.output] == ["y", "constant"]
    assert "constant" in {one.name for one in model.graph.initializer}


@pytest.mark.parametrize("nodes", [3000])
def test_names_stay_apart_however_many_there_are(nodes: int) -> None:
    names = [f"value {index}" for index in range(nodes)]
    made = [helper.make_node("Relu", [one], [two]) for one, two in zip(["a", *names], [*names, "b"], strict=True)]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(made, "g", [info("a", 1, [1])], [info("b", 1, [1])])
    model = compact(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    outputs = [node.output[0] for node in model.graph.node]
    assert len(set(outputs)) == nodes + 1
    assert "a" not in outputs


def quantized() -> onnx.ModelProto:
    """A convolution whose bias is quantized."""
    constants = {
        "x_scale": np.float32(0.02),
        "x_zero": np.uint8(128),
        "w": np.random.default_rng(0).integers(-127, 128, (3, 2, 1, 1), np.int8),
        "w_scale": np.array([0.01, 0.02, 0.005], np.float32),
        "b": np.array([100, -2000, 31], np.int32),
        "b_scale": np.float32(0.02) * np.array([0.01, 0.02, 0.005], np.float32),
        "b_zero": np.zeros(3, np.int32),
        "y_scale": np.float32(0.05),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "x_scale", "x_zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale"], ["wd"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "b_scale", "b_zero"], ["bd"], axis=0),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "y_scale", "x_zero"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "y_scale", "x_zero"], ["y"]),
    ]
    for index, node in enumerate(nodes):
        node.name = f"node {index}"
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", 1, [1, 2, 1, 50])],
        [info("y", 1, [1, 3, 1, 50])],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_the_scale_of_a_bias_is_computed_where_it_is_a_product() -> None:
    model = quantized()
    changed = with_computed_scales(model)
    onnx.checker.check_model(changed, full_check=True)
    assert [node.op_type for node in changed.graph.node].count("Mul") == 1
    assert "b_scale" not in {one.name for one in changed.graph.initializer}
    values = np.random.default_rng(1).normal(size=(1, 2, 1, 50)).astype(np.float32)
    found = [ReferenceRun(each)(values)["y"] for each in (model, changed)]
    np.testing.assert_array_equal(*found)


def test_the_engine_fuses_it_as_before(tmp_path: Path) -> None:
    graphs = []
    for model in (quantized(), with_computed_scales(quantized())):
        new_session(onnxruntime, model.SerializeToString(), 1, trace=tmp_path)
        graphs.append([node.op_type for node in onnx.load(tmp_path / OPTIMIZED_MODEL).graph.node])
    assert graphs[0] == graphs[1]
    assert "QLinearConv" in graphs[0]


def test_a_scale_that_is_no_product_stays() -> None:
    model = quantized()
    scale = next(one for one in model.graph.initializer if one.name == "b_scale")
    scale.CopyFrom(numpy_helper.from_array(np.array([0.0002, 0.0004, 0.00011], np.float32), "b_scale"))
    assert with_computed_scales(model).SerializeToString() == model.SerializeToString()


def test_small_weights_change_little() -> None:
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(64, 32)).astype(np.float32)
    weights[:, 5] = 0
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Gemm", ["y", "v"], ["z"], transB=1)],
        "g",
        [info("x", 1, [8, 64])],
        [info("z", 1, [8, 40])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(rng.normal(size=(40, 32)).astype("f4"), "v")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    smaller = with_small_weights(model)
    onnx.checker.check_model(smaller, full_check=True)
    assert smaller.ByteSize() < 0.35 * model.ByteSize()
    values = rng.normal(size=(8, 64)).astype(np.float32)
    one, two = ReferenceRun(model)(values)["z"], ReferenceRun(smaller)(values)["z"]
    assert 0 < np.abs(one - two).max() < 0.02 * np.ptp(one)


def test_weights_that_are_small_already_or_few_stay() -> None:
    for model in (network(), quantized()):
        assert with_small_weights(model).SerializeToString() == model.SerializeToString()
