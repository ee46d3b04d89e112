from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edgekit.profiling.bootstrap import bootstrap, widening
from edgekit.profiling.latency import (
    PERCENTILES,
    Ratio,
    binomial_cdf,
    median,
    percentile,
    samples_needed,
    speedup,
    summarize,
    upper_bound,
)

DURATIONS = arrays(np.int64, st.integers(1, 300), elements=st.integers(1, 10**12))


@given(DURATIONS, st.sampled_from(sorted(PERCENTILES.values())))
def test_a_percentile_is_numpys_nearest_rank(samples: NDArray[np.int64], mille: int) -> None:
    expected = np.quantile(samples, mille / 1000, method="inverted_cdf")
    assert percentile(np.sort(samples).astype(float), mille) == expected


@given(DURATIONS, st.integers(1, 1000))
def test_a_percentile_is_the_least_sample_that_covers_its_share(samples: NDArray[np.int64], mille: int) -> None:
    value = percentile(np.sort(samples).astype(float), mille)
    assert np.sum(samples <= value) * 1000 >= mille * samples.size
    assert np.sum(samples < value) * 1000 < mille * samples.size


@given(DURATIONS)
def test_the_median_needs_no_order(samples: NDArray[np.int64]) -> None:
    assert median(samples) == np.quantile(samples, 0.5, method="inverted_cdf")


def test_sample_counts_are_those_of_mlperf() -> None:
    assert [samples_needed(mille) for mille in PERCENTILES.values()] == [11, 64, 662, 6636]


@pytest.fixture(scope="module")
def stats() -> Any:
    return pytest.importorskip("scipy.stats", reason="scipy comes with the extra 'calibrate'")


@given(st.integers(1, 3000), st.floats(0.0005, 0.6))
def test_the_binomial_cdf_is_scipys(stats: Any, n: int, chance: float) -> None:
    expected = stats.binom.cdf(np.arange(n + 1), n, chance)
    np.testing.assert_allclose(binomial_cdf(n, chance), expected, rtol=1e-6, atol=1e-12)


def test_the_binomial_cdf_does_not_underflow() -> None:
    assert binomial_cdf(1_000_000, 0.01)[10_000] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("mille", "least"), [(900, 29), (990, 299), (999, 2995)])
def test_an_upper_bound_needs_fewer_samples_than_its_percentile(mille: int, least: int) -> None:
    assert upper_bound(np.arange(least - 1.0), mille) is None
    assert upper_bound(np.arange(float(least)), mille) == least - 1
    assert least < samples_needed(mille)


def test_an_upper_bound_is_exceeded_by_the_true_percentile_in_at_most_one_case_of_twenty() -> None:
    random = np.random.default_rng(1)
    true = -math.log(0.01)
    draws = np.sort(random.exponential(size=(2000, 700)), axis=1)
    bounds = np.array([upper_bound(draw, 990) for draw in draws])
    assert 0.02 < np.mean(bounds < true) <= 0.055


def test_percentiles_without_enough_samples_are_absent() -> None:
    latency = summarize(np.full((10, 66), 2_000_000))
    assert latency.percentiles == {"p50": 2.0, "p90": 2.0, "p99": None, "p99.9": None}
    assert latency.upper == {"p50": 2.0, "p90": 2.0, "p99": 2.0, "p99.9": None}
    assert summarize(np.full((2, 331), 1)).percentiles["p99"] is not None
    assert summarize(np.full((1, 10), 1)).percentiles["p50"] is None


def test_a_summary_is_in_ms() -> None:
    latency = summarize(np.array([[1_000_000, 2_000_000, 6_000_000]] * 10))
    assert (latency.samples, latency.mean, latency.max, latency.percentiles["p50"]) == (30, 3.0, 6.0, 2.0)


def test_an_interval_needs_rounds_and_not_only_samples() -> None:
    assert summarize(np.ones((9, 100), np.int64)).intervals["p50"] is None
    assert summarize(np.ones((10, 100), np.int64)).intervals["p50"] is not None


