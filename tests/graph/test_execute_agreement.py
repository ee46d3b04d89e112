"""The executor computes what ONNX Runtime computes: on small networks, on the built-in one and on real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

import edgekit.reference
from edgekit.graph.clean import clean
from edgekit.graph.execute import TorchGraph
from edgekit.graph.read import read_model
from edgekit.graph.reference import ReferenceRun
from edgekit.graph.view import GraphView, Reader
from tests.graph.models import joining_net, residual_net
from tests.graph.quantized import RULES, image, quantized

REAL_MODELS = ["lstr-culane", "quantlanenet-tusimple", "pinetq", "twinlitenet-bdd100k"]


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
