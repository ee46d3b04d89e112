"""When a workload runs: a warm-up until its speed is steady, then sampling in interleaved blocks.

Back to back: the next call starts when the last one has returned. A camera-paced system sees other latencies.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.progress import Progress, silent

Clock = Callable[[], int]
"""Returns ns; never goes back."""

WINDOW_CALLS = 10
WINDOW_NS = 100_000_000
STEADY_WINDOWS = 3
STEADY_WITHIN = 0.03
WARM_UP_SECONDS = 5.0

BLOCK_SECONDS = 0.1
LEAST_ROUNDS = 20
SETTLING_CALLS = 1

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
    """

    name: str
    parts: tuple[str, ...]
    run: Callable[[], tuple[int, ...]]


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


def calls_per_block(call_ns: Sequence[float], seconds: float) -> int:
    """Return how many runs make a block: the same number for all workloads, so that their rounds pair up.

    The slowest workload's block takes `BLOCK_SECONDS`, less where `LEAST_ROUNDS` rounds would not fit in `seconds`.

    Args:
        call_ns: Duration of one run of each workload.
        seconds: The sampling time.
    """
    block = min(BLOCK_SECONDS, seconds / (LEAST_ROUNDS * len(call_ns)))
    return max(1, int(block * 1e9 / max(call_ns)))


def interleave(
    workloads: Sequence[Workload],
    *,
    seconds: float,
    calls: int,
    progress: Progress = silent,
    clock: Clock = time.perf_counter_ns,
) -> list[NDArray[np.int64]]:
    """Sample all workloads in turn, a block of each a round (A B A B ...), so that drift hits all alike.

    A block begins with an unrecorded run: the workload before it has taken the caches, which is the schedule's
    doing and not the model's. Python's garbage collector waits until a block is over.

    Args:
        workloads: What to run.
        seconds: Sampling time of all workloads together; the round in which it ends is finished.
        calls: Recorded runs a block.
        progress: Told how far it is.
        clock: A monotonic clock in ns.

    Returns:
        One array a workload, in ns: (rounds, calls, parts) int64.
    """
    rounds: list[list[list[tuple[int, ...]]]] = [[] for _ in workloads]
    start = clock()
    done = 0.0
    while done < 1:
        for workload, blocks in zip(workloads, rounds, strict=True):
            with _garbage_kept():
                for _ in range(SETTLING_CALLS):
                    workload.run()
                blocks.append([workload.run() for _ in range(calls)])
        done = (clock() - start) / (seconds * 1e9) if seconds > 0 else 1.0
        progress("measure", min(100, int(100 * done)), 100)
    return [np.asarray(blocks, np.int64) for blocks in rounds]


@contextmanager
def _garbage_kept() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
