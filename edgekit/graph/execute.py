"""Run an ONNX graph in torch: differentiable, with taps on any tensor and quantizers wherever a node reads one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edgekit.errors import ModelError, UsageError
from edgekit.graph.clean import opset_of
from edgekit.graph.operators.program import ABSENT, Step, build
from edgekit.graph.view import Reader

Quantizer = Callable[[torch.Tensor], torch.Tensor]


class TorchGraph:
    """A cleaned model as a function in torch.

    Attributes, constants and shapes are read once, here; a call walks a list of prepared steps and drops each tensor
    behind its last reader. It computes in the dtype of the values it is given: float64 values, in double precision.

    Args:
        model: A cleaned model (`edgekit.graph.clean`): named nodes, static shapes, one input.
        device: Where to run, as torch names it.

    Attributes:
        input_name: Name of the one input.
        output_names: Names of the outputs, in order.
        device: Where it runs.
        constants: Every initializer by name, on the device, without gradient. A call replaces one by its argument.

    Raises:
        ModelError: An operator is missing, or asks for something that is not supported; node and operator are named.
    """

    def __init__(self, model: onnx.ModelProto, device: str = "cpu") -> None:
        program = build(model, opset_of(model))
        self.device = torch.device(device)
        self.input_name, self._input_shape = _input(model)
        self.output_names: tuple[str, ...] = tuple(value.name for value in model.graph.output)
        self.constants: dict[str, torch.Tensor] = _on(self.device, program.weights)
        self._fixed = _on(self.device, program.fixed)
        self._read_once = program.read_once
        self._places = program.places
        self._steps = program.steps
        self._numbers = {step.node: number for number, step in enumerate(self._steps)}
        self._values: dict[torch.dtype, list[torch.Tensor | None]] = {}

    def __call__(
        self,
        values: torch.Tensor | NDArray[Any],
        *,
        taps: Collection[str] = (),
        constants: Mapping[str, torch.Tensor] | None = None,
        quantizers: Mapping[Reader, Quantizer] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Run the graph once; gradients flow to `values`, to `constants` and through `quantizers`.

        Args:
            values: The input. Its batch may be larger than the model's where no constant holds the batch.
            taps: Names of tensors to return beside the outputs.
            constants: Initializer name to what takes its place in this call: weights and biases being optimized.
            quantizers: What is applied to the tensor that a node reads at an input. A quantizer that several readers
                share runs once for each tensor.

        Returns:
            Outputs and taps by name. A tap is the tensor as it was made, before any quantizer. They may share memory
            with each other, with the input and with `constants`: do not change them in place.

        Raises:
            UsageError: `taps`, `constants` or `quantizers` name what the graph lacks.
            ModelError: A node fails, for example where a constant shape does not allow the batch.
        """
        if isinstance(values, np.ndarray) and not values.flags.writeable:
            values = values.copy()  # torch warns of memory that it might write to
        data = torch.as_tensor(values, device=self.device)
        if data.ndim != len(self._input_shape) or tuple(data.shape[1:]) != self._input_shape[1:]:
            raise UsageError(
                problem=f"The values do not fit the input '{self.input_name}'.",
                found=f"shape {tuple(data.shape)}, where the model takes {self._input_shape}",
                fix="Preprocess frames with the recipe's Preprocessor.",
            )
        places = self._initial(data, constants or {})
        wanted = {name: self._place_of(name) for name in (*self.output_names, *taps)}
        self._walk(places, frozenset(wanted.values()), self._by_step(quantizers or {}))
        return {name: _present(places[place]) for name, place in wanted.items()}

    def can_replace(self, name: str) -> bool:
        """Say whether `constants` of a call may hold this name: not where a value was read when the graph was built."""
        return name in self.constants and name not in self._read_once

    def _walk(
        self, places: list[torch.Tensor | None], kept: frozenset[int], quantized: Mapping[int, Mapping[int, Quantizer]]
    ) -> None:
        """Run all steps; `places` holds the input and the constants before, and what is kept afterwards."""
        readings = _Readings(self._steps, quantized)
        for number, step in enumerate(self._steps):
            arguments = [places[place] for place in step.inputs]
            if number in quantized:
                for slot, quantizer in quantized[number].items():
                    arguments[slot] = readings.read(step.inputs[slot], _present(arguments[slot]), quantizer)
            try:
                result = step.run(*arguments)
            except (RuntimeError, IndexError, ValueError) as error:
                if isinstance(error, torch.cuda.OutOfMemoryError):
                    raise
                raise self._failed(step, arguments, error) from error
            if isinstance(result, torch.Tensor):
                places[step.outputs[0]] = result
            else:
                for place, tensor in zip(step.outputs, result, strict=False):
                    if place != ABSENT:
                        places[place] = tensor
            for place in step.dead:
                if place not in kept:
                    places[place] = None

    def _initial(self, data: torch.Tensor, replaced: Mapping[str, torch.Tensor]) -> list[torch.Tensor | None]:
        dtype = data.dtype if data.dtype.is_floating_point else torch.float32
        if dtype not in self._values:
            self._values[dtype] = [None] * (len(self._places) + 1)
            for name, constant in (*self.constants.items(), *self._fixed.items()):
                self._values[dtype][self._places[name]] = _channels_last(_in_precision(constant, dtype))
        places = list(self._values[dtype])
        places[self._places[self.input_name]] = _channels_last(data)
        for name, tensor in replaced.items():
            if not self.can_replace(name):
                known = "it is read once, when the graph is built" if name in self.constants else "no such initializer"
                raise UsageError(
                    problem=f"The constant '{name}' cannot be replaced.", found=known, fix="Replace weights and biases."
                )
            places[self._places[name]] = _in_precision(tensor, dtype)
        return places

    def _place_of(self, name: str) -> int:
        if name not in self._places:
            raise UsageError(
                problem=f"The graph has no tensor '{name}'.",
                found=f"{len(self._places)} tensors, from '{self.input_name}' to '{self.output_names[-1]}'",
                fix="Name a tensor of the cleaned model.",
            )
        return self._places[name]

    def _by_step(self, quantizers: Mapping[Reader, Quantizer]) -> dict[int, dict[int, Quantizer]]:
        steps: dict[int, dict[int, Quantizer]] = defaultdict(dict)
        for reader, quantizer in quantizers.items():
            number = self._numbers.get(reader.node)
            inputs = () if number is None else self._steps[number].inputs
            if number is None or not 0 <= reader.slot < len(inputs) or inputs[reader.slot] == ABSENT:
                raise UsageError(
                    problem=f"There is nothing to quantize at input {reader.slot} of node '{reader.node}'.",
                    found="no such node" if number is None else f"a node with {len(inputs)} inputs",
                    fix="Place quantizers with edgekit.graph.placement on the same model.",
                )
            steps[number][reader.slot] = quantizer
        return steps

    def _failed(self, step: Step, arguments: list[torch.Tensor | None], error: Exception) -> ModelError:
        shapes = ", ".join("none" if tensor is None else str(tuple(tensor.shape)) for tensor in arguments)
        return ModelError(
            problem=f"Node '{step.node}' ({step.operator}) failed in torch.",
            found=f"inputs {shapes}: {str(error).strip().splitlines()[0]}",
            fix=f"Run it with the model's own batch of {self._input_shape[0]}: constant shapes may hold the batch.",
        )


