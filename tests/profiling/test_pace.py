from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.profiling.pace import Pace, Timed, run_block

MS = 1_000_000


class World:
    """A clock that moves while something runs or sleeps."""

    def __init__(self, durations_ms: Iterable[float], oversleep_ms: float = 0.0) -> None:
        self.now = 0
        self._durations = iter(durations_ms)
        self._oversleep = int(oversleep_ms * MS)

    def clock(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9) + self._oversleep

    def run(self) -> tuple[int, ...]:
        duration = int(next(self._durations) * MS)
        self.now += duration
        return (duration,)

    def block(self, calls: int, pace: Pace) -> list[Timed]:
        return run_block(self.run, calls, pace, self.clock, self.sleep)


def latencies(timed: list[Timed]) -> list[float]:
    return [(run.late + run.parts[0]) / MS for run in timed]


def test_back_to_back_a_run_starts_when_the_last_one_is_done() -> None:
    timed = World([1, 2, 3]).block(3, Pace())
    assert [run.started // MS for run in timed] == [0, 1, 3]
    assert [run.late for run in timed] == [0, 0, 0]


def test_idle_gaps_come_after_each_run() -> None:
    timed = World([1, 2, 3]).block(3, Pace(idle_ms=10))
    assert [run.started // MS for run in timed] == [0, 11, 23]


def test_frames_start_when_they_are_due() -> None:
    timed = World([2] * 4).block(4, Pace(fps=100))
    assert [run.started // MS for run in timed] == [0, 10, 20, 30]
    assert latencies(timed) == [2, 2, 2, 2]


def test_a_stall_makes_the_frames_behind_it_late() -> None:
    timed = World([2, 35, 2, 2, 2, 2, 2]).block(7, Pace(fps=100))
    # Due at 10, the stalled run ends at 45; those due at 20, 30 and 40 start at 45, 47 and 49.
    assert latencies(timed) == [2, 35, 27, 19, 11, 3, 2]


def test_dropping_takes_the_newest_frame() -> None:
    timed = World([2, 35, 2, 2]).block(4, Pace(fps=100, queue="drop"))
    assert [run.frame for run in timed] == [0, 1, 4, 5]
    assert latencies(timed) == [2, 35, 7, 2]


def test_an_engine_slower_than_its_camera_falls_behind_or_drops() -> None:
    assert latencies(World([15] * 4).block(4, Pace(fps=100))) == [15, 20, 25, 30]
    dropping = World([15] * 4).block(4, Pace(fps=100, queue="drop"))
    assert max(latencies(dropping)) < 25
    assert [run.frame for run in dropping] == [0, 1, 3, 4]


def test_frames_of_a_burst_are_due_at_once() -> None:
    timed = World([2] * 6).block(6, Pace(fps=100, burst=3))
    assert latencies(timed) == [2, 4, 6, 2, 4, 6]
    assert [run.started // MS for run in timed] == [0, 2, 4, 10, 12, 14]


def test_a_whole_burst_is_dropped_for_a_newer_one() -> None:
    timed = World([2, 25, 2, 2, 2]).block(5, Pace(fps=100, burst=3, queue="drop"))
    assert [run.frame for run in timed] == [0, 1, 6, 7, 9]


def test_waking_up_late_is_part_of_the_latency() -> None:
    timed = World([2] * 3, oversleep_ms=0.5).block(3, Pace(fps=100))
    assert latencies(timed) == [2, 2.5, 2.5]


@given(st.lists(st.floats(0.1, 50), min_size=5, max_size=40), st.sampled_from(["wait", "drop"]))
def test_no_frame_starts_before_it_is_due_and_none_is_forgotten(durations: list[float], queue: str) -> None:
    timed = World(durations).block(len(durations), Pace(fps=100, queue=queue))  # type: ignore[arg-type]
    assert all(run.late >= 0 for run in timed)
    numbers = [run.frame for run in timed]
    assert numbers == sorted(set(numbers))
    if queue == "wait":
        assert numbers == list(range(len(durations)))
    else:
        assert all(run.late < 10 * MS for run in timed)


@pytest.mark.parametrize(
    ("pace", "problem"),
    [
        (Pace(fps=0.0), "no frames"),
        (Pace(fps=float("nan")), "no frames"),
        (Pace(idle_ms=-1), "no time"),
        (Pace(fps=30, idle_ms=5), "exclude"),
        (Pace(burst=2), "only where a camera"),
        (Pace(queue="drop"), "only where a camera"),
        (Pace(streams=0), "Less than one"),
        (Pace(fps=30, queue="lifo"), "cannot 'lifo'"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused(pace: Pace, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        pace.check()


def test_a_pace_is_told_in_words() -> None:
    Pace().check()
    assert Pace().name == "back to back"
    assert Pace(idle_ms=200).name == "a pause of 200 ms after each run"
    assert Pace(fps=30, burst=2, queue="drop", streams=2).name == (
        "camera: 2 frames at once, 30 a second, frames that are due are dropped for newer ones, 2 streams at once"
    )
