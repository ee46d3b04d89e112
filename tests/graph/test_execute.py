from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ModelError, UsageError
from edgekit.graph.execute import TorchGraph
from edgekit.graph.view import Reader
from tests.graph.models import NetBuilder, joining_net, residual_net
from tests.graph.quantized import RULES, image, quantized


def test_quantizers_work_where_they_are_asked_for_and_nowhere_else() -> None:
    graph = TorchGraph(residual_net())
    frame = image()
    plain = graph(frame, taps=["pooled", "first", "added"])
    zeroed = graph(frame, taps=["pooled", "first", "added"], quantizers={Reader("first_node", 0): torch.zeros_like})
    # `pooled` is read by two nodes: the tensor itself and its other reader keep the values.
    torch.testing.assert_close(zeroed["pooled"], plain["pooled"])
    bias = graph.constants["first_b"].reshape(1, -1, 1, 1)
    torch.testing.assert_close(zeroed["first"], bias.expand_as(zeroed["first"]))
    second = graph(frame, taps=["second"], quantizers={Reader("first_node", 0): torch.zeros_like})["second"]
    torch.testing.assert_close(zeroed["added"], second + plain["pooled"])


def test_a_weight_can_be_quantized_where_it_is_read() -> None:
    graph = TorchGraph(residual_net())
    frame = image()
    by_reader = graph(frame, quantizers={Reader("head_node", 1): lambda weight: weight * 2})
    by_constant = graph(frame, constants={"head_w": graph.constants["head_w"] * 2})
    torch.testing.assert_close(by_reader["head"], by_constant["head"])


def test_a_shared_quantizer_runs_once_for_each_tensor() -> None:
    seen: list[tuple[int, ...]] = []

    def quantizer(tensor: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(tensor.shape))
        return tensor

    readers = [Reader("first_node", 0), Reader("added_node", 1), Reader("second_node", 0)]
    TorchGraph(residual_net())(image(), quantizers=dict.fromkeys(readers, quantizer))
    assert len(seen) == 2


def test_two_quantizers_of_one_tensor_do_not_mix() -> None:
    graph = TorchGraph(residual_net())
    frame = image()
    quantizers = {Reader("first_node", 0): torch.zeros_like, Reader("added_node", 1): lambda tensor: tensor + 1}
    both = graph(frame, taps=["second", "pooled", "added"], quantizers=quantizers)
    torch.testing.assert_close(both["added"], both["second"] + both["pooled"] + 1)


def test_gradients_flow_through_quantizers_and_into_constants() -> None:
    graph = TorchGraph(residual_net())
    scale = torch.tensor(0.5, requires_grad=True)
    weight = graph.constants["first_w"].clone().requires_grad_()
    results = graph(
        image(), constants={"first_w": weight}, quantizers={Reader("second_node", 0): lambda tensor: tensor * scale}
    )
    results["head"].square().sum().backward()
    assert scale.grad is not None
    assert weight.grad is not None
    assert scale.grad.abs() > 0
    assert weight.grad.abs().max() > 0
    assert not any(constant.requires_grad for constant in graph.constants.values())


def test_quantize_linear_passes_gradients_straight_through() -> None:
    frame = image()
    model = quantized(residual_net(), RULES["inputs"], frame)
    graph = TorchGraph(model)
    values = torch.from_numpy(frame).requires_grad_()
    scale = graph.constants["image_scale"].clone().requires_grad_()
    read = graph(values, taps=["image_dequantized"], constants={"image_scale": scale})["image_dequantized"]
    read.sum().backward()
    steps = frame / scale.item() + graph.constants["image_zero_point"].item()
    inside = (np.rint(steps) >= 0) & (np.rint(steps) <= 255)
    assert values.grad is not None
    np.testing.assert_array_equal(values.grad.numpy(), inside.astype(np.float32))
    # LSQ: round(x / s) - x / s inside, the clipped integer outside.
    integers = np.clip(np.rint(steps), 0, 255) - graph.constants["image_zero_point"].item()
    expected = np.where(inside, integers - frame / scale.item(), integers).sum()
    assert scale.grad is not None
    np.testing.assert_allclose(scale.grad.item(), expected, rtol=1e-3)


def test_quantization_with_a_gradient_has_the_same_values_as_without() -> None:
    frame = image()
    graph = TorchGraph(quantized(joining_net(), RULES["outputs"], frame))
    plain, tracked = graph(frame), graph(torch.from_numpy(frame).requires_grad_())
    for name in graph.output_names:
        torch.testing.assert_close(tracked[name].detach(), plain[name], rtol=0, atol=0)


def test_gradients_of_a_network_agree_with_finite_differences() -> None:
    graph = TorchGraph(joining_net())
    frame = image().astype(np.float64)
    weight = graph.constants["deep_w"].double().requires_grad_()

    def loss(replaced: torch.Tensor) -> torch.Tensor:
        return sum((value.square().sum() for value in graph(frame, constants={"deep_w": replaced}).values()), start=0)

    loss(weight).backward()
    assert weight.grad is not None
    for index in [(0, 0, 0, 0), (3, 5, 1, 2), (7, 7, 2, 2)]:
        step = torch.zeros_like(weight)
        step[index] = 1e-6
        with torch.no_grad():
            slope = (loss(weight + step) - loss(weight - step)) / 2e-6
        torch.testing.assert_close(weight.grad[index], slope, rtol=1e-5, atol=1e-7)


