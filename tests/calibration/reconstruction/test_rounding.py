from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekit.calibration.reconstruction.rounding import LearnedRounding, beta_at
from edgekit.graph.numerics import dequantize, quantize, scale_and_zero_point
from edgekit.graph.qdq import QuantizationParameters
from edgekit.targets import TensorScheme

SCHEME = TensorScheme(dtype="int8", symmetric=True, granularity="channel")


def learned(weights: np.ndarray, shrink: float = 1.0) -> tuple[LearnedRounding, QuantizationParameters]:
    extent = np.abs(weights).reshape(len(weights), -1).max(axis=1) * shrink
    scale, zero_point = scale_and_zero_point(-extent, extent, SCHEME)
    how = QuantizationParameters(scale, zero_point, axis=0)
    return LearnedRounding(weights, how, SCHEME), how


weights_of_any_size = arrays.arrays(
    np.float32, arrays.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=st.floats(-8, 8, width=32)
)


@settings(deadline=None)
@given(weights=weights_of_any_size, shrink=st.sampled_from([1.0, 0.6]))
def test_untouched_and_hardened_it_rounds_to_nearest(weights: np.ndarray, shrink: float) -> None:
    rounding, how = learned(weights, shrink)
    integers = quantize(weights, how.scale, how.zero_point, SCHEME, 0)
    np.testing.assert_array_equal(rounding.integers(), integers)
    np.testing.assert_array_equal(rounding.hard().numpy(), dequantize(integers, how.scale, how.zero_point, 0))


def test_ties_go_to_even() -> None:
    weights = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, 127.0]], np.float32)
    rounding, _ = learned(weights)
    assert rounding.integers().tolist() == [[0, 2, 2, 0, -2, 127]]


def test_soft_weights_start_where_the_weights_are() -> None:
    weights = np.random.default_rng(0).normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
    rounding, how = learned(weights)
    difference = np.abs(rounding.soft().detach().numpy() - weights)
    assert difference.max() <= 2e-3 * how.scale.max()


def test_at_its_limits_it_rounds_up_or_down() -> None:
    weights = np.random.default_rng(0).normal(0, 1, (4, 9)).astype(np.float32)
    rounding, how = learned(weights, shrink=1.2)
    floor = np.floor(weights / how.scale[:, None])
    for far, expected in ((-100.0, floor), (100.0, floor + 1)):
        with torch.no_grad():
            rounding.logits.fill_(far)
        np.testing.assert_array_equal(rounding.integers(), expected)
        torch.testing.assert_close(rounding.soft(), rounding.hard())
        assert float(rounding.regularizer(2.0).detach()) == 0.0


def test_the_regularizer_counts_undecided_weights() -> None:
    rounding, _ = learned(np.ones((2, 5), np.float32))
    with torch.no_grad():
        rounding.logits.fill_(0.0)
    assert float(rounding.regularizer(20.0).detach()) == pytest.approx(10.0)


def test_the_gradient_of_soft_weights_is_that_of_finite_differences() -> None:
    rounding, _ = learned(np.random.default_rng(3).normal(0, 1, (3, 4)).astype(np.float32), shrink=1.2)
    mix = torch.from_numpy(np.random.default_rng(4).normal(0, 1, (3, 4)).astype(np.float32))
    (rounding.soft() * mix).sum().backward()
    assert rounding.logits.grad is not None
    with torch.no_grad():
        rounding.logits += 1e-2
        above = rounding.soft() * mix
        rounding.logits -= 2e-2
        below = rounding.soft() * mix
    numeric = (above - below) / 2e-2
    torch.testing.assert_close(rounding.logits.grad, numeric, rtol=2e-2, atol=1e-5)


def test_straight_weights_are_the_hard_ones_with_the_soft_ones_gradient() -> None:
    rounding, _ = learned(np.random.default_rng(3).normal(0, 1, (3, 4)).astype(np.float32), shrink=1.2)
    torch.testing.assert_close(rounding.straight().detach(), rounding.hard(), rtol=1e-6, atol=1e-6)
    soft = torch.autograd.grad(rounding.soft().sum(), rounding.logits)
    straight = torch.autograd.grad(rounding.straight().sum(), rounding.logits)
    torch.testing.assert_close(soft, straight)


def test_it_goes_on_from_integers_of_an_earlier_learning() -> None:
    weights = np.random.default_rng(5).normal(0, 1, (4, 9)).astype(np.float32)
    rounding, how = learned(weights, shrink=1.2)
    with torch.no_grad():
        rounding.logits.copy_(torch.from_numpy(np.random.default_rng(6).normal(0, 3, (4, 9)).astype(np.float32)))
    integers = rounding.integers()
    again = LearnedRounding(weights, how, SCHEME, integers=integers)
    np.testing.assert_array_equal(again.integers(), integers)
    assert not np.array_equal(integers, learned(weights, shrink=1.2)[0].integers())


def test_beta_falls_from_20_to_2_after_a_warm_up() -> None:
    assert beta_at(0.19) is None
    assert beta_at(0.2) == 20.0
    assert beta_at(0.6) == pytest.approx(11.0)
    assert beta_at(1.0) == pytest.approx(2.0)
