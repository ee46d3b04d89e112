from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from edgekit.calibration.ranges.histogram import BINS, LARGEST_SAMPLE, Histogram

# The smallest subnormal numbers become zero when they are divided by a bin width.
elements = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
arrays = hnp.arrays(np.float32, st.integers(1, 60), elements=elements)


def of(*batches: np.ndarray) -> Histogram:
    histogram = Histogram.empty()
    for batch in batches:
        histogram = histogram.add(batch)
    return histogram


def same(one: Histogram, two: Histogram) -> bool:
    return np.array_equal(one.counts, two.counts) and (one.exponent, one.low, one.high) == (
        two.exponent,
        two.low,
        two.high,
    )


@given(values=arrays)
def test_every_value_lies_in_its_bin(values: np.ndarray) -> None:
    histogram = of(values)
    edges = histogram.centers - histogram.width / 2
    expected = [
        int(np.sum((values >= left) & (values < left + histogram.width)))
        for left in edges[histogram.counts > 0].tolist()
    ]
    assert histogram.counts[histogram.counts > 0].tolist() == expected
    assert histogram.counts.sum() == values.size
    assert (histogram.low, histogram.high) == (values.min(), values.max())


@given(one=arrays, two=arrays)
def test_order_and_batches_do_not_matter(one: np.ndarray, two: np.ndarray) -> None:
    assert same(of(one, two), of(two, one))
    assert same(of(one, two), of(np.concatenate([one, two])))
    assert same(of(one, two), of(one).merge(of(two)))


@given(values=arrays)
def test_at_least_a_quarter_of_the_bins_is_used_by_the_larger_side(values: np.ndarray) -> None:
    histogram = of(values)
    extent = max(-histogram.low, histogram.high)
    if extent > 1e-30:
        assert extent / histogram.width >= BINS / 4 - 1


def test_a_large_array_costs_no_more_than_the_sample() -> None:
    values = np.random.default_rng(0).normal(size=5 * LARGEST_SAMPLE).astype(np.float32)
    histogram = of(values)
    assert histogram.counts.sum() <= LARGEST_SAMPLE
    assert histogram.counts.sum() > LARGEST_SAMPLE / 2
    assert (histogram.low, histogram.high) == (values.min(), values.max())


def test_the_clipped_share_counts_what_lies_outside() -> None:
    histogram = of(np.linspace(-1, 1, 1001, dtype=np.float32))
    assert histogram.clipped_share(-1, 1) == 0
    assert histogram.clipped_share(-0.5, 1) == pytest.approx(0.25, abs=0.002)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"), np.errstate(invalid="ignore"):
        of(np.array([1.0, value], np.float32))
