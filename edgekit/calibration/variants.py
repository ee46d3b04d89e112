"""Quantized variants of one model: everything, everything but some nodes, or some nodes only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from edgekit.calibration.observe import Observations
from edgekit.calibration.scales import TensorScale, choose_scales, parameters_of
from edgekit.graph.placement import Placement, QuantizedActivation, QuantizedWeight, place
from edgekit.graph.qdq import QuantizationParameters, write_qdq
from edgekit.recipes import ScaleStep
from edgekit.targets import Scheme, TensorScheme

ChooseParameters = Callable[[Placement], Mapping[str, QuantizationParameters]]
"""Returns scale and zero point of every tensor of a placement."""


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
    """

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
        self._parameters = parameters
        self._grids = grids or {}
        self._integers = integers or {}
        self._biases = biases or {}
        self._kept = frozenset(kept)

    def without(self, keep: Collection[str]) -> onnx.ModelProto:
        """Return the model with everything quantized but the nodes named: what `place(keep=...)` would deploy."""
        return self._write(self.placement(keep))

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
        return self._write(Placement(tuple(activations), weights, {}))

    def kept(self, keep: Collection[str]) -> frozenset[str]:
        """Return all nodes that leave 8 bit when some are kept: the rules may leave others out as a consequence."""
        return frozenset(self.nodes) - frozenset(_quantized(self.placement(keep)))

    def _write(self, placement: Placement) -> onnx.ModelProto:
        placement = placement.without_wide()
        weights = {weight.tensor for weight in placement.weights}
        nodes = {weight.node for weight in placement.weights}
        return write_qdq(
            self.model,
            placement,
            self._scheme,
            self._parameters(placement),
            {name: values for name, values in self._integers.items() if name in weights},
            {name: values for name, values in self._biases.items() if name in nodes},
            self._grids,
        )


def remembered_scales(
    model: onnx.ModelProto,
    scheme: Scheme,
    observations: Observations,
    step: ScaleStep,
    grids: Mapping[str, TensorScheme] | None = None,
) -> ChooseParameters:
    """Choose scales as the scale step does, and never twice for the same tensors: most variants share most of them.

    Raises:
        ArtifactError: When called: a tensor that the placement quantizes was not observed.
    """
    remembered: dict[tuple[str, ...], dict[str, TensorScale]] = {}

    def scales_of(activations: tuple[QuantizedActivation, ...], weights: tuple[QuantizedWeight, ...]) -> None:
        key = _key(activations, weights)
        if key not in remembered:
            part = Placement(activations, weights, {})
            remembered[key] = choose_scales(model, part, scheme, observations, step, grids)

    def parameters(placement: Placement) -> Mapping[str, QuantizationParameters]:
        chosen: dict[str, TensorScale] = {}
        for activations in _groups(placement):
            scales_of(activations, ())
            chosen |= remembered[_key(activations, ())]
            for weight in placement.weights:
                if weight.activation in {activation.tensor for activation in activations}:
                    scales_of(activations, (weight,))
                    chosen |= remembered[_key(activations, (weight,))]
        return parameters_of(chosen)

    return parameters


def _groups(placement: Placement) -> list[tuple[QuantizedActivation, ...]]:
    groups: dict[str, tuple[QuantizedActivation, ...]] = {}
    for activation in placement.activations:
        groups[activation.group] = (*groups.get(activation.group, ()), activation)
    return list(groups.values())


def _key(activations: tuple[QuantizedActivation, ...], weights: tuple[QuantizedWeight, ...]) -> tuple[str, ...]:
    return (*(a.tensor for a in activations), "", *(f"{weight.node} {weight.tensor}" for weight in weights))


def _quantized(placement: Placement) -> tuple[str, ...]:
    return tuple(weight.node for weight in placement.weights)
