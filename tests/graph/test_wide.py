"""Nodes with 16-bit activations: where they are, how they meet 8 bit, and that engines compute them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from edgekit.calibration.ranges.observe import observe
from edgekit.calibration.scales import TensorScale, choose_scales, parameters_of
from edgekit.graph.clean import at_opset, clean
from edgekit.graph.placement import Placement, place, wide_key
from edgekit.graph.qdq import write_qdq
from edgekit.graph.reference import ReferenceRun
from edgekit.recipes import ScaleStep
from tests.graph.models import NetBuilder, joining_net, residual_net
from tests.graph.schemes import scheme

SHARED = ("MaxPool", "Concat", "Resize")
RULES = scheme(outputs=True, bias="int32", residual_add="full", share_scale=SHARED, higher_precision="int16")
ALL = ("stem_node", "first_node", "second_node", "third_node", "head_node")
Build = Callable[[], onnx.ModelProto]


def quantized(build: Build, keep: Sequence[str]) -> tuple[onnx.ModelProto, Placement, dict[str, TensorScale]]:
    model = at_opset(clean(build(), 17).model, 21)
    placement = place(model, RULES, keep)
    inputs = np.random.default_rng(3).uniform(-1, 1, (4, *ReferenceRun(model).input_shape)).astype(np.float32)
    names = dict.fromkeys([*(one.tensor for one in placement.activations), *placement.wide_tensors()])
    scales = choose_scales(
        model, placement, RULES, observe(model, list(names), inputs), ScaleStep(step="scale", activations="min-max")
    )
    return write_qdq(model, placement, RULES, parameters_of(scales)), placement, scales


def pairs(model: onnx.ModelProto) -> dict[str, tuple[str, np.dtype[np.generic]]]:
    """The tensor that each DequantizeLinear of an activation makes, with what is quantized and its dtype."""
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    source = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    return {
        node.output[0]: (source[node.input[0]], constants[node.input[2]].dtype)
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in source
    }


def read_by(model: onnx.ModelProto, name: str) -> str:
    return next(node.input[0] for node in model.graph.node if node.name == name)


def error(build: Build, keep: Sequence[str], output: str) -> float:
    values = np.random.default_rng(5).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    exact, coarse = ReferenceRun(build())(values)[output], ReferenceRun(quantized(build, keep)[0])(values)[output]
    return float(np.sqrt(np.mean((exact - coarse) ** 2)) / np.abs(exact).max())


def test_heads_are_wide_and_so_is_what_is_kept() -> None:
    assert [one.weight.node for one in quantized(residual_net, ())[1].wide] == ["head_node"]
    _, placement, _ = quantized(residual_net, ("first_node",))
    assert [one.weight.node for one in placement.wide] == ["first_node", "head_node"]
    assert placement.nodes["first_node"].precision == placement.nodes["head_node"].precision == "int16"


def test_matrix_products_are_kept_in_half_precision() -> None:
    net = NetBuilder()
    flat = net.node("Flatten", [net.node("Relu", [net.conv("image", (3, 2), "stem")], "stem_relu")], "flat")
    first = net.node("Relu", [net.node("Gemm", [flat, net.weight("first_w", 512, 8)], "first")], "first_relu")
    second = net.node("MatMul", [first, net.weight("second_w", 8, 8)], "second")
    head = net.node("MatMul", [second, net.weight("head_w", 8, 4)], "head")
    model = at_opset(clean(net.model(head), 17).model, 21)
    rules = RULES.model_copy(update={"operators": ("Conv", "Gemm", "MatMul")})
    placement = place(model, rules, ["stem_node", "first_node"])
    found = {name: node.precision for name, node in placement.nodes.items()}
    assert found == {"stem_node": "int16", "first_node": "fp16", "second_node": "int8", "head_node": "fp16"}
    assert [one.weight.node for one in placement.wide] == ["stem_node"]


@pytest.mark.parametrize("features, precision", [(2, "fp16"), (512, "int8")])
def test_products_that_do_little_of_the_work_are_left_in_half_precision(features: int, precision: str) -> None:
    net = NetBuilder()
    flat = net.node("Flatten", [net.node("Relu", [net.conv("image", (3, 2), "stem")], "stem_relu")], "flat")
    first = net.node("Relu", [net.node("Gemm", [flat, net.weight("first_w", 512, features)], "first")], "first_relu")
    model = net.model(net.node("MatMul", [first, net.weight("head_w", features, 4)], "head"))
    rules = RULES.model_copy(update={"operators": ("Conv", "Gemm", "MatMul"), "unless_minor": ("Gemm", "MatMul")})
    found = place(at_opset(clean(model, 17).model, 21), rules).nodes
    assert found["first_node"].precision == precision
    assert (found["first_node"].why == "kept: Gemm does little of the work here") == (precision == "fp16")


def test_other_higher_precisions_know_no_wide_nodes() -> None:
    model = at_opset(clean(residual_net(), 17).model, 21)
    assert place(model, RULES.model_copy(update={"higher_precision": "fp16"}), ALL).wide == ()


def test_what_is_stored_in_8_bit_is_widened_and_what_is_made_in_16_is_narrowed_for_the_others() -> None:
    model, _, _ = quantized(residual_net, ("first_node",))
    found = pairs(model)
    read = read_by(model, "first_node")
    assert found[read] == ("pooled_dequantized", np.uint16)
    assert found["pooled_dequantized"][1] == np.uint8
    assert found["first_relu_widened"] == ("first_relu", np.uint16)
    assert found["first_relu_dequantized"] == ("first_relu_widened", np.uint8)
    assert read_by(model, "second_node") == "first_relu_dequantized"


def test_two_wide_nodes_in_a_row_hand_over_16_bit() -> None:
    model, _, _ = quantized(residual_net, ALL)
    assert read_by(model, "second_node") == "first_relu_widened"
    assert {dtype for _, dtype in pairs(model).values()} == {np.dtype(np.uint16)}


def test_a_result_of_the_network_keeps_its_name_and_is_dequantized() -> None:
    model, _, _ = quantized(residual_net, ())
    assert [value.name for value in model.graph.output] == ["head"]
    assert pairs(model)["head"] == ("head_exact", np.uint16)


@pytest.mark.parametrize("keep", [(), ("first_node",), ALL])
def test_a_bias_has_the_scale_of_what_is_read_times_that_of_the_weights(keep: Sequence[str]) -> None:
    model, placement, _ = quantized(residual_net, keep)
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}
    nodes = {node.name: node for node in model.graph.node}
    biased = [nodes[one.weight.node] for one in placement.wide if one.weight.bias]
    assert biased or not keep
    for node in biased:
        activation, weight, bias = (constants[made[name].input[1]] for name in node.input)
        np.testing.assert_allclose(bias, np.broadcast_to(activation * weight, bias.shape), rtol=1e-6)


@pytest.mark.parametrize("build, keep", [(residual_net, ()), (residual_net, ("first_node",)), (joining_net, ())])
def test_onnx_and_onnxruntime_agree(build: Build, keep: Sequence[str]) -> None:
    model, _, _ = quantized(build, keep)
    onnx.checker.check_model(model, full_check=True)
    values = np.random.default_rng(5).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    evaluator = ReferenceEvaluator(model)
    expected = dict(zip(evaluator.output_names, evaluator.run(None, {"image": values}), strict=True))
    for name, actual in ReferenceRun(model)(values).items():
        np.testing.assert_allclose(actual, expected[name], atol=2e-2)


def test_16_bit_is_truer_than_8() -> None:
    assert error(residual_net, ALL, "head") < 0.85 * error(residual_net, (), "head")


def test_its_grid_is_wide_enough_for_all_that_was_seen() -> None:
    _, placement, scales = quantized(residual_net, ALL)
    for name in placement.wide_tensors():
        chosen = scales[wide_key(name)]
        assert (chosen.dtype, chosen.clipped_share) == ("uint16", 0.0)


def signed_join() -> onnx.ModelProto:
    """A Concat gives a Relu's result the grid of a signed tensor."""
    net = NetBuilder()
    rectified = net.node("Relu", [net.conv("image", (3, 8), "left")], "left_relu")
    joined = net.node("Concat", [rectified, net.conv("image", (3, 8), "right")], "joined", axis=1)
    deep = net.node("Relu", [net.conv(joined, (16, 8), "deep")], "deep_relu")
    return net.model(net.conv(deep, (8, 2), "head", kernel=1))


def test_a_relu_that_the_grid_does_not_clip_is_quantized_before_it_too_and_nothing_changes() -> None:
    model, _, _ = quantized(signed_join, ())
    doubled = [node for node in model.graph.node if node.op_type == "Relu" and node.input[0].endswith("_dequantized")]
    assert [node.output[0] for node in doubled] == ["left_relu"]
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    source = {node.output[0]: node.input[0] for node in model.graph.node if "Linear" in node.op_type}
    for node in plain.graph.node:
        if node.op_type == "Relu" and node.input[0].endswith("_dequantized"):
            node.input[0] = source[source[node.input[0]]]
    values = np.random.default_rng(5).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    (one,), (other,) = ReferenceRun(model)(values).values(), ReferenceRun(plain)(values).values()
    np.testing.assert_array_equal(one, other)
