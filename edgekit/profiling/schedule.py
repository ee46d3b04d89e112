"""How workloads are measured: a warm-up until the speed is steady, then blocks of runs in turn, each at its pace."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.profiling.energy import Meter
from edgekit.profiling.pace import Clock, Pace, Run, Sleep, Timed, run_block
from edgekit.profiling.samples import Samples, gather
from edgekit.progress import Progress, silent

WINDOW_CALLS = 10
WINDOW_NS = 100_000_000
STEADY_WINDOWS = 3
STEADY_WITHIN = 0.03
WARM_UP_SECONDS = 5.0

BLOCK_SECONDS = 0.1
PACED_BLOCK_SECONDS = 1.0
LEAST_ROUNDS = 20
SETTLING_CALLS = 1

BACK_TO_BACK = Pace()

STEADY_RULE = (
    f"until the medians of {STEADY_WINDOWS} successive windows (each at least {WINDOW_CALLS} calls and "
    f"{WINDOW_NS // 1_000_000} ms) lie within {STEADY_WITHIN:.0%} of the smallest, for {WARM_UP_SECONDS:g} s at most"
)


@dataclass(frozen=True)
class Workload:
    """Something that is timed.

    Attributes:
        name: What it is, for the progress report.
        parts: Names of the durations that one run yields.
        run: Runs once and returns the duration of every part in ns.
        others: The same, for each stream beyond the first.
    """

    name: str
    parts: tuple[str, ...]
    run: Run
    others: tuple[Run, ...] = ()

    @property
    def runs(self) -> tuple[Run, ...]:
        """What runs once, for each stream."""
        return (self.run, *self.others)


@dataclass(frozen=True)
class Budget:
    """How much is measured: until all of it is reached.

    Attributes:
        seconds: Sampling time of all workloads together.
        samples: Runs of each workload.
        each_seconds: Sampling time of each workload.
    """

    seconds: float
    samples: int = 0
    each_seconds: float = 0.0


@dataclass(frozen=True)
class Round:
    """A block of every workload.

    Attributes:
        blocks: By workload, stream and run.
        seconds: Time of each workload's block.
        joules: Energy of each; none where nothing counts it.
        origin: When the measurement began, on the clock.
    """

    blocks: list[list[list[Timed]]]
    seconds: list[float]
    joules: list[float] | None
    origin: int


@dataclass(frozen=True)
class Sampling:
    """What was measured.

    Attributes:
        samples: One a workload.
        seconds: Sampling time of each workload.
        joules: Energy of a run of each workload, by round; none where nothing counts it.
        ended: What ended it before its time; none where it came to its end.
    """

    samples: tuple[Samples, ...]
    seconds: tuple[float, ...]
    joules: tuple[NDArray[np.float64], ...] | None = None
    ended: BaseException | None = None


@dataclass(frozen=True)
class WarmUp:
    """How a workload was warmed up.

    Attributes:
        calls: Runs made.
        seconds: Time taken.
        steady: Whether `STEADY_RULE` was met; else the time ran out.
        call_ns: Median duration of a whole run in the last window.
    """

    calls: int
    seconds: float
    steady: bool
    call_ns: float


def warm_up(workload: Workload, *, max_seconds: float = WARM_UP_SECONDS, clock: Clock = time.perf_counter_ns) -> WarmUp:
    """Run a workload until its windowed median is steady (`STEADY_RULE`), or the time is up.

    Args:
        workload: What to run.
        max_seconds: The bound; it is passed by one run at most.
        clock: A monotonic clock in ns.
    """
    start = now = clock()
    limit = start + int(max_seconds * 1e9)
    calls, medians, steady = 0, [float("inf")], False
    while not steady and now < limit:
        window: list[int] = []
        window_start = now
        while (len(window) < WINDOW_CALLS or now - window_start < WINDOW_NS) and now < limit:
            before = clock()
            workload.run()
            now = clock()
            window.append(now - before)
        calls += len(window)
        medians.append(float(np.median(window)))
        steady = now < limit and is_steady(medians[1:])
    return WarmUp(calls, (now - start) / 1e9, steady, medians[-1])


def is_steady(medians: Sequence[float]) -> bool:
    """Whether the last windows' medians lie close together (`STEADY_RULE`)."""
    last = medians[-STEADY_WINDOWS:]
    return len(last) == STEADY_WINDOWS and max(last) <= min(last) * (1 + STEADY_WITHIN)


