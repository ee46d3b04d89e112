from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnx import numpy_helper

from edgekit.errors import UsageError
from edgekit.graph.channels import FIXED, ChannelGroups
from edgekit.graph.clean import at_opset, clean, largest_difference
from edgekit.graph.equalize import channel_groups, scaled
from edgekit.graph.read import read_model
from tests.graph.models import NetBuilder, batchnorm_net, joining_net, residual_net

Between = Callable[[NetBuilder, str], str]

F32 = np.float32


def constant(net: NetBuilder, name: str, *values: float, dtype: type = np.int64) -> str:
    return net.constant(name, np.array(values, dtype))


CARRIERS: dict[str, Between] = {
    "Relu": lambda net, x: net.node("Relu", [x], "y"),
    "LeakyRelu": lambda net, x: net.node("LeakyRelu", [x], "y", alpha=0.3),
    "PRelu": lambda net, x: net.node("PRelu", [x, net.weight("slope", 8, 1, 1)], "y"),
    "Clip at 0": lambda net, x: net.node("Clip", [x, net.constant("zero", np.array(0, F32))], "y"),
    "MaxPool": lambda net, x: net.node("MaxPool", [x], "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "AveragePool": lambda net, x: net.node("AveragePool", [x], "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "GlobalAveragePool": lambda net, x: net.node("GlobalAveragePool", [x], "y"),
    "ReduceMean": lambda net, x: net.node("ReduceMean", [x], "y", axes=[2, 3]),
    "Resize": lambda net, x: net.node(
        "Resize", [x, "", constant(net, "by", 1, 1, 2, 2, dtype=F32)], "y", mode="linear"
    ),
    "Pad": lambda net, x: net.node("Pad", [x, constant(net, "pads", 0, 0, 1, 2, 0, 0, 0, 1)], "y"),
    "Pad by reflection": lambda net, x: net.node(
        "Pad", [x, constant(net, "pads", 0, 0, 1, 2, 0, 0, 0, 1)], "y", mode="reflect"
    ),
    "Mul": lambda net, x: net.node("Mul", [net.weight("by", 8, 1, 1), x], "y"),
    "Div": lambda net, x: net.node("Div", [x, net.weight("by", 1, positive=True)], "y"),
    "Mul by a gate": lambda net, x: net.node("Mul", [x, net.node("Sigmoid", ["image_gate"], "gate")], "y"),
    "Add of a constant": lambda net, x: net.node("Add", [x, net.weight("bias", 8, 1, 1)], "y"),
    "Sub from a constant": lambda net, x: net.node("Sub", [net.weight("bias", 1), x], "y"),
    "Add of itself": lambda net, x: net.node("Add", [x, net.node("Relu", [x], "relu")], "y"),
    "Max of branches": lambda net, x: net.node("Max", [x, net.node("Neg", [x], "minus")], "y"),
    "BatchNormalization": lambda net, x: net.node(
        "BatchNormalization",
        [x, *(net.weight(part, 8) for part in ("scale", "shift", "mean")), net.weight("variance", 8, positive=True)],
        "y",
    ),
    "depthwise Conv": lambda net, x: net.node(
        "Conv", [x, net.weight("dw", 8, 1, 3, 3), net.weight("db", 8)], "y", group=8, pads=[1] * 4
    ),
    "Conv in groups": lambda net, x: net.node("Conv", [x, net.weight("gw", 8, 4, 1, 1)], "y", group=2),
    "ConvTranspose": lambda net, x: net.node(
        "ConvTranspose", [x, net.weight("tw", 8, 8, 2, 2), net.weight("tb", 8)], "y", strides=[2, 2]
    ),
    "ConvTranspose in groups": lambda net, x: net.node(
        "ConvTranspose", [x, net.weight("tw", 8, 4, 2, 2)], "y", group=2
    ),
    "Concat": lambda net, x: net.node(
        "Slice",
        [
            net.node("Concat", ["image", x], "joined", axis=1),
            *(constant(net, n, v) for n, v in (("s", 2), ("e", 10), ("a", 1))),
        ],
        "y",
    ),
    "Split": lambda net, x: _split(net, x),
}
BREAKERS: dict[str, Between] = {
    "Sigmoid": lambda net, x: net.node("Sigmoid", [x], "y"),
    "Clip from above": lambda net, x: net.node(
        "Clip", [x, net.constant("zero", np.array(0, F32)), net.constant("six", np.array(6, F32))], "y"
    ),
    "Clip below 0": lambda net, x: net.node("Clip", [x, net.constant("low", np.array(-1, F32))], "y"),
    "Softmax": lambda net, x: net.node("Softmax", [x], "y", axis=1),
    "Pad with 1": lambda net, x: net.node(
        "Pad", [x, constant(net, "pads", 0, 0, 1, 1, 1, 1, 1, 1)[:], net.constant("one", np.array(1, F32))], "y"
    ),
    "Add of the image's mean": lambda net, x: net.node(
        "Add", [x, net.node("ReduceMean", ["image"], "mean", axes=[1])], "y"
    ),
    "Mul of branches": lambda net, x: net.node("Mul", [x, net.node("Relu", [x], "relu")], "y"),
    "Max with 1": lambda net, x: net.node("Max", [x, net.constant("one", np.array([1], F32))], "y"),
    "Transpose": lambda net, x: net.node("Transpose", [x], "y", perm=[0, 2, 1, 3]),
    "Div by it": lambda net, x: net.node("Div", [net.constant("one", np.array([1], F32)), x], "y"),
}


def _split(net: NetBuilder, x: str) -> str:
    net._nodes.append(onnx.helper.make_node("Split", [x], ["one", "two"], name="split", axis=1))
    return net.node("Concat", ["two", "one"], "y", axis=1)


def between(part: Between) -> onnx.ModelProto:
    """Conv -> part -> Conv, where the part gives 8 channels as it gets them."""
    net = NetBuilder()
    x = net.conv("image", (3, 8), "first")
    if part is CARRIERS["Mul by a gate"]:
        net.node("GlobalAveragePool", [net.conv("image", (3, 8), "gating")], "image_gate")
    y = part(net, x)
    channels = 16 if y == "y" and part is BREAKERS["Transpose"] else 8
    return net.model(net.conv(y, (channels, 4), "last", kernel=1))


def drawn(groups: ChannelGroups, seed: int) -> dict[str, np.ndarray]:
    return groups.factors(np.exp(np.random.default_rng(seed).normal(0, 1.5, groups.count)))


@pytest.mark.parametrize("operator", CARRIERS)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_factors_pass_and_nothing_changes(operator: str, seed: int) -> None:
    model = between(CARRIERS[operator])
    groups = channel_groups(model)
    assert np.any(groups.opened["first_node"] != FIXED)
    changed = scaled(model, drawn(groups, seed))
    onnx.checker.check_model(changed, full_check=True)
    before, after = ({w.name: numpy_helper.to_array(w) for w in m.graph.initializer} for m in (model, changed))
    assert not np.allclose(before["first_w"], after["first_w"])
    assert largest_difference(model, changed) < 1e-5


@pytest.mark.parametrize("operator", BREAKERS)
def test_other_operators_fix_the_factors(operator: str) -> None:
    groups = channel_groups(between(BREAKERS[operator]))
    assert np.all(groups.opened["first_node"] == FIXED)
    assert not drawn(groups, 0)


@pytest.mark.parametrize("build", [residual_net, joining_net, batchnorm_net])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whole_networks_stay_the_same(build: Callable[[], onnx.ModelProto], seed: int) -> None:
    model = build()
    changed = scaled(model, drawn(channel_groups(model), seed))
    assert changed != model
    assert largest_difference(model, changed) < 1e-5


def test_a_residual_ties_both_branches_and_outputs_are_fixed() -> None:
    groups = channel_groups(residual_net())
    assert np.array_equal(groups.opened["stem_node"], groups.opened["second_node"])
    assert len(set(groups.opened["first_node"]) & set(groups.opened["stem_node"])) == 0
    assert np.all(groups.opened["head_node"] == FIXED)


def test_gemm_behind_a_flattened_image() -> None:
    net = NetBuilder(size=4)
    flat = net.node("Flatten", [net.conv("image", (3, 8), "first")], "flat")
    hidden = net.node("Gemm", [flat, net.weight("w", 128, 6), net.weight("b", 6)], "hidden")
    model = net.model(net.node("Gemm", [hidden, net.weight("w2", 5, 6), net.weight("b2", 1, 5)], "out", transB=1))
    groups = channel_groups(model)
    assert np.array_equal(groups.labels["flat"], np.repeat(groups.opened["first_node"], 16))
    assert np.all(groups.opened["hidden_node"] != FIXED)
    assert largest_difference(model, scaled(model, drawn(groups, 1))) < 1e-5


def shared_weights() -> onnx.ModelProto:
    """Two convolutions with the same weights and bias, one behind the other."""
    net = NetBuilder()
    first = net.node("Relu", [net.conv("image", (3, 8), "first")], "relu")
    second = net.node("Relu", [net.conv(first, (8, 8), "second", kernel=1)], "second_relu")
    third = net.node("Conv", [second, "second_w", "second_b"], "third")
    return net.model(net.conv(third, (8, 2), "last", kernel=1))


def test_weights_that_several_layers_share_are_copied() -> None:
    model = shared_weights()
    changed = scaled(model, drawn(channel_groups(model), 0))
    names = {node.name: node.input[1] for node in changed.graph.node if node.op_type == "Conv"}
    assert names["second_node"] != names["third_node"]
    assert "second_w" not in {weight.name for weight in changed.graph.initializer}
    assert largest_difference(model, changed) < 1e-5


def test_a_copy_is_made_only_where_it_differs() -> None:
    model = shared_weights()
    first = {"first_node": np.linspace(0.5, 2, 8)}
    changed = scaled(model, first)
    names = {node.name: node.input[1] for node in changed.graph.node if node.op_type == "Conv"}
    assert (names["second_node"], names["third_node"]) == ("second_node/second_w", "second_w")
    assert largest_difference(model, changed) < 1e-5


def test_no_factors_change_nothing_and_the_inverse_undoes_them() -> None:
    model = joining_net()
    assert scaled(model, {}) == model
    groups = channel_groups(model)
    powers = groups.factors(2.0 ** np.random.default_rng(0).integers(-5, 5, groups.count))
    changed = scaled(model, powers)
    assert scaled(model, powers) == changed
    assert scaled(changed, {name: 1 / factors for name, factors in powers.items()}) == model


@pytest.mark.parametrize(
    "factors",
    [
        {"nowhere": np.ones(8)},
        {"stem_node": np.ones(7)},
        {"stem_node": np.full(8, 2.0)},
        {"first_node": np.full(8, -1.0)},
        {"head_node": np.full(4, 2.0)},
    ],
    ids=["no such layer", "too few", "tied to the other branch", "negative", "an output"],
)
def test_factors_that_do_not_fit_are_refused(factors: dict[str, np.ndarray]) -> None:
    with pytest.raises(UsageError, match="cannot be scaled"):
        scaled(residual_net(), factors)


@pytest.mark.parametrize("name", ["lstr-culane", "quantlanenet-tusimple", "pinetq", "twinlitenet-bdd100k"])
def test_real_networks_stay_the_same_at_both_opsets(shared_lanes: Path, name: str) -> None:
    model = clean(read_model(shared_lanes / "models" / name / "model.onnx"), 17).model
    factors = drawn(channel_groups(model), 3)
    assert len(factors) >= 18
    assert largest_difference(model, scaled(model, factors)) < 1e-5
    newer = at_opset(model, 21)
    assert largest_difference(newer, scaled(newer, factors)) < 1e-5
