"""Fake quantization within the executor: what each learned parameter does to the outputs, and its gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch

from edgekit.calibration.reconstruction.simulation import QuantizedModel, Simulation, Weights
from edgekit.graph.numerics import dequantize, quantize
from edgekit.graph.view import Reader
from tests.calibration.quantized import LOW, inputs, quantized_net
from tests.graph.models import joining_net, residual_net

Loss = Callable[[], torch.Tensor]


def low_bit(model: onnx.ModelProto) -> QuantizedModel:
    return quantized_net(model, **LOW)


def frame() -> torch.Tensor:
    return torch.from_numpy(next(inputs())).double()


def loss_of(simulation: Simulation, weights: Weights, *, activations: bool = True) -> Loss:
    """Return the sum of squares of all outputs, in float64, with or without activations quantized."""

    def loss() -> torch.Tensor:
        quantizers = {
            reader: doubled(one)
            for reader, one in simulation.quantizers(weights=weights).items()
            if activations or reader.slot != 0
        }
        results = simulation.graph(frame(), quantizers=quantizers)
        return torch.stack([values.square().sum() for values in results.values()]).sum()

    return loss


def doubled(quantizer: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda values: quantizer(values).double()


def in_double(simulation: Simulation, name: str) -> torch.Tensor:
    """Return a learned parameter, from now on in float64, which finite differences need."""
    parameter = simulation.learned[name]
    parameter.data = parameter.data.double()
    return parameter


def numeric(loss: Loss, parameter: torch.Tensor, index: tuple[int, ...], step: float = 1e-5) -> float:
    with torch.no_grad():
        parameter[index] += step
        above = loss()
        parameter[index] -= 2 * step
        below = loss()
        parameter[index] += step
    return float(above - below) / (2 * step)


@pytest.mark.parametrize("weight", ["stem_w", "first_w", "head_w"])
def test_the_gradient_of_soft_rounding_is_that_of_finite_differences(weight: str) -> None:
    """Activations stay in floating point here: rounded, they have no slope to compare with."""
    simulation = Simulation(low_bit(residual_net()))
    logits = in_double(simulation, f"rounding/{weight}")
    loss = loss_of(simulation, "soft", activations=False)
    loss().backward()
    assert logits.grad is not None
    for index in [(0, 0, 0, 0), (2, 1, 0, 0), (3, 2, 0, 0)]:
        assert float(logits.grad[index]) == pytest.approx(numeric(loss, logits, index), rel=1e-3, abs=1e-6)
    assert logits.grad.abs().max() > 0


def test_with_everything_quantized_the_last_layers_gradients_are_those_of_finite_differences() -> None:
    """Behind the last quantized activation the network is smooth in its biases and in soft rounding."""
    simulation = Simulation(low_bit(residual_net()))
    loss = loss_of(simulation, "soft")
    shift, logits = in_double(simulation, "bias/head_node"), in_double(simulation, "rounding/head_w")
    loss().backward()
    assert shift.grad is not None
    assert logits.grad is not None
    for index in range(4):
        assert float(shift.grad[index]) == pytest.approx(numeric(loss, shift, (index,)), rel=1e-4)
        place = (index, 2 * index, 0, 0)
        assert float(logits.grad[place]) == pytest.approx(numeric(loss, logits, place), rel=1e-3, abs=1e-6)


def test_the_gradient_of_a_scale_whose_values_are_clipped_is_that_of_finite_differences() -> None:
    """Beyond so narrow a grid lie all positive values, and the result is smooth in the scale. LSQ shrinks the slope."""
    start = low_bit(residual_net())
    narrow = dataclasses.replace(start.parameters["third_relu"], scale=np.float32(1e-6).reshape(()))
    start = dataclasses.replace(start, parameters={**start.parameters, "third_relu": narrow})
    simulation = Simulation(start)
    loss = loss_of(simulation, "hard")
    log_factor = in_double(simulation, "scale/third_relu")
    loss().backward()
    assert log_factor.grad is not None
    values = simulation.graph(frame(), taps=["third_relu"])["third_relu"].numel()
    shrunk = numeric(loss, log_factor, (), step=1e-3) / np.sqrt(values * 15)
    assert float(log_factor.grad) == pytest.approx(shrunk, rel=1e-4)


@pytest.mark.parametrize("build", [residual_net, joining_net])
def test_weights_that_are_neither_learned_nor_undecided_are_rounded_to_nearest(
    build: Callable[[], onnx.ModelProto],
) -> None:
    start = low_bit(build())
    found = Simulation(start).export()
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in start.model.graph.initializer}
    for name, integers in found.integers.items():
        how = start.parameters[name]
        nearest = quantize(constants[name], how.scale, how.zero_point, LOW["weights"], how.axis)
        np.testing.assert_array_equal(integers, nearest)


def test_what_is_quantized_already_is_not_changed_by_quantizing_it_again() -> None:
    simulation = Simulation(low_bit(joining_net()))
    values = torch.from_numpy(next(inputs()))
    with torch.no_grad():
        for reader, quantizer in simulation.quantizers().items():
            once = quantizer(values)
            assert torch.equal(quantizer(once), once), reader


def test_a_weight_is_read_as_the_integers_that_are_exported_times_their_scale() -> None:
    simulation = Simulation(low_bit(residual_net()))
    with torch.no_grad():
        simulation.learned["rounding/first_w"].normal_(0, 3, generator=torch.Generator().manual_seed(0))
    exported = simulation.export()
    how = exported.parameters["first_w"]
    expected = dequantize(exported.integers["first_w"], how.scale, how.zero_point, how.axis)
    read = simulation.quantizers()[Reader("first_node", 1)](torch.zeros(()))
    np.testing.assert_array_equal(read.numpy(), expected)
