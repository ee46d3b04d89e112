"""What an operator is told about its node, once, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.errors import ModelError

Run = Callable[..., Any]
"""Tensors by input slot (None where an optional one is left out) to one tensor, or to a tuple of all outputs."""

KEEP_OUT = (
    "Calibrate without reconstruction, which runs the network in ONNX Runtime, and keep this node in floating point; "
    "or export the network without it and do that part in post-processing."
)


class Node:
    """A node with its attributes parsed and its constant inputs at hand.

    Args:
        proto: The node.
        opset: Version of the default operator set that it is written for.
        constants: Input slot to the values of the initializer there, in their ONNX dtype.

    Attributes:
        read_once: Slots whose values were read here, and not when the graph runs.
    """

    def __init__(self, proto: onnx.NodeProto, opset: int, constants: Mapping[int, NDArray[Any]]) -> None:
        self.name: str = proto.name
        self.operator: str = proto.op_type
        self.opset = opset
        self.input_count = len(proto.input)
        self.output_count = len(proto.output)
        self.read_once: set[int] = set()
        self._present = {slot for slot, name in enumerate(proto.input) if name}
        self._constants = constants
        self._attributes = {attribute.name: _value(attribute) for attribute in proto.attribute}

    def has(self, slot: int) -> bool:
        """Say whether an optional input is given."""
        return slot in self._present

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute: a number, a text, a list of either, or an array."""
        return self._attributes.get(name, default)

    def is_constant(self, slot: int) -> bool:
        """Say whether an input is an initializer."""
        return slot in self._constants

    def constant(self, slot: int) -> NDArray[Any] | None:
        """Return the values of an input that has to be known before the graph runs; None where it is left out.

        Raises:
            ModelError: The input is computed by the graph.
        """
        if not self.has(slot):
            return None
        values = self._constants.get(slot)
        if values is None:
            raise self.unsupported(what=f"input {slot} is computed by the graph; it has to be a constant")
        self.read_once.add(slot)
        return values

    def integers(self, slot: int) -> list[int] | None:
        """Return a constant input as a list of integers; None where it is left out."""
        values = self.constant(slot)
        return None if values is None else [int(value) for value in np.atleast_1d(values)]

    def integers_at(self, name: str, slot: int) -> list[int] | None:
        """Return what older opsets give as an attribute and newer ones as a constant input; None where it is absent."""
        given: Sequence[int] | None = self.attribute(name)
        return self.integers(slot) if given is None else list(given)

    def dtype(self, slot: int) -> np.dtype[Any] | None:
        """Return the ONNX dtype of a constant input, which may be one that torch lacks; None where it is left out."""
        return self._constants[slot].dtype if slot in self._constants else None

    def unsupported(self, *, what: str) -> ModelError:
        """Return the error for something that this operator cannot do here."""
        return ModelError(
            problem=f"Node '{self.name}' ({self.operator}) cannot be run in torch, which reconstruction needs.",
            found=what,
            fix=KEEP_OUT,
        )


def _value(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, Sequence) and value and isinstance(value[0], bytes):
        return [text.decode() for text in value]
    return value
