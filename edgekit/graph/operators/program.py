"""A graph as a list of prepared steps over numbered places: all that can be known before the first call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import onnx
import torch
from numpy.typing import NDArray

from edgekit.errors import ModelError
from edgekit.graph.operators import OPERATORS
from edgekit.graph.operators.dtypes import supported, to_tensor
from edgekit.graph.operators.node import KEEP_OUT, Node, Run
from edgekit.graph.operators.shape import shape, size
from edgekit.graph.view import GraphView

Tensor = torch.Tensor

ABSENT = -1
"""The place of an input that is left out, and of an output that nobody wants."""

_OF_A_SHAPE: dict[str, Callable[[Node], Run]] = {"Shape": shape, "Size": lambda node: size}


@dataclass(frozen=True)
class Step:
    """One node, ready to run.

    Attributes:
        node: Its name.
        operator: Its operator.
        run: What it does with tensors.
        inputs: Places that it reads, by slot.
        outputs: Places that it fills.
        dead: Places that nobody reads after this step.
    """

    node: str
    operator: str
    run: Run
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    dead: tuple[int, ...] = ()


@dataclass(frozen=True)
class Program:
    """A graph, ready to run.

    Attributes:
        places: Tensor name to its number, from 0 on.
        steps: In graph order.
        weights: Initializers by name.
        fixed: Tensors by name that follow from static shapes and integer constants alone.
        read_once: Initializers whose values the steps hold already.
    """

    places: dict[str, int]
    steps: tuple[Step, ...]
    weights: dict[str, Tensor]
    fixed: dict[str, Tensor]
    read_once: frozenset[str]


def build(model: onnx.ModelProto, opset: int) -> Program:
    """Prepare every node of a cleaned model.

    Raises:
        ModelError: An operator is missing, or asks for something that is not supported.
    """
    return _Builder(model, opset).build()


class _Builder:
    """Goes through the nodes in graph order and keeps what they make known."""

    def __init__(self, model: onnx.ModelProto, opset: int) -> None:
        self._model = model
        self._opset = opset
        self._view = GraphView(model)
        self._shapes = _static_shapes(model)
        self._weights = {weight.name: _weight(self._view, weight.name) for weight in model.graph.initializer}
        # Floating-point initializers may be replaced in a call: what follows from them is not fixed.
        self._known = {name: tensor for name, tensor in self._weights.items() if not tensor.is_floating_point()}
        self._read_once: set[str] = set()
        made = [name for node in model.graph.node for name in node.output if name]
        names = dict.fromkeys([*(value.name for value in model.graph.input), *self._weights, *made])
        self._places = {name: place for place, name in enumerate(names)}

    def build(self) -> Program:
        steps = [step for node in self._model.graph.node if (step := self._step(node))]
        fixed = {name: tensor for name, tensor in self._known.items() if name not in self._weights}
        immortal = {self._places[name] for name in (*self._weights, *fixed)}
        return Program(
            self._places, _with_deaths(steps, immortal), self._weights, fixed, frozenset(self._read_once - set(fixed))
        )

    def _step(self, proto: onnx.NodeProto) -> Step | None:
        """Return the step of a node; none where its outputs are fixed."""
        node = Node(proto, self._opset, self._constants(proto))
        run = self._operator(proto)(node)
        self._read_once |= {proto.input[slot] for slot in node.read_once}
        outputs = self._fixed_outputs(proto, node, run)
        self._known |= outputs
        if outputs:
            return None
        return Step(
            proto.name,
            proto.op_type,
            run,
            inputs=tuple(self._places[name] if name else ABSENT for name in proto.input),
            outputs=tuple(self._places[name] if name else ABSENT for name in proto.output),
        )

    def _constants(self, proto: onnx.NodeProto) -> dict[int, NDArray[Any]]:
        constants = {slot: self._view.constant(name) for slot, name in enumerate(proto.input) if name in self._weights}
        computed = {slot: name for slot, name in enumerate(proto.input) if slot not in constants}
        return constants | {slot: self._known[name].numpy() for slot, name in computed.items() if name in self._known}

    def _operator(self, proto: onnx.NodeProto) -> Callable[[Node], Run]:
        if proto.domain in ("", "ai.onnx") and proto.op_type in OPERATORS:
            return OPERATORS[proto.op_type]
        alike = [node.name for node in self._model.graph.node if node.op_type == proto.op_type]
        raise ModelError(
            problem=f"Node '{proto.name}' uses the operator {proto.op_type}, which EdgeKit cannot run in torch.",
            found=f"{len(alike)} such node{'s' if len(alike) > 1 else ''}: {', '.join(alike[:3])}"
            + (" ..." if len(alike) > 3 else ""),
            fix=KEEP_OUT,
        )

    def _fixed_outputs(self, proto: onnx.NodeProto, node: Node, run: Run) -> dict[str, Tensor]:
        """Return a node's outputs where they are the same in every call."""
        if proto.op_type in _OF_A_SHAPE and proto.input[0] in self._shapes:
            empty = torch.empty(self._shapes[proto.input[0]], device="meta")
            return {proto.output[0]: _OF_A_SHAPE[proto.op_type](node)(empty)}
        given = [name for name in proto.input if name]
        if any(name not in self._known for name in given):
            return {}
        result = run(*(self._known[name] if name else None for name in proto.input))
        results = (result,) if isinstance(result, Tensor) else result
        return {name: tensor for name, tensor in zip(proto.output, results, strict=False) if name}


def _weight(view: GraphView, name: str) -> Tensor:
    values = view.constant(name)
    if not supported(values.dtype.name):
        raise ModelError(
            problem=f"The constant '{name}' cannot be held in torch, which reconstruction needs.",
            found=f"values of type {values.dtype.name}",
            fix="Export the network in float32.",
        )
    return to_tensor(values)


def _static_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    known = {}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            known[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return known


def _with_deaths(steps: list[Step], immortal: set[int]) -> tuple[Step, ...]:
    """Fill in which places nobody reads after each step."""
    seen = immortal | {ABSENT}
    backwards = []
    for step in reversed(steps):
        dead = {place for place in (*step.inputs, *step.outputs) if place not in seen}
        seen |= dead
        backwards.append(replace(step, dead=tuple(sorted(dead))))
    return tuple(reversed(backwards))
