from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.graph.clean import largest_difference
from edgekit.graph.shift import shiftable, shifted
from tests.graph.models import NetBuilder, residual_net


def several() -> onnx.ModelProto:
    """Three convolutions that read the image, with paddings of their own and without a bias, and a pooled copy."""
    net = NetBuilder()
    one = net.conv("image", (3, 4), "one")
    two = net.conv("image", (3, 4), "two", kernel=1, bias=False)
    three = net.node("Conv", ["image", "one_w", "one_b"], "three", pads=[1, 1, 1, 1])
    four = net.node("Conv", ["image", "one_w"], "four", pads=[0, 2, 2, 0])
    pooled = net.node("MaxPool", ["image"], "pooled", kernel_shape=[1, 1])
    return net.model(net.node("Concat", [one, two, three, four, pooled], "joined", axis=1))


@pytest.mark.parametrize("build", [several, residual_net])
@pytest.mark.parametrize("shift", [128 / 255, -3.0])
def test_the_network_stays_the_same(build: object, shift: float) -> None:
    model = build()  # type: ignore[operator]
    nodes = shiftable(model)
    changed = shifted(model, shift, nodes)
    onnx.checker.check_model(changed, full_check=True)
    assert all(node.input[0] != "image" for node in changed.graph.node if node.name in nodes)
    assert largest_difference(model, changed) < 1e-5


def test_readers_with_the_same_padding_share_it() -> None:
    changed = shifted(several(), 0.5, shiftable(several()))
    assert [node.op_type for node in changed.graph.node].count("Pad") == 2
    assert [node.op_type for node in changed.graph.node].count("Sub") == 3


def test_only_the_nodes_named_are_shifted() -> None:
    changed = shifted(several(), 0.5, ["two_node"])
    reading = {node.name for node in changed.graph.node if "image" in node.input}
    assert {"one_node", "three_node", "four_node", "pooled_node"} < reading
    assert "two_node" not in reading
    biases = {weight.name: numpy_helper.to_array(weight) for weight in changed.graph.initializer}
    assert np.array_equal(
        biases["one_b"], {w.name: numpy_helper.to_array(w) for w in several().graph.initializer}["one_b"]
    )


def test_a_convolution_that_chooses_its_padding_is_left_alone() -> None:
    net = NetBuilder()
    model = net.model(net.node("Conv", ["image", net.weight("w", 2, 3, 3, 3)], "out", auto_pad="SAME_UPPER"))
    assert shiftable(model) == ()
