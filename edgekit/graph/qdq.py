"""Write explicit Q/DQ into a model: QuantizeLinear and DequantizeLinear pairs, and integer weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgekit.errors import UsageError
from edgekit.graph.numerics import dequantize, integer_limits, quantize, widened
from edgekit.graph.placement import (
    FUSED_ACTIVATIONS,
    WEIGHTED,
    Placement,
    QuantizedActivation,
    QuantizedWeight,
    wide_key,
)
from edgekit.graph.view import GraphView, drop_unread_constants, integer_attribute
from edgekit.targets import Scheme, TensorScheme

Array = NDArray[Any]


@dataclass(frozen=True)
class QuantizationParameters:
    """How one tensor is quantized.

    Attributes:
        scale: float32, a scalar, or one per index of `axis`.
        zero_point: The integer that stands for 0.0, shaped like the scale.
        axis: The channel axis; none for a scalar.
    """

    scale: NDArray[np.float32]
    zero_point: Array
    axis: int | None = None


def write_qdq(
    model: onnx.ModelProto,
    placement: Placement,
    scheme: Scheme,
    parameters: Mapping[str, QuantizationParameters],
    integers: Mapping[str, Array] | None = None,
    biases: Mapping[str, Array] | None = None,
    grids: Mapping[str, TensorScheme] | None = None,
) -> onnx.ModelProto:
    """Return a copy of a cleaned model with Q/DQ pairs as placed.

    Args:
        model: The floating-point model.
        placement: Which tensors are quantized, and who reads them so.
        scheme: The dtypes.
        parameters: Tensor name to its parameters, for every activation and weight of the placement; those of tensors
            with a 16-bit grid of their own under `wide_key`.
        integers: Weight name to its integers, where they were chosen; other weights are rounded to nearest.
        biases: Name of a node with quantized weights to the bias, (output channels,), that replaces its own; a node
            that has none gets one.
        grids: Tensor name to its grid, where that is not the scheme's. A grid of fewer bits than its dtype has is kept
            by a Clip before QuantizeLinear, and by the integers of weights: no engine needs to know 4-bit dtypes.

    Raises:
        UsageError: Integers or a bias belong to no quantized weight, or do not fit it.
    """
    writer = _Writer(model, scheme, parameters, integers or {}, biases or {}, grids or {})
    writer.check(placement)
    for weight in placement.weights:
        writer.quantize_weight(weight)
    for activation in placement.activations:
        writer.quantize_activation(activation)
    writer.widen(placement)
    return writer.finish()


def bias_channels(view: GraphView, weight: QuantizedWeight) -> int | None:
    """Return the length of the bias that a node with quantized weights has or could be given; none where it takes none.

    A MatMul has no place for a bias, and a bias that is computed, or is no plain vector, stays what it is.
    """
    node, shape = view.nodes[weight.node], view.constant(weight.tensor).shape
    if node.op_type == "MatMul":
        return None
    groups = integer_attribute(node, "group", 1) if node.op_type == "ConvTranspose" else 1
    channels = int(shape[weight.axis]) * groups
    bias = node.input[2] if len(node.input) > 2 else ""
    if not bias:
        return channels
    return channels if view.is_constant(bias) and view.constant(bias).shape == (channels,) else None


class _Writer:
    """Collects new nodes and constants, then lays them out in topological order."""

    def __init__(
        self,
        model: onnx.ModelProto,
        scheme: Scheme,
        parameters: Mapping[str, QuantizationParameters],
        integers: Mapping[str, Array],
        biases: Mapping[str, Array],
        grids: Mapping[str, TensorScheme],
    ) -> None:
        self._view = GraphView(model)
        self._scheme = scheme
        self._parameters = parameters
        self._integers = integers
        self._biases = biases
        self._grids = grids
        self._constants: dict[str, Array] = {}
        self._leading: list[onnx.NodeProto] = []
        self._behind: dict[str, list[onnx.NodeProto]] = {}
        self._inputs: dict[tuple[str, int], str] = {}
        self._renamed: dict[str, str] = {}
        self._made_wide: frozenset[str] = frozenset()

    def check(self, placement: Placement) -> None:
        self._made_wide = frozenset(node.output for node in placement.wide)
        quantized = [*placement.weights, *(node.weight for node in placement.wide)]
        weights = {weight.tensor: weight for weight in quantized}
        for name, integers in self._integers.items():
            self._check_integers(name, integers, weights.get(name))
        nodes = {weight.node: weight for weight in quantized}
        for name, bias in self._biases.items():
            self._check_bias(name, bias, nodes.get(name))

    def _check_integers(self, name: str, integers: Array, weight: QuantizedWeight | None) -> None:
        grid = self._grids.get(name, self._scheme.weights)
        low, high = integer_limits(grid)
        dtype = grid.dtype
        shape = None if weight is None else self._view.constant(name).shape
        fits = integers.shape == shape and integers.dtype == dtype
        if not fits or (integers.size and (integers.min() < low or integers.max() > high)):
            extent = f", {integers.min()} to {integers.max()}" if integers.size else ""
            raise UsageError(
                problem=f"The integers for '{name}' do not fit the weights that the placement quantizes.",
                found=f"{integers.dtype} {integers.shape}{extent}; expected {dtype} {shape}, {low} to {high}",
                fix="Use integers that were learned for this model, placement and scheme.",
            )

    def _check_bias(self, name: str, bias: Array, weight: QuantizedWeight | None) -> None:
        channels = None if weight is None else bias_channels(self._view, weight)
        if channels is None or bias.shape != (channels,):
            raise UsageError(
                problem=f"The bias for the node '{name}' does not fit.",
                found="no quantized node of that name takes one"
                if channels is None
                else f"{bias.shape}; ({channels},)",
                fix="Use biases that were corrected for this model and placement.",
            )

    def quantize_weight(self, weight: QuantizedWeight, activation: QuantizationParameters | None = None) -> None:
        """Store weights and bias in integers; where the activation is read on another grid than its own, on which."""
        read = self._parameters[weight.activation] if activation is None else activation
        values, how = self._view.constant(weight.tensor), self._parameters[weight.tensor]
        integers = self._integers.get(weight.tensor)
        if integers is None:
            grid = self._grids.get(weight.tensor, self._scheme.weights)
            integers = quantize(values, how.scale, how.zero_point, grid, how.axis)
        self._inputs[weight.node, 1] = self._dequantized(weight.tensor, integers, how)
        if weight.node in self._biases:
            self._replace_bias(weight, self._biases[weight.node], read)
        elif weight.bias is not None:
            # One bias may serve several nodes whose inputs differ in scale.
            self._quantize_bias(weight, f"{weight.node}/{weight.bias}", self._view.constant(weight.bias), read)

    def _replace_bias(self, weight: QuantizedWeight, bias: Array, read: QuantizationParameters) -> None:
        name = f"{weight.node}/bias"
        if self._scheme.bias == "int32":
            self._quantize_bias(weight, name, bias, read)
        else:
            self._constants[name] = np.asarray(bias, np.float32)
            self._inputs[weight.node, 2] = name

    def _quantize_bias(self, weight: QuantizedWeight, name: str, bias: Array, read: QuantizationParameters) -> None:
        """Store a bias in int32 with scale = input scale x weight scale: what an integer kernel accumulates in."""
        scale = read.scale * self._parameters[weight.tensor].scale
        scale = np.broadcast_to(scale, bias.shape).astype(np.float32)
        limits = np.iinfo(np.int32)
        integers = np.clip(np.rint(bias / scale.astype(np.float64)), limits.min, limits.max).astype(np.int32)
        how = QuantizationParameters(scale, np.zeros(bias.shape, np.int32), axis=0)
        self._inputs[weight.node, 2] = self._dequantized(name, integers, how)

    def _dequantized(self, name: str, integers: Array, how: QuantizationParameters) -> str:
        """Store integers as a constant behind a DequantizeLinear; returns the tensor that is read in their place."""
        output = f"{name}_dequantized"
        if output not in {node.output[0] for node in self._leading}:
            self._constants[f"{name}_quantized"] = integers
            inputs = [f"{name}_quantized", *self._scale_inputs(name, how)]
            self._leading.append(_node("DequantizeLinear", inputs, output, how.axis))
        return output

    def quantize_activation(self, activation: QuantizedActivation) -> None:
        name, how = activation.tensor, self._parameters[activation.tensor]
        dequantized = f"{name}_dequantized"
        scale_inputs = self._scale_inputs(name, how)
        clip, clipped = self._clip(name, how)
        self._behind[name] = [*clip, *_pair(clipped, f"{name}_quantized", dequantized, scale_inputs, how.axis)]
        for reader in activation.readers:
            self._inputs[reader.node, reader.slot] = dequantized
        if name not in self._made_wide:
            self._quantize_before_activation(name, how, scale_inputs)

    def _quantize_before_activation(self, name: str, how: QuantizationParameters, scale_inputs: list[str]) -> None:
        """Where an engine cannot fuse a Relu or Clip into QuantizeLinear, quantize what it reads on the same grid.

        It can where the ends of the grid are those of the function, so that clipping to the grid does its work. Else
        the node before it would have no quantized output. Rounding commutes with clipping at levels of a grid, so the
        second pair changes no value.
        """
        function = self._view.producer(name)
        if not self._scheme.outputs or function is None or function.op_type not in FUSED_ACTIVATIONS:
            return
        source = function.input[0]
        node = self._view.producer(source)
        alone = self._view.sole_reader(source) is not None
        if node is None or node.op_type not in WEIGHTED or not alone or self._does_the_grid_clip(function, name, how):
            return
        read = f"{source}_dequantized"
        self._behind[source] = _pair(source, f"{source}_quantized", read, scale_inputs, how.axis)
        self._inputs[function.name, 0] = read

    def _does_the_grid_clip(self, function: onnx.NodeProto, name: str, how: QuantizationParameters) -> bool:
        grid = self._grids.get(name, self._scheme.activations)
        ends = np.array([0.0, np.inf])
        if function.op_type == "Clip":
            low, high = [*function.input[1:], "", ""][:2]
            ends[0] = self._view.constant(low) if low else -np.inf
            ends[1] = self._view.constant(high) if high else np.inf
        return tuple(quantize(ends, how.scale, how.zero_point, grid).tolist()) == integer_limits(grid)

    def widen(self, placement: Placement) -> None:
        """Give the wide nodes 16-bit activations: their results, and what they read, widened where that has 8 bit."""
        own = placement.wide_tensors()
        for name in own:
            self._store_wide(name)
        for node in placement.wide:
            source = node.weight.activation
            how = self._parameters[wide_key(source)] if source in own else self._store_widened(source)
            self._inputs[node.weight.node, 0] = f"{source}_widened"
            self.quantize_weight(node.weight, how)

    def _store_wide(self, name: str) -> None:
        how, read = self._parameters[wide_key(name)], f"{name}_widened"
        narrow = self._behind.get(name, [])
        pair = _pair(name, f"{name}_wide", read, self._scale_inputs(wide_key(name), how), None)
        self._behind[name] = [*pair, *narrow]
        if name not in self._made_wide:
            return
        # An integer kernel has no other result than this: whatever reads it, a pair of 8 bit too, reads 16 bit.
        if narrow:
            narrow[0].input[0] = read
        for reader in self._view.readers(name):
            self._inputs.setdefault((reader.node, reader.slot), read)
        if name in self._view.outputs:
            self._renamed |= {name: f"{name}_exact", read: name}

    def _store_widened(self, name: str) -> QuantizationParameters:
        narrow = self._parameters[name]
        how = QuantizationParameters(*widened(narrow.scale, narrow.zero_point))
        read = f"{name}_widened"
        if read not in {node.output[0] for node in self._behind[name]}:
            scale_inputs = self._scale_inputs(wide_key(name), how)
            self._behind[name] += _pair(f"{name}_dequantized", f"{name}_wide", read, scale_inputs, None)
        return how

    def _clip(self, name: str, how: QuantizationParameters) -> tuple[list[onnx.NodeProto], str]:
        """Return a Clip to the ends of a grid that its dtype goes beyond, and the tensor that is then quantized.

        The ends are levels of the grid, and whatever lies beyond them would have been rounded to them: nothing changes
        but that the integers stay within the grid.
        """
        grid = self._grids.get(name, self._scheme.activations)
        if grid.bits is None or grid.bits == np.iinfo(grid.dtype).bits:
            return [], name
        ends = dequantize(np.array(integer_limits(grid)), how.scale, how.zero_point)
        limits = [f"{name}_least", f"{name}_greatest"]
        self._constants |= {limit: np.array(end, np.float32) for limit, end in zip(limits, ends, strict=True)}
        return [_node("Clip", [name, *limits], f"{name}_clipped", None)], f"{name}_clipped"

    def _scale_inputs(self, name: str, how: QuantizationParameters) -> list[str]:
        self._constants[f"{name}_scale"] = np.asarray(how.scale, np.float32)
        self._constants[f"{name}_zero_point"] = np.asarray(how.zero_point)
        return [f"{name}_scale", f"{name}_zero_point"]

    def finish(self) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(self._view.model)
        for node in model.graph.node:
            if len(node.input) == 2 and (node.name, 2) in self._inputs:
                node.input.append("")
            for slot, name in enumerate(node.input):
                node.input[slot] = self._inputs.get((node.name, slot), name)
        nodes = [*self._leading]
        for value in model.graph.input:
            nodes += self._behind.get(value.name, [])
        for node in model.graph.node:
            nodes.append(node)
            for name in node.output:
                nodes += self._behind.get(name, [])
        for node in nodes:
            node.input[:] = [self._renamed.get(name, name) for name in node.input]
            node.output[:] = [self._renamed.get(name, name) for name in node.output]
        ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(ordered)
        drop_unread_constants(model.graph)
        model.graph.initializer.extend(
            numpy_helper.from_array(values, name) for name, values in self._constants.items()
        )
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def _pair(source: str, quantized: str, read: str, scale_inputs: list[str], axis: int | None) -> list[onnx.NodeProto]:
    return [
        _node("QuantizeLinear", [source, *scale_inputs], quantized, axis),
        _node("DequantizeLinear", [quantized, *scale_inputs], read, axis),
    ]


def _node(operator: str, inputs: list[str], output: str, axis: int | None) -> onnx.NodeProto:
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    return helper.make_node(operator, inputs, [output], name=f"{output}_{operator}", **attributes)
