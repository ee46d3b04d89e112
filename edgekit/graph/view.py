"""Look around in a graph: who makes a tensor, who reads it, what is constant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


@dataclass(frozen=True)
class Reader:
    """One input of one node.

    Attributes:
        node: The node's name.
        slot: Which of its inputs.
    """

    node: str
    slot: int


class GraphView:
    """Read-only look-ups in a cleaned model, whose nodes all have names of their own."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: dict[str, onnx.NodeProto] = {node.name: node for node in model.graph.node}
        self.outputs = frozenset(value.name for value in model.graph.output)
        self._weights = {weight.name: weight for weight in model.graph.initializer}
        self._producers = {name: node for node in model.graph.node for name in node.output}
        self._readers: dict[str, list[Reader]] = defaultdict(list)
        for node in model.graph.node:
            for slot, name in enumerate(node.input):
                self._readers[name].append(Reader(node.name, slot))

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """Return the node that makes a tensor; none for inputs and constants."""
        return self._producers.get(tensor)

    def readers(self, tensor: str) -> list[Reader]:
        """Return every place that reads a tensor, in graph order."""
        return self._readers.get(tensor, [])

    def is_constant(self, tensor: str) -> bool:
        """Say whether a tensor is an initializer."""
        return tensor in self._weights

    def constant(self, tensor: str) -> NDArray[Any]:
        """Return the values of an initializer."""
        return numpy_helper.to_array(self._weights[tensor])

    def activations(self, node: onnx.NodeProto) -> Iterator[str]:
        """Return the inputs of a node that are computed, not constant."""
        return (name for name in node.input if name and not self.is_constant(name))

    def sole_reader(self, tensor: str) -> onnx.NodeProto | None:
        """Return the one node that reads a tensor; none where there are more, or where it is an output as well."""
        readers = self.readers(tensor)
        return self.nodes[readers[0].node] if len(readers) == 1 and tensor not in self.outputs else None


def integer_attribute(node: onnx.NodeProto, name: str, default: int = 0) -> int:
    """Return an integer attribute of a node."""
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def text_attribute(node: onnx.NodeProto, name: str, default: str = "") -> str:
    """Return a text attribute of a node."""
    return next((attribute.s.decode() for attribute in node.attribute if attribute.name == name), default)


def drop_unread_constants(graph: onnx.GraphProto) -> None:
    """Remove the initializers that no node reads."""
    read = {name for node in graph.node for name in node.input}
    for weight in [weight for weight in graph.initializer if weight.name not in read]:
        graph.initializer.remove(weight)
