from __future__ import annotations

import pytest

from edgekit.graph.clean import clean
from edgekit.graph.placement import Placement, place
from tests.graph.models import batchnorm_net, joining_net, residual_net
from tests.graph.schemes import scheme


def tensors(placement: Placement) -> list[str]:
    return [activation.tensor for activation in placement.activations]


def groups(placement: Placement) -> set[frozenset[str]]:
    members: dict[str, set[str]] = {}
    for activation in placement.activations:
        members.setdefault(activation.group, set()).add(activation.tensor)
    return {frozenset(group) for group in members.values()}


def test_only_inputs_of_quantized_nodes_are_quantized() -> None:
    placement = place(residual_net(), scheme())
    assert tensors(placement) == ["image", "pooled", "first_relu", "block", "third_relu"]
    assert [weight.tensor for weight in placement.weights] == ["stem_w", "first_w", "second_w", "third_w", "head_w"]


def test_a_reader_in_floating_point_keeps_the_exact_value() -> None:
    pooled = next(one for one in place(residual_net(), scheme()).activations if one.tensor == "pooled")
    assert [(reader.node, reader.slot) for reader in pooled.readers] == [("first_node", 0)]


def test_an_engine_that_needs_outputs_gets_them_behind_the_fused_relu() -> None:
    placement = place(residual_net(), scheme(outputs=True))
    assert tensors(placement) == ["image", "stem_relu", "pooled", "first_relu", "second", "block", "third_relu"]
    assert placement.nodes["head_node"].precision == "fp32"
    assert "head" in placement.nodes["head_node"].why
    pooled = next(one for one in placement.activations if one.tensor == "pooled")
    assert {reader.node for reader in pooled.readers} == {"first_node", "added_node"}


def test_max_pool_shares_the_scale_of_its_input() -> None:
    placement = place(residual_net(), scheme(share_scale=("MaxPool",)))
    assert frozenset({"stem_relu", "pooled"}) in groups(placement)


def test_concat_and_resize_share_one_scale_across_the_join() -> None:
    placement = place(joining_net(), scheme(share_scale=("MaxPool", "Concat", "Resize")))
    shared = frozenset({"stem_relu", "low", "deep_relu", "high", "joined"})
    assert groups(placement) == {shared, frozenset({"image"}), frozenset({"mixed_relu"})}


def test_a_residual_add_quantizes_one_branch_for_tensorrt() -> None:
    placement = place(residual_net(), scheme(residual_add="branch"))
    assert "second" not in tensors(placement)
    pooled = next(one for one in placement.activations if one.tensor == "pooled")
    assert {(reader.node, reader.slot) for reader in pooled.readers} == {("first_node", 0), ("added_node", 1)}


def test_a_residual_add_in_8_bit_has_all_sides_quantized() -> None:
    placement = place(residual_net(), scheme(residual_add="full"))
    assert {"second", "pooled", "block"} <= set(tensors(placement))


def test_named_nodes_are_kept() -> None:
    placement = place(residual_net(), scheme(), keep=["second_node"])
    assert placement.nodes["second_node"].precision == "fp32"
    assert "first_relu" not in tensors(placement)


def test_operators_outside_the_rules_are_kept_and_say_so() -> None:
    model = clean(batchnorm_net(), 17).model
    placement = place(model, scheme(operators=("Conv",)))
    why = {node.why for node in placement.nodes.values() if node.precision == "fp32"}
    assert why == {"kept: the target's rules leave ConvTranspose as it is"}


def test_weight_axes_are_those_of_output_channels() -> None:
    placement = place(clean(batchnorm_net(), 17).model, scheme())
    assert [weight.axis for weight in placement.weights] == [0, 1]


@pytest.mark.parametrize("bias", ["float", "int32"])
def test_a_bias_is_quantized_where_the_target_says_so(bias: str) -> None:
    weights = place(residual_net(), scheme(bias=bias)).weights
    assert [weight.bias for weight in weights] == (
        ["stem_b", "first_b", "second_b", "third_b", "head_b"] if bias == "int32" else [None] * 5
    )
