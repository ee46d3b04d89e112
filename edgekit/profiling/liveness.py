"""How much memory the activations of a model need at least: which of them are needed at the same time.

An estimate from the graph: what an engine really takes also depends on its own layouts and copies. It reads the model
without the onnx package, so a board can make it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.errors import ArtifactError
from edgekit.profiling.wire import fields, parts, tensor_bytes

_GRAPH = 7
_NODES, _WEIGHTS, _INPUTS, _OUTPUTS, _VALUES = 1, 5, 11, 12, 13
_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout"})
"""Operators whose output lies where their input does."""

_ACTIVATIONS = frozenset({"Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "Elu", "HardSigmoid", "HardSwish", "PRelu"})
"""Operators whose output may, where nothing else reads their input."""


@dataclass(frozen=True)
class Arena:
    """What activations need, in bytes.

    Attributes:
        live: The most that is needed at the same time: no engine that computes node by node gets by with less.
        planned: The size of one block that holds all, each where it was put: largest first, at the lowest free place.
        largest: The largest tensor.
        at: The node at which the most is needed.
    """

    live: int
    planned: int
    largest: int
    at: str


@dataclass(frozen=True)
class _Node:
    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class _Life:
    """A buffer and the first and last node that need it."""

    size: int
    first: int
    last: int


def arena(model: bytes) -> Arena | None:
    """Return what the activations of an ONNX model need, run node by node in its order; none without static shapes.

    Nodes that only change a shape share their input's buffer, and so do activation functions that alone read theirs.
    What a DequantizeLinear gives is not stored, since the node behind it reads the 8-bit tensor, and neither is what
    goes nowhere but into a QuantizeLinear: engines fuse both.

    Raises:
        ArtifactError: This is no ONNX model.
    """
    try:
        graph = next(parts(memoryview(model), _GRAPH))
        nodes = [_node(each) for each in parts(graph, _NODES)]
        sizes = dict(_sized(each) for number in (_INPUTS, _OUTPUTS, _VALUES) for each in parts(graph, number))
        weights = {_text(tensor, 8) for tensor in parts(graph, _WEIGHTS)}
        given = [_text(each, 1) for each in parts(graph, _INPUTS)]
        wanted = [_text(each, 1) for each in parts(graph, _OUTPUTS)]
    except (StopIteration, IndexError, KeyError, ValueError) as error:
        raise ArtifactError(
            problem="The model in the bundle is no ONNX model.", found=str(error), fix="Compile the bundle again."
        ) from error
    lives = _lives(nodes, sizes, weights, [name for name in given if name not in weights], wanted)
    if not lives:
        return None
    held = [sum(life.size for life in lives if life.first <= step <= life.last) for step in range(len(nodes))]
    most = max(range(len(nodes)), key=held.__getitem__)
    return Arena(held[most], _planned(lives), max(life.size for life in lives), nodes[most].name)


def _lives(
    nodes: list[_Node], sizes: dict[str, int | None], weights: set[str], given: list[str], wanted: list[str]
) -> list[_Life]:
    """Return every buffer that is stored; none at all where a shape is not known."""
    constant = weights | {name for node in nodes if node.operator == "Constant" for name in node.outputs}
    for node in nodes:
        if node.inputs and all(name in constant for name in node.inputs if name):
            constant |= set(node.outputs)  # Weights that are only dequantized, for instance.
    readers = _readers(nodes, wanted)
    home = {name: name for name in given}
    for node in nodes:
        alone = node.operator in _ACTIVATIONS and len(readers[node.inputs[0]]) == 1 and node.inputs[0] not in given
        alias = alone or node.operator in _VIEWS or node.operator == "DequantizeLinear"
        for name in node.outputs:
            home[name] = home.get(node.inputs[0], name) if alias else name
    into_8_bit = _only_quantized(nodes, readers)
    spans: dict[str, tuple[int, int]] = {home[name]: (0, 0) for name in given}
    began: dict[str, int] = {}
    for step, node in enumerate(nodes):
        # What is fused runs when its first node does.
        start = began[node.inputs[0]] if node.inputs and node.inputs[0] in into_8_bit else step
        began |= dict.fromkeys(node.outputs, start)
        for name in (*node.inputs, *node.outputs):
            if name and name not in constant and name not in into_8_bit:
                first, last = spans.get(home[name], (start, start))
                spans[home[name]] = (min(first, start), max(last, start))
    for name in wanted:
        if name in home and name not in constant:
            spans[home[name]] = (spans[home[name]][0], len(nodes) - 1)
    lives = []
    for name, (first, last) in spans.items():
        size = sizes.get(name)
        if size is None:
            return []
        lives.append(_Life(size, first, last))
    return lives


def _readers(nodes: list[_Node], wanted: list[str]) -> dict[str, list[_Node | None]]:
    """Return who reads each tensor; None stands for whoever runs the model."""
    readers: dict[str, list[_Node | None]] = {name: [None] for name in wanted}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return readers


def _only_quantized(nodes: list[_Node], readers: Mapping[str, list[_Node | None]]) -> set[str]:
    """Return the tensors that go nowhere but into a QuantizeLinear, through an activation function at most."""
    found: set[str] = set()
    for node in reversed(nodes):
        for name in node.outputs:
            reader = readers.get(name, [])
            if len(reader) == 1 and reader[0] is not None:
                after = reader[0]
                fused = after.operator in _ACTIVATIONS and found.issuperset(after.outputs)
                if after.operator == "QuantizeLinear" or fused:
                    found.add(name)
    return found


def _planned(lives: list[_Life]) -> int:
    """Return the end of a plan that puts the largest first, each at the lowest place that is free all its life."""
    placed: list[tuple[int, _Life]] = []
    for life in sorted(lives, key=lambda each: (-each.size, each.first)):
        at = 0
        for start, other in sorted(placed, key=lambda each: each[0]):
            if other.last < life.first or life.last < other.first:
                continue
            if at + life.size <= start:
                break
            at = max(at, start + other.size)
        placed.append((at, life))
    return max(start + life.size for start, life in placed)


def _node(message: memoryview) -> _Node:
    inputs, outputs, name, operator = [], [], "", ""
    for number, value in fields(message):
        if isinstance(value, memoryview) and number in (1, 2, 3, 4):
            text = bytes(value).decode("utf-8")
            if number == 1:
                inputs.append(text)
            elif number == 2:
                outputs.append(text)
            elif number == 3:
                name = text
            else:
                operator = text
    return _Node(name, operator, tuple(inputs), tuple(name for name in outputs if name))


def _sized(value: memoryview) -> tuple[str, int | None]:
    """Return a tensor's name and bytes; none where a dimension is not known."""
    for tensor in parts(value, 2, 1):
        kind = next((each for number, each in fields(tensor) if number == 1 and isinstance(each, int)), 0)
        dims = [_dimension(dim) for shape in parts(tensor, 2) for dim in parts(shape, 1)]
        known = [dim for dim in dims if dim is not None]
        return _text(value, 1), tensor_bytes(known, kind) if len(known) == len(dims) else None
    return _text(value, 1), None


def _dimension(message: memoryview) -> int | None:
    return next((value for number, value in fields(message) if number == 1 and isinstance(value, int)), None)


def _text(message: memoryview, field: int) -> str:
    found = (bytes(value).decode("utf-8") for number, value in fields(message) if number == field and _is_bytes(value))
    return next(found, "")


def _is_bytes(value: int | memoryview) -> bool:
    return isinstance(value, memoryview)
