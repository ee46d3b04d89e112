from __future__ import annotations

import numpy as np
import pytest

from edgekit.profiling.growth import find_leak, growth

PAGE = 4096


def watched(per_run: float, start: float = 0.0, noise: float = 0.0) -> list[tuple[int, int]]:
    """Resident memory in pages, as a kernel counts it."""
    points, step, random = 100, 10, np.random.default_rng(0)
    held = 100e6 + per_run * step * np.arange(points + 1) + noise * random.normal(size=points + 1)
    held += start * np.exp(-np.arange(points + 1) / 5)
    return [(step * index, int(value) // PAGE * PAGE) for index, value in enumerate(held)]


@pytest.mark.parametrize("per_run", [1_000, 100_000])
def test_a_leak_is_found_with_its_size(per_run: int) -> None:
    grown = growth(watched(per_run))
    assert grown is not None
    assert grown.bytes_per_run == pytest.approx(per_run, rel=0.02)
    assert grown.interval.low <= per_run <= grown.interval.high
    (finding,) = find_leak("int8", grown)
    assert finding.kind == "leak"
    assert f"leak: {grown.bytes_per_run:,.0f} bytes a run" in finding.statement


def test_a_leak_is_found_under_noise() -> None:
    grown = growth(watched(2_000, noise=200_000))
    assert grown is not None
    assert grown.leaks
    assert grown.bytes_per_run == pytest.approx(2_000, rel=0.2)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_leak(seed: int) -> None:
    random = np.random.default_rng(seed)
    grown = growth([(10 * index, 100_000_000 + int(random.normal(scale=100_000))) for index in range(101)])
    assert grown is not None
    assert not grown.leaks


def test_filling_up_in_the_beginning_is_no_leak() -> None:
    grown = growth(watched(0.0, start=-20e6))
    assert grown is not None
    assert list(find_leak("fp", grown)) == []


def test_one_step_is_no_leak() -> None:
    grown = growth([(index, 100_000_000 + (4_000_000 if index > 60 else 0)) for index in range(101)])
    assert grown is not None
    assert not grown.leaks


def test_few_points_tell_nothing() -> None:
    assert growth([(0, 1), (1, 2)]) is None
    assert list(find_leak("fp", None)) == []
