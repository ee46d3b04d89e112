"""A quantized network in two forms: what it is made of, and a torch simulation of it whose parts can be learned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekit.calibration.reconstruction.fake_quantization import Drop, LearnedScale
from edgekit.calibration.reconstruction.rounding import LearnedRounding
from edgekit.graph.execute import TorchGraph
from edgekit.graph.placement import Placement, QuantizedWeight
from edgekit.graph.qdq import QuantizationParameters, bias_channels, write_qdq
from edgekit.graph.view import GraphView, Reader
from edgekit.targets import Scheme, TensorScheme

Array = NDArray[Any]
State = dict[str, torch.Tensor]
Weights = Literal["hard", "soft", "straight"]


@dataclass(frozen=True)
class QuantizedModel:
    """A floating-point model and all that makes it a quantized one.

    Attributes:
        model: The cleaned model.
        placement: Where Q/DQ pairs go.
        scheme: The target's rules.
        parameters: Scale and zero point of every activation and weight of the placement, by tensor.
        integers: Integers of weights that were learned, by tensor; the others are rounded to nearest.
        biases: Biases that replace the model's own, by node.
        grids: Tensors whose grid is not the scheme's: fewer bits, or 16 (`edgekit.calibration.bits`).
        pinned: Groups of activations whose scale is not learned, because it is exact.
    """

    model: onnx.ModelProto
    placement: Placement
    scheme: Scheme
    parameters: Mapping[str, QuantizationParameters]
    integers: Mapping[str, Array] = field(default_factory=dict)
    biases: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    grids: Mapping[str, TensorScheme] = field(default_factory=dict)
    pinned: frozenset[str] = frozenset()

    def qdq(self) -> onnx.ModelProto:
        """Return the model with explicit Q/DQ."""
        return write_qdq(
            self.model, self.placement, self.scheme, self.parameters, self.integers, self.biases, self.grids
        )

    def with_biases(self, biases: Mapping[str, NDArray[np.float32]]) -> QuantizedModel:
        """Return it with other biases."""
        return replace(self, biases=dict(biases))


class Simulation:
    """A quantized model in torch: learnable scales, rounding and biases around one executor.

    Args:
        start: The quantized model. Nothing learned, it computes what this one's Q/DQ model computes.
        device: As torch names it.

    Attributes:
        placement: Where it is quantized.
        graph: Runs the network; every node with quantized weights that takes a bias has one.
        learned: Learned parameters by name: `scale/<group>`, `rounding/<weight>`, `bias/<node>`.
    """

    def __init__(self, start: QuantizedModel, device: str = "cpu") -> None:
        self._start = start
        self.placement = start.placement
        view = GraphView(start.model)
        self.model = _with_biases(start, view)
        self.graph = TorchGraph(self.model, device)
        self._weights = {weight.tensor: weight for weight in start.placement.weights}
        self._scales = {
            one.group: LearnedScale(start.parameters[one.group], self._grid(one.group, "activations"), device)
            for one in start.placement.activations
        }
        self._rounding = {
            name: LearnedRounding(
                view.constant(name),
                start.parameters[name],
                self._grid(name, "weights"),
                device,
                start.integers.get(name),
            )
            for name in self._weights
        }
        self._biases = {
            weight.node: _LearnedBias(bias_of(start, view, weight), device)
            for weight in start.placement.weights
            if bias_channels(view, weight) is not None
        }
        groups = {one.tensor: one.group for one in start.placement.activations}
        self._accumulators = {
            weight.node: (self._scales[groups[weight.activation]], self._rounding[weight.tensor])
            for weight in start.placement.weights
        }
        self.learned: State = (
            {f"scale/{name}": one.log_factor for name, one in self._scales.items() if name not in start.pinned}
            | {f"rounding/{name}": one.logits for name, one in self._rounding.items()}
            | {f"bias/{name}": one.shift for name, one in self._biases.items()}
        )

    def __call__(
        self, values: torch.Tensor, *, taps: Collection[str] = (), quantizers: Mapping[Reader, Any] | None = None
    ) -> dict[str, torch.Tensor]:
        """Return outputs and taps of the quantized network as it would be exported now, without gradient."""
        with torch.no_grad():
            return self.graph(values, taps=taps, quantizers=self.quantizers() if quantizers is None else quantizers)

    def reference(self, values: torch.Tensor, *, taps: Collection[str] = ()) -> dict[str, torch.Tensor]:
        """Return outputs and taps of the floating-point network."""
        with torch.no_grad():
            return self.graph(values, taps=taps)

    def quantizers(
        self, *, weights: Weights = "hard", drop: Drop | None = None, nodes: Collection[str] | None = None
    ) -> dict[Reader, Callable[[torch.Tensor], torch.Tensor]]:
        """Return what each node reads in place of its inputs, for one call of a graph.

        Args:
            weights: Which form of them (`rounding`, beside this): `hard` without gradient, `soft` and `straight` with.
            drop: Which share of activation values skips quantization.
            nodes: Only for these nodes.
        """
        reading: dict[Reader, Callable[[torch.Tensor], torch.Tensor]] = {}
        groups = {name: partial(scale, drop=drop) for name, scale in self._scales.items()}
        for activation in self._start.placement.activations:
            reading |= {reader: groups[activation.group] for reader in activation.readers}
        for weight in self._start.placement.weights:
            if nodes is None or weight.node in nodes:
                reading[Reader(weight.node, 1)] = _constantly(getattr(self._rounding[weight.tensor], weights)())
        for node, bias in self._biases.items():
            if nodes is None or node in nodes:
                reading[Reader(node, 2)] = _constantly(self._bias(node, bias))
        return reading if nodes is None else {reader: one for reader, one in reading.items() if reader.node in nodes}

    def set_bias_units(self, units: Mapping[str, torch.Tensor]) -> None:
        """Say what a shift of 1 means for the bias of each node: the noise in the node's results."""
        for node, bias in self._biases.items():
            bias.unit = units[node]

    def nodes_with_bias(self) -> tuple[str, ...]:
        """Return the nodes whose bias can be learned."""
        return tuple(self._biases)

    def regularizer(self, beta: float, weights: Collection[str]) -> torch.Tensor:
        """Return the mean over these weights of 1 - |2 h - 1|^beta."""
        chosen = [self._rounding[name] for name in weights]
        count = sum(one.logits.numel() for one in chosen)
        return torch.stack([one.regularizer(beta) for one in chosen]).sum() / count

    def state(self) -> State:
        """Return a copy of what was learned."""
        return {name: tensor.detach().clone() for name, tensor in self.learned.items()}

    def load(self, state: State) -> None:
        """Go back to a state."""
        with torch.no_grad():
            for name, tensor in self.learned.items():
                tensor.copy_(state[name])

    def export(self) -> QuantizedModel:
        """Return the quantized model as learned."""
        activations = {one.tensor: self._scales[one.group].export() for one in self._start.placement.activations}
        biases = {name: bias.values().detach().cpu().numpy() for name, bias in self._biases.items()}
        kept = {name: bias for name, bias in biases.items() if bias.any() or name in self._start.biases}
        return replace(
            self._start,
            parameters={**self._start.parameters, **activations},
            integers={name: rounding.integers() for name, rounding in self._rounding.items()},
            biases=kept,
        )

    def _bias(self, node: str, bias: _LearnedBias) -> torch.Tensor:
        if self._start.scheme.bias != "int32":
            return bias.values()
        scale, rounding = self._accumulators[node]
        return _in_int32(bias.values(), scale.scale.detach() * rounding.scale)

    def _grid(self, tensor: str, kind: str) -> TensorScheme:
        scheme = self._start.scheme
        return self._start.grids.get(tensor, scheme.activations if kind == "activations" else scheme.weights)


