"""What was put into a series is found, named and measured; nothing is found in steady noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.profiling.findings import RULES, Finding, find
from edgekit.profiling.pace import Pace
from edgekit.profiling.samples import Samples

ROUNDS, CALLS = 60, 20
N = ROUNDS * CALLS
BACK_TO_BACK = Pace()


def found_in(ms: NDArray[np.float64]) -> dict[str, Finding]:
    durations = (ms * 1e6).astype(np.int64).reshape(-1, CALLS)
    started = (np.cumsum(durations) - durations.reshape(-1)).reshape(durations.shape)
    samples = Samples({"engine": durations}, started, np.zeros_like(durations) + np.arange(CALLS))
    return {finding.kind: finding for finding in find("int8", {"engine": samples}, BACK_TO_BACK)}


def steady(seed: int = 0, sigma: float = 0.02) -> NDArray[np.float64]:
    return 5.0 * np.random.default_rng(seed).lognormal(sigma=sigma, size=N)


def wandering(random: np.random.Generator) -> NDArray[np.float64]:
    level = np.zeros(N)
    for index, step in enumerate(random.normal(scale=0.02, size=N)):
        level[index] = step + 0.8 * level[index - 1] * (index > 0)
    return 5.0 + level


STEADY: dict[str, Callable[[np.random.Generator], NDArray[Any]]] = {
    "normal": lambda random: random.normal(5.0, 0.1, N),
    "skewed": lambda random: random.lognormal(1.0, 0.1, N),
    "very skewed": lambda random: random.lognormal(1.0, 0.3, N),
    "long tail": lambda random: 5.0 + random.exponential(0.2, N),
    "gamma": lambda random: 4.0 + random.gamma(3.0, 0.2, N),
    "uniform": lambda random: random.uniform(4.0, 6.0, N),
    "triangular": lambda random: random.triangular(4.0, 5.0, 8.0, N),
    "wandering": wandering,
    "coarse clock": lambda random: np.round(random.normal(5.0, 0.1, N), 1),
    "constant": lambda random: np.full(N, 5.0),
}


@pytest.mark.parametrize("noise", STEADY)
def test_nothing_is_found_in_steady_noise(noise: str) -> None:
    alarms = [kind for seed in range(50) for kind in found_in(STEADY[noise](np.random.default_rng(seed)))]
    # One in fifty measurements may hold a true outlier of a long tail.
    assert len(alarms) <= 1, alarms


def test_stalls_are_found_with_what_was_put_in() -> None:
    ms = steady()
    ms[25::50] += 40.0
    found = found_in(ms)
    assert set(found) == {"stalls"}
    figures = found["stalls"].figures
    assert figures["count"] == N / 50
    assert figures["share"] == pytest.approx(0.02)
    assert figures["extra_ms"] == pytest.approx(40.0, rel=0.01)
    assert figures["every_runs"] == 50
    assert found["stalls"].statement.startswith("stalls: 24 of 1,200 runs took 40 ms more than usual")


def test_a_single_stall_is_found() -> None:
    ms = steady()
    ms[700] += 100.0
    assert found_in(ms)["stalls"].figures["count"] == 1
    assert found_in(ms)["stalls"].figures["every_runs"] is None


@pytest.mark.parametrize("change", [0.2, -0.2, 0.08])
def test_drift_is_found_with_what_was_put_in(change: float) -> None:
    found = found_in(steady() * np.linspace(1, 1 + change, N))
    assert set(found) == {"drift"}
    figures = found["drift"].figures
    assert figures["change"] == pytest.approx(change / (1 + change / 2), rel=0.15)
    assert figures["seconds"]
    assert figures["ms_per_minute"] == pytest.approx(5.0 * change / figures["seconds"] * 60, rel=0.15)


def test_a_drift_too_small_to_matter_is_none() -> None:
    assert found_in(steady() * np.linspace(1, 1.03, N)) == {}


@pytest.mark.parametrize("share", [0.15, 0.3, 0.5, 0.8])
def test_two_speeds_are_found_with_what_was_put_in(share: float) -> None:
    slow = np.random.default_rng(1).random(N) < share
    found = found_in(steady() * np.where(slow, 1.6, 1.0))
    assert set(found) == {"two speeds"}
    figures = found["two speeds"].figures
    assert figures["fast_ms"] == pytest.approx(5.0, rel=0.02)
    assert figures["slow_ms"] == pytest.approx(8.0, rel=0.02)
    assert figures["slow_share"] == pytest.approx(slow.mean(), abs=0.01)


def test_stalls_are_told_from_two_speeds() -> None:
    slow = np.random.default_rng(2).random(N) < 0.4
    ms = steady() * np.where(slow, 1.8, 1.0)
    ms[7::100] += 60.0
    found = found_in(ms)
    assert set(found) == {"stalls", "two speeds"}
    assert found["stalls"].figures["count"] == N / 100
    assert found["two speeds"].figures["slow_share"] == pytest.approx(slow.mean(), abs=0.03)


def test_every_kind_has_its_rule() -> None:
    assert set(RULES) == {"stalls", "drift", "two speeds", "overload", "leak"}


def test_an_engine_slower_than_its_camera_is_found_once() -> None:
    wait, own = np.full((10, 10), 5_000_000), np.full((10, 10), 15_000_000)
    order = np.arange(100).reshape(10, 10)
    samples = Samples({"wait": wait, "engine": own, "end_to_end": own + wait}, order * 10_000_000, order % 10)
    found = list(find("fp", {"frame": samples}, Pace(fps=100)))
    assert [finding.kind for finding in found] == ["overload"]
    assert found[0].figures == {"used": pytest.approx(1.5)}
    assert list(find("fp", {"frame": samples}, Pace(fps=50))) == []


def test_few_samples_show_nothing() -> None:
    durations = np.full((1, 40), 5_000_000)
    durations[0, 39] *= 100
    order = np.arange(40)[None, :]
    assert list(find("fp", {"engine": Samples({"engine": durations}, order, order)}, BACK_TO_BACK)) == []
