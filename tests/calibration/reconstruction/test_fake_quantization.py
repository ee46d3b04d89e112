from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekit.calibration.reconstruction.fake_quantization import Drop, LearnedScale, fake_quantize
from edgekit.graph.numerics import dequantize, integer_limits, quantize, scale_and_zero_point
from edgekit.graph.qdq import QuantizationParameters
from edgekit.targets import TensorScheme

SCHEMES = {
    "u8": TensorScheme(dtype="uint8", symmetric=False, granularity="tensor"),
    "s8": TensorScheme(dtype="int8", symmetric=True, granularity="tensor"),
    "s8 reduced": TensorScheme(dtype="int8", symmetric=True, granularity="tensor", reduce_range=True),
    "u16": TensorScheme(dtype="uint16", symmetric=False, granularity="tensor"),
    "s16": TensorScheme(dtype="int16", symmetric=True, granularity="tensor"),
    "u4": TensorScheme(dtype="uint8", symmetric=False, granularity="tensor", bits=4),
    "s4": TensorScheme(dtype="int8", symmetric=True, granularity="tensor", bits=4),
}
values_of_any_size = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=3, max_side=6),
    elements=st.floats(-(2.0**20), 2.0**20, width=32),
)


def learned(scheme: TensorScheme, low: Any, high: Any, axis: int | None = None) -> LearnedScale:
    scale, zero_point = scale_and_zero_point(low, high, scheme)
    return LearnedScale(QuantizationParameters(scale, zero_point, axis), scheme)


def through_numpy(values: np.ndarray, how: QuantizationParameters, scheme: TensorScheme) -> np.ndarray:
    integers = quantize(values, how.scale, how.zero_point, scheme, how.axis)
    return dequantize(integers, how.scale, how.zero_point, how.axis)


@pytest.mark.parametrize("name", SCHEMES)
@settings(deadline=None)
@given(values=values_of_any_size, low=st.floats(-1e3, 0), high=st.floats(0.01, 1e3))
def test_it_is_the_reference_bit_for_bit(name: str, values: np.ndarray, low: float, high: float) -> None:
    quantizer = learned(SCHEMES[name], low, high)
    with torch.no_grad():
        result = quantizer(torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(result, through_numpy(values, quantizer.export(), SCHEMES[name]))


def test_channels_have_their_own_scales() -> None:
    values = np.random.default_rng(0).normal(0, 3, (2, 3, 5)).astype(np.float32)
    scheme = SCHEMES["s8"].model_copy(update={"granularity": "channel"})
    quantizer = learned(scheme, -np.arange(1.0, 4.0), np.arange(1.0, 4.0), axis=1)
    with torch.no_grad():
        result = quantizer(torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(result, through_numpy(values, quantizer.export(), scheme))


@pytest.mark.parametrize("name", SCHEMES)
@settings(deadline=None)
@given(values=values_of_any_size)
def test_it_is_idempotent(name: str, values: np.ndarray) -> None:
    quantizer = learned(SCHEMES[name], -7.0, 30.0)
    with torch.no_grad():
        once = quantizer(torch.from_numpy(values))
        assert torch.equal(quantizer(once), once)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_more_bits_are_finer(bits: int) -> None:
    scheme = TensorScheme(dtype="uint16", symmetric=False, granularity="tensor", bits=bits)
    assert integer_limits(scheme) == (0, 2**bits - 1)
    values = torch.linspace(0, 1, 4001)
    with torch.no_grad():
        worst = float((learned(scheme, 0.0, 1.0)(values) - values).abs().max())
    assert worst == pytest.approx(0.5 / (2**bits - 1), rel=0.05) or bits == 16
    assert worst < 0.51 / (2**bits - 1)


def test_the_gradient_passes_inside_the_grid_and_stops_beyond() -> None:
    values = torch.tensor([-9.0, -0.31, 0.0, 0.47, 9.0], requires_grad=True)
    quantizer = learned(SCHEMES["s8"], -1.0, 1.0)
    (quantizer(values) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 0.0]


def test_the_scale_of_clipped_values_has_the_true_gradient() -> None:
    """Beyond the grid the result is limit * scale, which is smooth: finite differences hold there."""
    values = torch.tensor([50.0, -70.0, 90.0], dtype=torch.float64)
    scale = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    zero_point = torch.tensor(0.0, dtype=torch.float64)

    def total(at: torch.Tensor) -> torch.Tensor:
        return (fake_quantize(values, at, zero_point, -127, 127) * torch.tensor([1.0, 2.0, 4.0])).sum()

    total(scale).backward()
    with torch.no_grad():
        numeric = (total(scale + 1e-5) - total(scale - 1e-5)) / 2e-5
    assert scale.grad is not None
    assert float(scale.grad) == pytest.approx(float(numeric) / (3 * 127) ** 0.5, rel=1e-6)


def test_the_scale_of_values_inside_has_the_rounding_error_as_gradient() -> None:
    values = torch.tensor([0.26, 1.7])
    scale = torch.tensor(1.0, requires_grad=True)
    fake_quantize(values, scale, torch.tensor(0.0), -7, 7).sum().backward()
    assert scale.grad is not None
    assert float(scale.grad) == pytest.approx(((0 - 0.26) + (2 - 1.7)) / (2 * 7) ** 0.5, rel=1e-4)


def test_a_learned_scale_serves_the_values_better() -> None:
    """A range ten times too wide shrinks until the error is a fraction of what it was."""
    values = torch.from_numpy(np.random.default_rng(1).normal(0, 1, 4000).astype(np.float32))
    quantizer = learned(SCHEMES["s4"], -30.0, 30.0)
    adam = torch.optim.Adam([quantizer.log_factor], lr=0.15)
    errors = []
    for _ in range(200):
        adam.zero_grad()
        error = (quantizer(values) - values).square().mean()
        error.backward()
        adam.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.1 * errors[0]


def test_dropping_keeps_the_share_that_was_asked_for_and_depends_on_the_seed_alone() -> None:
    values = torch.from_numpy(np.random.default_rng(2).normal(0, 1, (1, 3, 100, 101)).astype(np.float32))
    quantizer = learned(SCHEMES["s4"], -3.0, 3.0)

    def draw(seed: int) -> torch.Tensor:
        with torch.no_grad():
            return quantizer(values, Drop(0.25, torch.Generator().manual_seed(seed)))

    assert float((draw(1) == values).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_dropped_values_pass_the_gradient_on_and_do_not_move_the_scale() -> None:
    values = torch.full((1000,), 50.0, requires_grad=True)
    quantizer = learned(SCHEMES["s8"], -1.0, 1.0)
    quantizer(values, Drop(1.0, torch.Generator().manual_seed(0))).sum().backward()
    assert values.grad is not None
    assert values.grad.min() == 1.0
    assert float(quantizer.log_factor.grad) == 0.0  # type: ignore[arg-type]
