from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import edgekit.reference
from edgekit.calibration.observe import observe
from edgekit.calibration.scales import choose_scales, parameters_of
from edgekit.errors import ModelError, UsageError
from edgekit.graph.clean import at_opset, clean
from edgekit.graph.execute import TorchGraph
from edgekit.graph.placement import place
from edgekit.graph.qdq import write_qdq
from edgekit.graph.read import read_model
from edgekit.graph.reference import ReferenceRun
from edgekit.graph.view import GraphView, Reader
from edgekit.recipes import ScaleStep
from edgekit.targets import Scheme
from tests.graph.models import NetBuilder, joining_net, residual_net
from tests.graph.schemes import SIGNED, scheme

REAL_MODELS = ["lstr-culane", "quantlanenet-tusimple", "pinetq", "twinlitenet-bdd100k"]
RULES = {
    "inputs": scheme(),
    "signed": scheme(activations=SIGNED, residual_add="branch", share_scale=("MaxPool", "Concat", "Resize"), opset=17),
    "outputs": scheme(outputs=True, bias="int32", residual_add="full", share_scale=("MaxPool", "Concat", "Resize")),
}


def image(shape: tuple[int, ...] = (1, 3, 16, 16), seed: int = 5) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def quantized(model: onnx.ModelProto, rules: Scheme, frame: NDArray[np.float32]) -> onnx.ModelProto:
    model = at_opset(model, rules.opset)
    placement = place(model, rules)
    observations = observe(model, [one.tensor for one in placement.activations], [frame])
    scales = choose_scales(model, placement, rules, observations, ScaleStep(step="scale", activations="min-max"))
    return write_qdq(model, placement, rules, parameters_of(scales))


def worst_difference(model: onnx.ModelProto, frame: NDArray[np.float32]) -> float:
    """Largest |torch - ONNX Runtime| over all outputs, as a share of that output's range."""
    with torch.no_grad():
        results = TorchGraph(model)(frame)
    worst = 0.0
    for name, expected in ReferenceRun(model, threads=1)(frame).items():
        difference = np.abs(results[name].numpy() - expected).max() / np.ptp(expected)
        print(f"{name}: {difference:.1e} of the range")
        worst = max(worst, float(difference))
    return worst


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("name", REAL_MODELS)
def test_real_models_agree_with_onnxruntime(shared_lanes: Path, name: str, opset: int) -> None:
    model = clean(read_model(shared_lanes / "models" / name / "model.onnx"), opset).model
    assert worst_difference(model, image(ReferenceRun(model).input_shape)) < 1e-5


@pytest.mark.parametrize("opset", [17, 21])
def test_the_built_in_network_agrees_with_onnxruntime(opset: int) -> None:
    model = clean(read_model(edgekit.reference.model_path()), opset).model
    assert worst_difference(model, image(ReferenceRun(model).input_shape)) < 1e-5


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("build", [residual_net, joining_net])
def test_quantized_models_agree_with_onnxruntime(build: Callable[[], onnx.ModelProto], rules: str) -> None:
    """Exactly with the file as it stands; optimized, ONNX Runtime rounds floating-point biases to integers as well."""
    as_it_stands, optimized = [], []
    for seed in range(6):
        frame = image(seed=seed)
        model = quantized(clean(build(), 17).model, RULES[rules], frame)
        results = TorchGraph(model)(frame)
        exact, fast = unoptimized(model, list(results))(frame), ReferenceRun(model, threads=1)(frame)
        for name, result in results.items():
            step = np.ptp(exact[name]) / 255
            as_it_stands.append((np.abs(result.numpy() - exact[name]) > 0.1 * step).mean())
            optimized.append((np.abs(result.numpy() - fast[name]) > step).mean())
    assert np.mean(as_it_stands) == 0
    assert np.mean(optimized) < 0.02


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("name", REAL_MODELS)
def test_every_node_of_a_quantized_real_model_agrees_within_a_step(shared_lanes: Path, name: str, rules: str) -> None:
    """Each node is given what ONNX Runtime made before it: a deep network blows up a rounding that fell otherwise."""
    model = clean(read_model(shared_lanes / "models" / name / "model.onnx"), 17).model
    model = quantized(model, RULES[rules], frame := image(ReferenceRun(model).input_shape))
    view = GraphView(model)
    made = [name for node in model.graph.node for name in node.output]
    exact = unoptimized(model, made)(frame)
    given = {
        Reader(node.name, slot): constantly(exact[name])
        for node in model.graph.node
        for slot, name in enumerate(node.input)
        if name in exact
    }
    with torch.no_grad():
        results = TorchGraph(model)(frame, taps=made, quantizers=given)
    unequal = total = 0
    for tensor in made:
        result, expected = results[tensor].double().numpy(), exact[tensor].astype(np.float64)
        producer = view.producer(tensor)
        assert producer is not None
        if producer.op_type == "QuantizeLinear":
            assert np.abs(result - expected).max() <= 1
            unequal, total = unequal + int((result != expected).sum()), total + result.size
        else:
            assert np.abs(result - expected).max() <= 2e-5 * max(np.ptp(expected), np.abs(expected).max(), 1e-6), tensor
    print(f"{unequal} of {total} integers differ")
    assert unequal <= 1e-5 * total


def constantly(values: NDArray[Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda _: torch.from_numpy(values)


def unoptimized(model: onnx.ModelProto, tensors: list[str]) -> Callable[[NDArray[np.float32]], dict[str, Any]]:
    """ONNX Runtime computing each node as it stands, and returning every tensor."""
    import onnxruntime

    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    known = {value.name for value in model.graph.output}
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda frame: dict(zip(tensors, session.run(tensors, {"image": frame}), strict=True))


def test_taps_are_the_tensors_of_onnxruntime() -> None:
    model = clean(joining_net(), 17).model
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.append(onnx.ValueInfoProto(name="high"))
    frame = image()
    results = TorchGraph(model)(frame, taps=["high", "image"])
    assert set(results) == {"scores", "offsets", "high", "image"}
    np.testing.assert_allclose(results["high"].numpy(), ReferenceRun(tapped)(frame)["high"], atol=1e-5)
    np.testing.assert_array_equal(results["image"].numpy(), frame)


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


def test_the_old_softmax_flattens_all_axes_from_its_axis_on() -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], name="softmax", axis=1)
    graph = helper.make_graph(
        [node],
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 3, 4))],
    )
    values = image((2, 3, 4))
    sums = {}
    for opset in (12, 13):
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
        result = TorchGraph(model)(values)["y"]
        np.testing.assert_allclose(result.numpy(), ReferenceRun(model)(values)["y"], rtol=1e-5)
        sums[opset] = result.sum((1, 2)).tolist()
    assert sums[12] == pytest.approx([1, 1])
    assert sums[13] == pytest.approx([4, 4])


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
