from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from itertools import chain, count, repeat

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.profiling.schedule import (
    STEADY_WINDOWS,
    WINDOW_CALLS,
    Budget,
    Sampling,
    WarmUp,
    Workload,
    calls_per_block,
    interleave,
    is_steady,
    warm_up,
)

MS = 1_000_000


class SimulatedTime:
    """A clock that moves only when a workload runs."""

    def __init__(self) -> None:
        self.now = 0
        self.order: list[str] = []

    def __call__(self) -> int:
        return self.now

    def workload(self, name: str, durations_ms: Iterator[float]) -> Workload:
        def run() -> tuple[int, ...]:
            duration = int(next(durations_ms) * MS)
            self.now += duration
            self.order.append(name)
            return (duration, 2 * duration)

        return Workload(name, ("engine", "twice"), run)


def durations(sampling: Sampling) -> list[NDArray[np.int64]]:
    """Return (rounds, calls, parts) of every workload."""
    assert sampling.ended is None
    return [np.stack(list(samples.parts.values()), axis=-1) for samples in sampling.samples]


@pytest.fixture
def clock() -> SimulatedTime:
    return SimulatedTime()


def test_a_steady_workload_is_warm_after_the_fewest_windows(clock: SimulatedTime) -> None:
    warm = warm_up(clock.workload("model", repeat(20.0)), clock=clock)
    assert warm == WarmUp(STEADY_WINDOWS * WINDOW_CALLS, STEADY_WINDOWS * WINDOW_CALLS * 0.02, True, 20.0 * MS)


def test_warming_up_goes_on_while_the_workload_gets_faster(clock: SimulatedTime) -> None:
    falling = chain((20.0 * 0.99**call for call in range(100)), repeat(20.0 * 0.99**100))
    warm = warm_up(clock.workload("model", falling), clock=clock)
    assert warm.steady
    assert warm.calls > 100
    assert warm.call_ns == int(20.0 * 0.99**100 * MS)


def test_single_stalls_do_not_keep_a_workload_from_being_steady(clock: SimulatedTime) -> None:
    stalls = (100.0 if call % 10 == 0 else 20.0 for call in count())
    assert warm_up(clock.workload("model", stalls), clock=clock).steady


def test_warming_up_is_bounded_and_says_that_it_gave_up(clock: SimulatedTime) -> None:
    growing = (10.0 * 1.01**call for call in count())
    warm = warm_up(clock.workload("model", growing), max_seconds=2.0, clock=clock)
    assert not warm.steady
    assert 2.0 <= warm.seconds <= 2.0 + warm.call_ns / 1e9 * 2


def test_a_model_slower_than_the_bound_runs_once(clock: SimulatedTime) -> None:
    warm = warm_up(clock.workload("model", repeat(8000.0)), max_seconds=5.0, clock=clock)
    assert (warm.calls, warm.steady, warm.call_ns) == (1, False, 8000 * MS)


@pytest.mark.parametrize(
    ("medians", "steady"),
    [([1.0, 1.0], False), ([9.0, 1.0, 1.029, 1.0], True), ([1.0, 1.031, 1.0], False), ([1.0, 1.0, 9.0], False)],
)
def test_steady_means_that_the_last_windows_lie_close(medians: list[float], steady: bool) -> None:
    assert is_steady(medians) is steady


def test_blocks_take_turns(clock: SimulatedTime) -> None:
    workloads = [clock.workload("fp", repeat(10.0)), clock.workload("int8", repeat(5.0))]
    fp, int8 = durations(interleave(workloads, Budget(0.15), calls=3, clock=clock))
    one_round = ["fp"] * 4 + ["int8"] * 4
    assert clock.order == one_round * 3
    assert fp.shape == int8.shape == (3, 3, 2)
    assert (fp == [10 * MS, 20 * MS]).all()
    assert (int8 == [5 * MS, 10 * MS]).all()


def test_the_first_run_of_a_block_is_not_recorded(clock: SimulatedTime) -> None:
    cold_first = (50.0 if call % 4 == 0 else 10.0 for call in count())
    (samples,) = durations(interleave([clock.workload("model", cold_first)], Budget(1.0), calls=3, clock=clock))
    assert (samples[..., 0] == 10 * MS).all()


def test_drift_hits_all_workloads_alike(clock: SimulatedTime) -> None:
    def drifting() -> Iterator[float]:
        while True:
            yield 10.0 * (1 + clock.now / (10_000 * MS))

    workloads = [clock.workload(name, drifting()) for name in "ab"]
    fp, int8 = durations(interleave(workloads, Budget(10.0), calls=4, clock=clock))
    assert fp[-1].mean() > 1.5 * fp[0].mean()
    assert int8.mean() == pytest.approx(fp.mean(), rel=0.01)


def test_each_workload_gets_its_time_though_one_is_faster(clock: SimulatedTime) -> None:
    workloads = [clock.workload("fp", repeat(20.0)), clock.workload("int8", repeat(10.0))]
    sampling = interleave(workloads, Budget(1.0, each_seconds=0.5), calls=4, clock=clock)
    assert min(sampling.seconds) >= 0.5
    assert sum(sampling.seconds) == pytest.approx(1.5, rel=0.1)


def test_a_model_slower_than_the_sampling_time_gets_one_round(clock: SimulatedTime) -> None:
    (samples,) = durations(interleave([clock.workload("model", repeat(3000.0))], Budget(1.0), calls=1, clock=clock))
    assert samples.shape == (1, 1, 2)


@pytest.mark.parametrize(
    ("call_ms", "seconds", "calls"),
    [
        ([1.0, 0.5], 10.0, 100),
        ([30.0, 10.0], 10.0, 3),
        ([30.0, 10.0], 1.0, 1),
        ([1.0, 1.0], 1.0, 25),
        ([500.0], 9.0, 1),
    ],
)
def test_blocks_are_short_enough_for_many_rounds(call_ms: list[float], seconds: float, calls: int) -> None:
    assert calls_per_block([ms * MS for ms in call_ms], seconds) == calls


def test_progress_ends_at_all(clock: SimulatedTime) -> None:
    told: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))

    interleave([clock.workload("model", repeat(10.0))], Budget(0.1), calls=1, progress=progress, clock=clock)
    assert told == [("measure", done, 100) for done in (20, 40, 60, 80, 100)]


@pytest.mark.parametrize("switch", [gc.enable, gc.disable])
def test_the_garbage_collector_is_left_as_it_was(switch: Callable[[], None]) -> None:
    inside: list[bool] = []

    def run() -> tuple[int, ...]:
        inside.append(gc.isenabled())
        return (1,)

    was_enabled = gc.isenabled()
    switch()
    try:
        expected = gc.isenabled()
        interleave([Workload("model", ("engine",), run)], Budget(0.0), calls=2)
        assert gc.isenabled() is expected
    finally:
        (gc.enable if was_enabled else gc.disable)()
    assert inside == [False] * 3