@pytest.mark.parametrize("seed", range(5))
def test_intervals_rise_with_their_percentiles_though_stalls_come_in_few_rounds(seed: int) -> None:
    random = np.random.default_rng(seed)
    durations = random.lognormal(sigma=0.05, size=(120, 60)) * 1e7
    durations[random.integers(120, size=2), :5] += 3e8
    latency = summarize(durations.astype(np.int64))
    intervals = [latency.intervals[name] for name in PERCENTILES]
    for name, interval in zip(PERCENTILES, intervals, strict=True):
        assert interval is not None
        assert interval.low <= (latency.percentiles[name] or 0) <= interval.high
    for ends in ([each.low for each in intervals if each], [each.high for each in intervals if each]):
        assert ends == sorted(ends)


def test_no_interval_of_a_duration_begins_below_0() -> None:
    random = np.random.default_rng(0)
    waits = np.where(random.random((12, 1)) < 0.4, 10_000, 2_000_000) * np.ones((12, 30), np.int64)
    interval = summarize(waits.astype(np.int64)).intervals["p50"]
    assert interval is not None and interval.low == 0.0


def test_a_speedup_needs_medians() -> None:
    assert speedup(np.full((5, 2), 4), np.full((5, 2), 2)) is None
    assert speedup(np.full((6, 2), 4), np.full((6, 2), 2)) == Ratio(2.0, None)


def test_same_seed_same_interval() -> None:
    durations = np.random.default_rng(0).integers(1, 10**6, (30, 5))
    assert summarize(durations, seed=3) == summarize(durations, seed=3)
    assert summarize(durations, seed=3).intervals["p50"] != summarize(durations, seed=4).intervals["p50"]


@pytest.mark.parametrize("values", [3.2, 4.5, 8, 30, 1000])
def test_an_interval_is_widened_as_students_t_says(stats: Any, values: float) -> None:
    expected = stats.t.ppf(0.975, values - 1) / stats.norm.ppf(0.975) * math.sqrt(values / (values - 1))
    assert widening(values) == pytest.approx(expected, rel=0.03)


def drifting(random: np.random.Generator, rounds: int, calls: int) -> NDArray[np.int64]:
    """Latencies around 1 ms, skewed, whose level wanders from round to round (AR(1) with coefficient 0.5)."""
    level = np.zeros(rounds)
    steps = random.normal(scale=1e4, size=rounds)
    for index in range(rounds):
        level[index] = steps[index] + 0.5 * (level[index - 1] if index else 0.0)
    return (1e6 + level[:, None] + random.exponential(2e4, (rounds, calls))).astype(np.int64)


def test_the_intervals_of_the_median_cover_it() -> None:
    random = np.random.default_rng(7)
    true = median(drifting(random, 200_000, 10))
    hits = naive_hits = 0
    for seed in range(200):
        durations = drifting(random, 60, 10)
        intervals = bootstrap(lambda pick, d=durations: [median(d[pick])], durations, seed)
        assert intervals is not None
        (interval,) = intervals
        hits += interval.low <= true <= interval.high
        # Resampling single calls, as if they were independent, is what the blocks are there to avoid.
        calls = durations.reshape(-1)
        resamples = calls[random.integers(calls.size, size=(200, calls.size))]
        low, high = np.quantile(np.median(resamples, axis=1), [0.025, 0.975])
        naive_hits += low <= true <= high
    assert 0.88 <= hits / 200 <= 0.99
    assert naive_hits / 200 < 0.8


def test_the_intervals_of_the_speedup_cover_it_under_common_drift() -> None:
    random = np.random.default_rng(11)
    hits, widths = 0, []
    for seed in range(100):
        drift = np.exp(np.cumsum(random.normal(scale=0.05, size=(60, 1)), axis=0))
        slow = (2e6 * drift * random.lognormal(sigma=0.03, size=(60, 8))).astype(np.int64)
        fast = (1e6 * drift * random.lognormal(sigma=0.03, size=(60, 8))).astype(np.int64)
        ratio = speedup(slow, fast, seed)
        assert ratio is not None
        assert ratio.interval is not None
        hits += ratio.interval.low <= 2.0 <= ratio.interval.high
        widths.append(ratio.interval.high - ratio.interval.low)
    assert hits >= 88
    assert np.median(widths) < 0.2  # the drift moves both medians by tens of per cent
