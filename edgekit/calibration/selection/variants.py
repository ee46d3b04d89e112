"""Quantized variants of one model: everything, everything but some nodes, or some nodes only.

Nodes are kept in floating point; where fewer than 8 bit are simulated, in 8 bit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import onnx
from numpy.typing import NDArray

from edgekit.calibration.bits import Grids, widened
from edgekit.calibration.ranges.observe import Observations
from edgekit.calibration.scales import TensorScale, choose_scales, parameters_of
from edgekit.graph.placement import Placement, QuantizedActivation, place
from edgekit.graph.qdq import QuantizationParameters, write_qdq
from edgekit.recipes import ScaleStep
from edgekit.targets import Scheme, TensorScheme

ChooseParameters = Callable[[Placement, Mapping[str, TensorScheme]], Mapping[str, QuantizationParameters]]
"""Returns scale and zero point of every tensor of a placement, given those whose grid is not the scheme's."""

Precision = Literal["8 bit", "4 bit"]


class Variants:
    """Writes the Q/DQ models that an analysis compares.

    Args:
        model: A cleaned model at the target's opset.
        scheme: The target's rules.
        parameters: Chooses the scales of a placement; `remembered_scales` does it from observations.
        grids: Tensors whose grid is not the scheme's.
        integers: Learned integers of weights; a variant has those of the weights that it quantizes.
        biases: Learned biases by node, likewise.
        kept: Nodes that every variant keeps in floating point.

    Attributes:
        full: Where the rules put Q/DQ when nothing more is kept.
        nodes: Names of the nodes that are then computed in 8 bit, in graph order.
        parameters: Chooses scales, as given.
        precision: Of the nodes that are not kept.
    """

    precision: Precision = "8 bit"

    def __init__(
        self,
        model: onnx.ModelProto,
        scheme: Scheme,
        parameters: ChooseParameters,
        grids: Mapping[str, TensorScheme] | None = None,
        integers: Mapping[str, NDArray[Any]] | None = None,
        biases: Mapping[str, NDArray[Any]] | None = None,
        kept: Collection[str] = (),
    ) -> None:
        self.model = model
        self.full = place(model, scheme, kept)
        self.nodes = _quantized(self.full)
        self._scheme = scheme
        self.parameters = parameters
        self._grids = grids or {}
        self._integers = integers or {}
        self._biases = biases or {}
        self._kept = frozenset(kept)

    def without(self, keep: Collection[str]) -> onnx.ModelProto:
        """Return the model with everything quantized but the nodes named: what `place(keep=...)` would deploy."""
        return self._write(self.placement(keep), self._grids)

    def placement(self, keep: Collection[str]) -> Placement:
        """Return where Q/DQ go when these nodes are kept as well."""
        return place(self.model, self._scheme, self._kept | frozenset(keep))

    def only(self, nodes: Collection[str]) -> onnx.ModelProto:
        """Return the model with the nodes named quantized and all others in floating point.

        It is a probe, not a deployable placement: their weights, what they read, and every pair that is there for
        their sake, that is, goes away when they are kept.
        """
        left = {a.tensor: set(a.readers) for a in self.placement(nodes).activations}
        activations = []
        for activation in self.full.activations:
            readers = tuple(
                reader
                for reader in activation.readers
                if reader.node in nodes or reader not in left.get(activation.tensor, ())
            )
            if readers:
                activations.append(QuantizedActivation(activation.tensor, activation.group, readers))
        weights = tuple(weight for weight in self.full.weights if weight.node in nodes)
        return self._write(Placement(tuple(activations), weights, {}), self._grids)

    def kept(self, keep: Collection[str]) -> frozenset[str]:
        """Return all nodes that leave 8 bit when some are kept: the rules may leave others out as a consequence."""
        return frozenset(self.nodes) - frozenset(_quantized(self.placement(keep)))

    def _write(self, placement: Placement, grids: Mapping[str, TensorScheme]) -> onnx.ModelProto:
        placement = placement.without_wide()
        weights = {weight.tensor for weight in placement.weights}
        nodes = {weight.node for weight in placement.weights}
        return write_qdq(
            self.model,
            placement,
            self._scheme,
            self.parameters(placement, grids),
            {name: values for name, values in self._integers.items() if name in weights},
            {name: values for name, values in self._biases.items() if name in nodes},
            grids,
        )