class _Readings:
    """What quantizers made of tensors in one call; each is dropped behind its last reader."""

    def __init__(self, steps: tuple[Step, ...], quantized: Mapping[int, Mapping[int, Quantizer]]) -> None:
        self._left = Counter(
            (steps[number].inputs[slot], id(quantizer))
            for number, slots in quantized.items()
            for slot, quantizer in slots.items()
        )
        self._made: dict[tuple[int, int], torch.Tensor] = {}

    def read(self, place: int, tensor: torch.Tensor, quantizer: Quantizer) -> torch.Tensor:
        key = (place, id(quantizer))
        made = self._made.pop(key) if key in self._made else quantizer(tensor)
        self._left[key] -= 1
        if self._left[key]:
            self._made[key] = made
        return made


def _input(model: onnx.ModelProto) -> tuple[str, tuple[int, ...]]:
    initializers = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    if len(inputs) != 1:
        raise ModelError(
            problem="Models with one input are supported.",
            found=", ".join(value.name for value in inputs) or "no input",
            fix="Export the network with the image as its only input.",
        )
    return inputs[0].name, tuple(dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim)


def _on(device: torch.device, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _in_precision(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Bring a constant to the dtype that the call computes in; other dtypes than float32 are the graph's own choice."""
    return tensor.to(dtype) if tensor.dtype == torch.float32 else tensor


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Lay out an image or a kernel so that its channels are neighbours, for which torch has its fastest kernels."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _present(tensor: torch.Tensor | None) -> torch.Tensor:
    assert tensor is not None
    return tensor