def calls_per_block(call_ns: Sequence[float], seconds: float, pace: Pace = BACK_TO_BACK) -> int:
    """Return how many runs of a stream make a block: the same number for all workloads, so that their rounds pair up.

    The slowest workload's block takes `BLOCK_SECONDS`, and `PACED_BLOCK_SECONDS` where runs wait for a camera or
    pause, so that what a stall does to the frames behind it is within the block; less where `LEAST_ROUNDS` rounds
    would not fit in `seconds`. Frames that are due at once are not torn apart.

    Args:
        call_ns: Duration of one run of each workload.
        seconds: The sampling time.
        pace: When runs start.
    """
    waits = pace.fps is not None or pace.idle_ms > 0
    block = min(PACED_BLOCK_SECONDS if waits else BLOCK_SECONDS, seconds / (LEAST_ROUNDS * len(call_ns)))
    run = max(max(call_ns) + 1e6 * pace.idle_ms, (pace.period_ns or 0.0) / pace.burst)
    return pace.burst * max(1, int(block * 1e9 / run / pace.burst))


def interleave(
    workloads: Sequence[Workload],
    budget: Budget,
    *,
    calls: int,
    pace: Pace = BACK_TO_BACK,
    meter: Meter | None = None,
    told: Callable[[Round], None] = lambda each: None,
    progress: Progress = silent,
    clock: Clock = time.perf_counter_ns,
    sleep: Sleep = time.sleep,
) -> Sampling:
    """Sample all workloads in turn, a block of each a round (A B A B ...), so that drift hits all alike.

    A block begins with an unrecorded run: the workload before it has taken the caches, which is the schedule's
    doing and not the model's. Python's garbage collector waits until a block is over. What ends the measurement
    early, Ctrl-C or an engine that fails, is returned together with the rounds that are complete.

    Args:
        workloads: What to run.
        budget: How much; the round in which it is reached is finished.
        calls: Recorded runs of a stream a block.
        pace: When runs start.
        meter: Counts the energy of every block.
        told: Given every round when it is complete.
        progress: Told how far it is.
        clock: A monotonic clock in ns.
        sleep: Waits.

    Raises:
        BaseException: What ended it before the first round was complete.
    """
    rounds: list[Round] = []
    start, ended = clock(), None
    with ThreadPoolExecutor(max(len(workload.runs) for workload in workloads)) as pool:
        try:
            done, spent = 0.0, np.zeros(len(workloads))
            while done < 1:
                blocks, times, used = [], [clock()], [meter.joules() if meter else 0.0]
                for workload in workloads:
                    blocks.append(_block(workload, calls, pace, clock, sleep, pool))
                    times.append(clock())
                    used.append(meter.joules() if meter else 0.0)
                seconds = [float(span) / 1e9 for span in np.diff(times)]
                rounds.append(Round(blocks, seconds, [float(each) for each in np.diff(used)] if meter else None, start))
                told(rounds[-1])
                spent += seconds
                done = min(
                    _share((clock() - start) / 1e9, budget.seconds),
                    _share(len(rounds) * calls * pace.streams, budget.samples),
                    _share(float(spent.min()), budget.each_seconds),
                )
                progress("measure", min(100, int(100 * done)), 100)
        except BaseException as error:
            if not rounds:
                raise
            ended = error
    return arrange(rounds, [workload.parts for workload in workloads], pace, ended)


def arrange(
    rounds: Sequence[Round], parts: Sequence[Sequence[str]], pace: Pace, ended: BaseException | None = None
) -> Sampling:
    """Arrange rounds by workload.

    Args:
        rounds: One at least.
        parts: The parts of each workload.
        pace: At which they were measured.
        ended: What ended it before its time.
    """
    samples = tuple(
        gather([each.blocks[index] for each in rounds], names, rounds[0].origin, paced=pace.fps is not None)
        for index, names in enumerate(parts)
    )
    runs = SETTLING_CALLS * pace.streams + samples[0].frames.shape[1]
    joules = [each.joules for each in rounds if each.joules is not None]
    return Sampling(
        samples,
        tuple(float(each) for each in np.sum([each.seconds for each in rounds], axis=0)),
        tuple(np.asarray(joules).T / runs) if joules else None,
        ended,
    )


def _block(
    workload: Workload, calls: int, pace: Pace, clock: Clock, sleep: Sleep, pool: ThreadPoolExecutor
) -> list[list[Timed]]:
    with _garbage_kept():
        for _ in range(SETTLING_CALLS):
            for run in workload.runs:
                run()
        if len(workload.runs) == 1:
            return [run_block(workload.run, calls, pace, clock, sleep)]
        return list(pool.map(lambda run: run_block(run, calls, pace, clock, sleep), workload.runs))


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.inf


@contextmanager
def _garbage_kept() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