class NarrowVariants(Variants):
    """Variants of a model of which fewer than 8 bit are simulated: what is kept has 8 bit, not floating point.

    Args:
        model: A cleaned model at the target's opset.
        scheme: The target's rules.
        parameters: Chooses the scales of a placement.
        grids: Tensors that have fewer bits; the nodes that read such weights can be kept.
        biases: Corrected biases by node.
    """

    precision: Precision = "4 bit"

    def __init__(
        self,
        model: onnx.ModelProto,
        scheme: Scheme,
        parameters: ChooseParameters,
        grids: Mapping[str, TensorScheme],
        biases: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        super().__init__(model, scheme, parameters, grids, biases=biases)
        self.nodes = tuple(weight.node for weight in self.full.weights if weight.tensor in grids)

    def without(self, keep: Collection[str]) -> onnx.ModelProto:
        """Return the model with these nodes in 8 bit."""
        return self._write(self.full, self.grids(keep))

    def only(self, nodes: Collection[str]) -> onnx.ModelProto:
        """Return the model with all others in 8 bit."""
        return self.without(frozenset(self.nodes) - frozenset(nodes))

    def placement(self, keep: Collection[str]) -> Placement:
        """Return where Q/DQ go: in the same places, whatever is kept."""
        return self.full

    def kept(self, keep: Collection[str]) -> frozenset[str]:
        """Return those of the nodes that have fewer than 8 bit otherwise."""
        return frozenset(keep) & frozenset(self.nodes)

    def grids(self, keep: Collection[str]) -> Grids:
        """Return the grids that are left when these nodes have 8 bit."""
        return widened(self._grids, self.model, self.full, keep)


def remembered_scales(
    model: onnx.ModelProto, scheme: Scheme, observations: Observations, step: ScaleStep
) -> ChooseParameters:
    """Choose scales as the scale step does, and never twice for the same tensors: most variants share most of them.

    Raises:
        ArtifactError: When called: a tensor that the placement quantizes was not observed.
    """
    remembered: dict[tuple[str, ...], dict[str, TensorScale]] = {}

    def scales_of(part: Placement, grids: Mapping[str, TensorScheme]) -> dict[str, TensorScale]:
        key = _key(part, grids)
        if key not in remembered:
            remembered[key] = choose_scales(model, part, scheme, observations, step, grids)
        return remembered[key]

    def parameters(placement: Placement, grids: Mapping[str, TensorScheme]) -> Mapping[str, QuantizationParameters]:
        chosen: dict[str, TensorScale] = {}
        for activations in _groups(placement):
            chosen |= scales_of(Placement(activations, (), {}), grids)
            for weight in placement.weights:
                if weight.activation in {activation.tensor for activation in activations}:
                    chosen |= scales_of(Placement(activations, (weight,), {}), grids)
        return parameters_of(chosen)

    return parameters


def _groups(placement: Placement) -> list[tuple[QuantizedActivation, ...]]:
    groups: dict[str, tuple[QuantizedActivation, ...]] = {}
    for activation in placement.activations:
        groups[activation.group] = (*groups.get(activation.group, ()), activation)
    return list(groups.values())


def _key(part: Placement, grids: Mapping[str, TensorScheme]) -> tuple[str, ...]:
    def named(tensor: str) -> str:
        return f"{tensor} {grids[tensor].model_dump_json()}" if tensor in grids else tensor

    weights = (f"{weight.node} {named(weight.tensor)}" for weight in part.weights)
    return (*(named(one.tensor) for one in part.activations), "", *weights)


def _quantized(placement: Placement) -> tuple[str, ...]:
    return tuple(weight.node for weight in placement.weights)