class _LearnedBias:
    """A bias that moves from where it starts in units of the noise in its node's results."""

    def __init__(self, start: NDArray[np.float32], device: torch.device | str) -> None:
        self._start = torch.from_numpy(np.array(start, np.float32)).to(device)
        self.unit = torch.ones_like(self._start)
        self.shift = torch.zeros_like(self._start, requires_grad=True)

    def values(self) -> torch.Tensor:
        return self._start + self.shift * self.unit


def bias_of(start: QuantizedModel, view: GraphView, weight: QuantizedWeight) -> NDArray[np.float32]:
    """Return the bias of a node with quantized weights; zeros where it has none."""
    if weight.node in start.biases:
        return start.biases[weight.node]
    inputs = view.nodes[weight.node].input
    if len(inputs) > 2 and inputs[2]:
        return np.asarray(view.constant(inputs[2]), np.float32)
    return np.zeros(bias_channels(view, weight) or 0, np.float32)


def _with_biases(start: QuantizedModel, view: GraphView) -> onnx.ModelProto:
    """Give every node that could have a bias a bias of zeros, so that there is a place to learn one."""
    model = onnx.ModelProto()
    model.CopyFrom(start.model)
    _lift_constants(model)
    nodes = {node.name: node for node in model.graph.node}
    for weight in start.placement.weights:
        node, channels = nodes[weight.node], bias_channels(view, weight)
        if channels is not None and not (len(node.input) > 2 and node.input[2]):
            name = f"{node.name}/no_bias"
            model.graph.initializer.append(numpy_helper.from_array(np.zeros(channels, np.float32), name))
            del node.input[2:]
            node.input.append(name)
    return model


def _lift_constants(model: onnx.ModelProto) -> None:
    """Make initializers of Constant nodes: raising the opset may leave some, without a name."""
    constants = [node for node in model.graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]
    for node in constants:
        model.graph.initializer.add().CopyFrom(node.attribute[0].t)
        model.graph.initializer[-1].name = node.output[0]
        model.graph.node.remove(node)


def _in_int32(bias: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Round to the accumulator's grid, as `write_qdq` does; the gradient passes through."""
    with torch.no_grad():
        integers = torch.round(bias.double() / scale.double()).clamp(-(2.0**31), 2.0**31 - 1)
        rounded = integers.to(torch.float32) * scale
    return bias + (rounded - bias).detach() if bias.requires_grad and torch.is_grad_enabled() else rounded


def _constantly(values: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda _: values
