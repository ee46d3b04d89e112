"""Gradients against finite differences, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgekit.graph.execute import TorchGraph
from tests.graph.models import joining_net, residual_net

Shape = tuple[int, ...]


def one_node(operator: str, shape: Shape, constants: dict[str, Any], **attributes: Any) -> onnx.ModelProto:
    """A graph of one node; an empty name among the constants leaves that input out."""
    values = {name: np.asarray(value) for name, value in constants.items() if value is not None}
    inputs = ["x", *(name if name in values else "" for name in constants)]
    node = helper.make_node(operator, inputs, ["y"], name="node", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def weights(*shape: int, low: float = -1.0, high: float = 1.0) -> Any:
    return np.random.default_rng(11).uniform(low, high, shape).astype(np.float32)


IMAGE = (1, 4, 6, 5)
TOKENS = (1, 5, 6)
GRAPHS: dict[str, Callable[[], onnx.ModelProto]] = {
    "Conv": lambda: one_node("Conv", IMAGE, {"w": weights(4, 2, 3, 3), "b": weights(4)}, group=2, pads=[1, 0, 0, 1]),
    "ConvTranspose": lambda: one_node(
        "ConvTranspose", IMAGE, {"w": weights(4, 3, 3, 3), "b": weights(3)}, strides=[2, 2], output_padding=[1, 0]
    ),
    "Gemm": lambda: one_node("Gemm", (3, 6), {"w": weights(2, 6), "b": weights(2)}, transB=1),
    "MatMul": lambda: one_node("MatMul", TOKENS, {"w": weights(6, 3)}),
    "Einsum": lambda: one_node("Einsum", TOKENS, {"w": weights(1, 4, 6)}, equation="bid,bjd->bij"),
    "PRelu": lambda: one_node("PRelu", IMAGE, {"slope": weights(4, 1, 1)}),
    "Gelu": lambda: one_node("Gelu", TOKENS, {}),
    "HardSwish": lambda: one_node("HardSwish", TOKENS, {}),
    "HardSigmoid": lambda: one_node("HardSigmoid", TOKENS, {}),
    "Softmax": lambda: one_node("Softmax", TOKENS, {}),
    "Sigmoid": lambda: one_node("Sigmoid", TOKENS, {}),
    "Div": lambda: one_node("Div", TOKENS, {"w": weights(6, low=1, high=2)}),
    "BatchNormalization": lambda: one_node(
        "BatchNormalization",
        IMAGE,
        {"scale": weights(4), "shift": weights(4), "mean": weights(4), "variance": weights(4, low=0.5, high=1)},
    ),
    "LayerNormalization": lambda: one_node("LayerNormalization", TOKENS, {"scale": weights(6), "shift": weights(6)}),
    "InstanceNormalization": lambda: one_node(
        "InstanceNormalization", IMAGE, {"scale": weights(4), "shift": weights(4)}
    ),
    "GroupNormalization": lambda: one_node(
        "GroupNormalization", IMAGE, {"scale": weights(2), "shift": weights(2)}, num_groups=2
    ),
    "MaxPool": lambda: one_node("MaxPool", IMAGE, {}, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "AveragePool": lambda: one_node("AveragePool", IMAGE, {}, kernel_shape=[2, 2], dilations=[2, 1], pads=[0, 1, 1, 0]),
    "ReduceMean": lambda: one_node("ReduceMean", IMAGE, {"axes": np.array([2, 3])}),
    "ReduceL2": lambda: one_node("ReduceL2", IMAGE, {"axes": np.array([1])}),
    "Resize linear": lambda: one_node(
        "Resize", IMAGE, {"roi": None, "scales": np.array([1, 1, 1.5, 2], np.float32)}, mode="linear"
    ),
    "Resize cubic": lambda: one_node(
        "Resize",
        IMAGE,
        {"roi": None, "scales": None, "sizes": np.array([1, 4, 9, 4])},
        mode="cubic",
        coordinate_transformation_mode="asymmetric",
    ),
    "Resize nearest": lambda: one_node("Resize", IMAGE, {"roi": None, "scales": np.array([1, 1, 3, 0.6], np.float32)}),
    "GridSample": lambda: one_node("GridSample", IMAGE, {"grid": weights(1, 3, 3, 2, low=-0.9, high=0.9)}),
    "Gather": lambda: one_node("Gather", TOKENS, {"indices": np.array([[0, -1], [2, 2]])}, axis=1),
    "GatherND": lambda: one_node("GatherND", TOKENS, {"indices": np.array([[[0, 1]], [[0, 3]]])}),
    "ScatterND": lambda: one_node("ScatterND", TOKENS, {"indices": np.array([[0, 2]]), "w": weights(1, 6)}),
    "Slice": lambda: one_node(
        "Slice",
        IMAGE,
        {"from": np.array([-1, 0]), "to": np.array([-9, 9]), "on": np.array([2, 3]), "by": np.array([-2, 3])},
    ),
    "Pad": lambda: one_node("Pad", IMAGE, {"pads": np.array([0, 0, 2, 1, 0, 0, 1, -1])}, mode="reflect"),
    "Concat": lambda: one_node("Concat", TOKENS, {"w": weights(1, 2, 6)}, axis=1),
    "Clip": lambda: one_node("Clip", TOKENS, {"low": np.float32(-0.5), "high": np.float32(0.7)}),
    "TopK": lambda: one_node("TopK", TOKENS, {"k": np.array([3])}),
    "residual net": residual_net,
    "joining net": joining_net,
}


@pytest.mark.parametrize("name", GRAPHS)
def test_gradients_of_the_input_and_of_every_weight(name: str) -> None:
    graph = TorchGraph(GRAPHS[name]())
    shape = [dim.dim_value for dim in GRAPHS[name]().graph.input[0].type.tensor_type.shape.dim]
    random = torch.Generator().manual_seed(1)
    x = torch.rand(shape, generator=random, dtype=torch.float64) * 2 - 1
    names = [name for name, value in graph.constants.items() if graph.can_replace(name) and value.is_floating_point()]
    given = [x.requires_grad_(), *(graph.constants[name].double().requires_grad_() for name in names)]

    def run(values: torch.Tensor, *replaced: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = graph(values, constants=dict(zip(names, replaced, strict=True)))
        return tuple(output for output in outputs.values() if output.is_floating_point())

    assert all(output.dtype == torch.float64 for output in run(*given))
    assert torch.autograd.gradcheck(run, given, fast_mode=True)
