from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from edgekit.calibration.ranges.histogram import Histogram
from edgekit.calibration.ranges.observers import OBSERVERS
from edgekit.graph.numerics import dequantize, quantize, scale_and_zero_point
from edgekit.targets import TensorScheme
from tests.graph.schemes import SIGNED, UNSIGNED

METHODS = sorted(OBSERVERS)


def histogram_of(values: np.ndarray) -> Histogram:
    return Histogram.empty().add(values)


def squared_error(values: np.ndarray, low: float, high: float, scheme: TensorScheme) -> float:
    scale, zero_point = scale_and_zero_point(low, high, scheme)
    back = dequantize(quantize(values, scale, zero_point, scheme), scale, zero_point)
    return float(np.mean((back - values) ** 2))


def with_outlier(seed: int, outlier: float) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=20000).astype(np.float32)
    return np.append(values, np.float32(outlier))


@pytest.mark.parametrize("scheme", [SIGNED, UNSIGNED], ids=["signed", "unsigned"])
@pytest.mark.parametrize("method", METHODS)
def test_a_range_lies_within_what_was_seen(method: str, scheme: TensorScheme) -> None:
    values = with_outlier(1, 40.0)
    low, high = OBSERVERS[method](histogram_of(values), scheme, 99.9)
    assert values.min() - 0.02 <= low < 0 < high <= values.max() + 0.02


def test_min_max_covers_everything() -> None:
    values = with_outlier(1, 40.0)
    assert OBSERVERS["min-max"](histogram_of(values), UNSIGNED, 99.9) == (values.min(), values.max())


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_a_lone_outlier_is_clipped(method: str) -> None:
    _, high = OBSERVERS[method](histogram_of(with_outlier(1, 400.0)), UNSIGNED, 99.9)
    assert high < 250


def test_percentile_is_numpys() -> None:
    values = with_outlier(2, 30.0)
    histogram = histogram_of(values)
    low, high = OBSERVERS["percentile"](histogram, UNSIGNED, 99.0)
    assert low == pytest.approx(np.percentile(values, 0.5), abs=2 * histogram.width)
    assert high == pytest.approx(np.percentile(values, 99.5), abs=2 * histogram.width)


@pytest.mark.parametrize("scheme", [SIGNED, UNSIGNED], ids=["signed", "unsigned"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), outlier=st.floats(5, 100), share=st.floats(0.05, 1.0))
def test_mse_is_no_worse_than_any_shrunk_range(scheme: TensorScheme, seed: int, outlier: float, share: float) -> None:
    values = with_outlier(seed, outlier)
    best = squared_error(values, *OBSERVERS["mse"](histogram_of(values), scheme, 99.9), scheme)
    other = squared_error(values, share * float(values.min()), share * float(values.max()), scheme)
    assert best <= other * 1.05 + 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_a_rectified_tensor_wastes_no_integer_on_the_negative_side(method: str) -> None:
    values = np.maximum(with_outlier(3, 6.0), 0)
    low, _ = OBSERVERS[method](histogram_of(values), UNSIGNED, 99.99)
    assert low == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_a_constant_tensor_has_a_range(method: str, value: float) -> None:
    low, high = OBSERVERS[method](histogram_of(np.full(10, value, np.float32)), UNSIGNED, 99.9)
    assert np.isfinite([low, high]).all()
    assert low <= high
