"""Which channels of a network may be scaled, and which of them have to be scaled alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.graph.view import GraphView

Labels = NDArray[np.intp]
Floats = NDArray[np.float64]

FIXED = 0
"""The label of channels whose factor is 1: something reads them that does not allow another."""


@dataclass(frozen=True)
class Edit:
    """A constant that takes factors in.

    Attributes:
        node: The node that reads it.
        slot: Which of the node's inputs it is.
        times: Labels of the factors that it is multiplied with, in a shape that broadcasts with it; none: nothing.
        over: Labels of the factors that it is divided by.
    """

    node: str
    slot: int
    times: Labels | None
    over: Labels | None


@dataclass(frozen=True)
class ChannelGroups:
    """Which channels of a network share a factor.

    Attributes:
        count: Labels are 0 to count - 1; `FIXED` is one of them.
        labels: Tensor to the label of every channel (axis 1); tensors with fewer than two axes are left out.
        opened: Layer to the labels of its result's channels: where factors come into the network.
        edits: The constants that take factors in.
    """

    count: int
    labels: Mapping[str, Labels]
    opened: Mapping[str, Labels]
    edits: tuple[Edit, ...]

    def factors(self, values: Floats) -> dict[str, Floats]:
        """Return the factors of every layer's channels for one value per label; those that are all 1 are left out."""
        values = np.where(np.arange(self.count) == FIXED, 1.0, values)
        found = {node: values[labels] for node, labels in self.opened.items()}
        return {node: factors for node, factors in found.items() if np.any(factors != 1.0)}

    def values(self, factors: Mapping[str, Floats]) -> Floats:
        """Return one value per label: what `factors` was given.

        Raises:
            UsageError: The factors name no layer, do not fit it, or differ where they have to be the same.
        """
        values = np.ones(self.count)
        for node, labels in self.opened.items():
            found = factors.get(node)
            if found is None or found.shape == labels.shape:
                values[labels] = 1.0 if found is None else found
        for node, found in factors.items():
            labels = self.opened.get(node, np.zeros(0, np.intp))
            fits = found.shape == labels.shape and bool(np.all(found > 0) and np.isfinite(found).all())
            if not fits or np.any(values[labels] != found) or np.any(found[labels == FIXED] != 1.0):
                raise UsageError(
                    problem=f"The channels of '{node}' cannot be scaled by these factors.",
                    found=f"{found.shape} factors for {len(labels)} channels"
                    if found.shape != labels.shape
                    else "factors that are not positive, or differ from those of channels that they are tied to",
                    fix="Use factors that were found for this model.",
                )
        return values


class Walk:
    """Labels of the tensors met so far, in graph order; labels that are tied point to a smaller one."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.view = GraphView(model)
        known = (*model.graph.input, *model.graph.value_info, *model.graph.output)
        self._shapes = {
            value.name: tuple(int(dim.dim_value) for dim in value.type.tensor_type.shape.dim) for value in known
        }
        self._labels: dict[str, Labels] = {}
        self._opened: dict[str, Labels] = {}
        self._edits: list[Edit] = []
        self._parents = np.zeros(1, np.intp)

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return a tensor's shape; empty where it is not known."""
        if self.view.is_constant(tensor):
            return self.view.constant(tensor).shape
        return self._shapes.get(tensor, ())

    def of(self, tensor: str) -> Labels:
        """Return the labels of a tensor's channels: fixed where nothing else is known."""
        shape = self.shape(tensor)
        return self._labels.get(tensor, np.zeros(shape[1] if len(shape) > 1 else 0, np.intp))

    def put(self, tensor: str, labels: Labels) -> bool:
        """Give a tensor labels; says whether they fit it."""
        shape = self.shape(tensor)
        fits = len(shape) > 1 and shape[1] == len(labels)
        if fits:
            self._labels[tensor] = labels
        return fits

    def open(self, node: onnx.NodeProto, channels: int) -> Labels:
        """Give a layer's result labels of its own."""
        labels = np.arange(len(self._parents), len(self._parents) + channels, dtype=np.intp)
        self._parents = np.concatenate([self._parents, labels])
        self._opened[node.name] = self._labels[node.output[0]] = labels
        return labels

    def edit(self, node: onnx.NodeProto, slot: int, times: Labels | None, over: Labels | None) -> None:
        """Have a constant take factors in."""
        self._edits.append(Edit(node.name, slot, times, over))

    def tie(self, one: Labels, two: Labels) -> None:
        """Let channels have the same factors; arrays broadcast."""
        for a, b in np.broadcast(one, two):
            first, second = self._root(int(a)), self._root(int(b))
            self._parents[max(first, second)] = min(first, second)

    def fix(self, node: onnx.NodeProto) -> None:
        """Let whatever a node reads have the factor 1."""
        for name in node.input:
            self.tie(self.of(name), np.array([FIXED]))

    def is_fixed(self, labels: Labels) -> bool:
        """Say whether all these channels are fixed, from what was met so far."""
        return all(self._root(int(label)) == FIXED for label in labels)

    def result(self) -> ChannelGroups:
        """Return the labels, numbered without gaps."""
        roots = self._parents
        while np.any(roots[roots] != roots):
            roots = roots[roots]
        used, number = np.unique(roots, return_inverse=True)

        def final(labels: Labels | None) -> Labels | None:
            return None if labels is None else number[labels]

        return ChannelGroups(
            count=len(used),
            labels={name: number[labels] for name, labels in self._labels.items()},
            opened={name: number[labels] for name, labels in self._opened.items()},
            edits=tuple(Edit(one.node, one.slot, final(one.times), final(one.over)) for one in self._edits),
        )

    def _root(self, label: int) -> int:
        while self._parents[label] != label:
            self._parents[label] = self._parents[self._parents[label]]
            label = int(self._parents[label])
        return label