def test_tensors_are_dropped_behind_their_last_reader() -> None:
    """A chain of ten nodes holds a few tensors at a time, not ten."""
    net = NetBuilder()
    name = "image"
    for number in range(10):
        name = net.node("Relu" if number % 2 else "Neg", [name], f"t{number}")
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def watch(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal most
        made = tensor.clone()
        alive.extend((weakref.ref(tensor), weakref.ref(made)))
        most = max(most, sum(one() is not None for one in alive))
        return made

    readers = {Reader(f"t{number}_node", 0): watch for number in range(10)}
    with torch.no_grad():
        results = TorchGraph(net.model(name))(image(), quantizers=readers)
    assert len(alive) == 20
    assert most <= 4
    assert set(results) == {"t9"}
    # Nothing but the input, which the test itself holds, outlives the call.
    assert sum(one() is not None for one in alive[1:]) == 0


def test_a_batch_runs_where_no_constant_holds_it() -> None:
    graph = TorchGraph(residual_net())
    frames = image((3, 3, 16, 16))
    together = graph(frames)["head"]
    alone = torch.cat([graph(frame[None])["head"] for frame in frames])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_batch_that_a_constant_forbids_is_an_error_that_names_the_node() -> None:
    net = NetBuilder()
    shape = net.constant("shape", np.array([1, 768]))
    graph = TorchGraph(net.model(net.node("Reshape", ["image", shape], "flat")))
    with pytest.raises(ModelError, match=r"'flat_node' \(Reshape\)[\s\S]*batch of 1"):
        graph(image((2, 3, 16, 16)))


def test_shape_arithmetic_is_done_once() -> None:
    net = NetBuilder()
    shape = net.node("Shape", ["image"], "shape")
    picked = net.node("Gather", [shape, net.constant("first", np.array([0, 1]))], "picked")
    target = net.node("Concat", [picked, net.constant("rest", np.array([-1]))], "target", axis=0)
    graph = TorchGraph(net.model(net.node("Reshape", ["image", target], "flat")))
    assert graph(image(), taps=["target"])["target"].tolist() == [1, 3, -1]
    assert graph(image())["flat"].shape == (1, 3, 256)


def test_a_missing_operator_is_named_with_its_node() -> None:
    net = NetBuilder()
    net.node("NonZero", ["image"], "places")
    with pytest.raises(ModelError) as caught:
        TorchGraph(net.model("places"))
    assert "'places_node'" in caught.value.problem
    assert "NonZero" in caught.value.problem
    assert "floating point" in caught.value.fix


def test_an_input_that_must_be_constant_is_named() -> None:
    net = NetBuilder(size=16)
    sizes = net.node("Cast", [net.node("ReduceMax", ["image"], "top", keepdims=0)], "sizes", to=TensorProto.INT64)
    net.node("Tile", ["image", sizes], "tiled")
    with pytest.raises(ModelError, match=r"'tiled_node' \(Tile\)[\s\S]*input 1"):
        TorchGraph(net.model("tiled"))


def test_training_mode_is_refused() -> None:
    net = NetBuilder()
    inputs = [net.weight(name, 3, positive=True) for name in ("scale", "shift", "mean", "variance")]
    net.node("BatchNormalization", ["image", *inputs], "normed", training_mode=1)
    with pytest.raises(ModelError, match="training_mode"):
        TorchGraph(net.model("normed"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"taps": ["nowhere"]}, "nowhere"),
        ({"constants": {"nowhere": torch.zeros(1)}}, "nowhere"),
        ({"quantizers": {Reader("nowhere", 0): torch.neg}}, "nowhere"),
        ({"quantizers": {Reader("head_node", 3): torch.neg}}, "head_node"),
    ],
)
def test_names_that_the_graph_lacks_are_errors(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        TorchGraph(residual_net())(image(), **arguments)


def test_a_constant_that_is_read_once_cannot_be_replaced() -> None:
    graph = TorchGraph(joining_net())
    assert not graph.can_replace("scales")
    assert graph.can_replace("stem_w")
    with pytest.raises(UsageError, match="scales"):
        graph(image(), constants={"scales": torch.ones(4)})


def test_values_that_may_not_be_written_to_are_taken_as_they_are() -> None:
    graph = TorchGraph(residual_net())
    frame = image()
    expected = graph(frame)["head"]
    frame.flags.writeable = False
    torch.testing.assert_close(graph(frame)["head"], expected, rtol=0, atol=0)


def test_values_of_another_shape_are_an_error() -> None:
    with pytest.raises(UsageError, match=r"\(1, 3, 8, 16\)"):
        TorchGraph(residual_net())(image((1, 3, 8, 16)))


def test_four_bit_weights_are_dequantized() -> None:
    integers = np.array([[-8, 7], [3, -1]])
    weight = helper.make_tensor("w", TensorProto.INT4, (2, 2), integers.reshape(-1).tolist())
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["real"], name="dequantize", axis=1),
        helper.make_node("MatMul", ["x", "real"], ["y"], name="product"),
    ]
    graph = helper.make_graph(
        nodes,
        "int4",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 2))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 2))],
        [weight, numpy_helper.from_array(np.array([0.5, 2], np.float32), "s")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    result = TorchGraph(model)(np.eye(2, dtype=np.float32))["y"]
    np.testing.assert_array_equal(result.numpy(), [[-4, 14], [1.5, -2]])
