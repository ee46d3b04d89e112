"""When the runs of a block start: one after the other, or when a camera's frames are due.

Under a camera a frame is due whether or not the one before it is done (an open loop), and its latency counts from that
moment: what a stall does to the frames behind it is seen, which a loop that waits for the stalled run hides
("coordinated omission"; MLPerf counts from the scheduled time for the same reason).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from edgekit.errors import UsageError

Clock = Callable[[], int]
"""Returns ns; never goes back."""

Sleep = Callable[[float], None]
"""Waits for so many seconds, or a little longer."""

Run = Callable[[], tuple[int, ...]]
"""Runs once and returns the duration of every part in ns."""

Queue = Literal["wait", "drop"]


@dataclass(frozen=True)
class Pace:
    """When runs start.

    Attributes:
        fps: Frames a second that the camera delivers, whatever the engine does; none: the next run starts when the
            last one is done.
        burst: Frames that are due at the same moment, as from several cameras that share a trigger.
        idle_ms: Pause after each run, without a camera.
        streams: Threads that do this at once, each with an engine of its own.
        queue: What becomes of frames that are due while the engine runs: they `wait` in their order, or all but the
            newest moment's are `drop`ped when the engine is free again.
    """

    fps: float | None = None
    burst: int = 1
    idle_ms: float = 0.0
    streams: int = 1
    queue: Queue = "wait"

    @property
    def period_ns(self) -> float | None:
        """Time between the moments at which frames are due; none without a camera."""
        return 1e9 / self.fps if self.fps else None

    @property
    def name(self) -> str:
        """The pace in words."""
        if self.fps:
            frames = f"{self.burst} frames at once, " if self.burst > 1 else ""
            words = f"camera: {frames}{self.fps:g} a second, frames that are due {_QUEUES[self.queue]}"
        else:
            words = f"a pause of {self.idle_ms:g} ms after each run" if self.idle_ms else "back to back"
        return words + (f", {self.streams} streams at once" if self.streams > 1 else "")

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: A figure is out of its range, or two of them exclude each other.
        """
        for wrong, problem, found, fix in self._rules():
            if wrong:
                raise UsageError(problem=problem, found=found, fix=f"Give {fix}.")

    def _rules(self) -> Iterator[tuple[bool, str, str, str]]:
        """Yield (whether it is broken, what is wrong, what was found, what to give instead)."""
        yield (
            self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0),
            "A camera delivers more than no frames a second.",
            f"fps = {self.fps}",
            "a rate above 0",
        )
        yield (
            not (math.isfinite(self.idle_ms) and self.idle_ms >= 0),
            "The pause is no time.",
            f"idle_ms = {self.idle_ms}",
            "0 ms or more",
        )
        yield (
            self.burst < 1 or self.streams < 1,
            "Less than one frame or stream is nothing to measure.",
            f"burst = {self.burst}, streams = {self.streams}",
            "1 or more of each",
        )
        yield (
            self.queue not in _QUEUES,
            f"Frames that are due while the engine runs cannot '{self.queue}'.",
            f"queue = {self.queue}",
            " or ".join(_QUEUES),
        )
        yield (
            self.fps is not None and self.idle_ms > 0,
            "A camera's pace and a pause after each run exclude each other.",
            f"fps = {self.fps}, idle_ms = {self.idle_ms:g}",
            "one of them: a camera leaves its own pauses",
        )
        yield (
            self.fps is None and (self.burst > 1 or self.queue != "wait"),
            "Frames wait, are dropped, or come several at once only where a camera delivers them.",
            f"burst = {self.burst}, queue = {self.queue}, and no frame rate",
            "the camera's rate with it, --fps 30 for instance",
        )


_QUEUES = {"wait": "wait", "drop": "are dropped for newer ones"}


class Timed(NamedTuple):
    """One run; a tuple, since making one is part of what the profiler costs between two runs.

    Attributes:
        frame: Which of the block's frames it was, from 0; numbers that are missing were dropped.
        started: When it started, on the clock.
        late: How long after its frame was due, in ns; 0 without a camera.
        parts: The durations that it returned.
    """

    frame: int
    started: int
    late: int
    parts: tuple[int, ...]


def run_block(
    run: Run, calls: int, pace: Pace, clock: Clock = time.perf_counter_ns, sleep: Sleep = time.sleep
) -> list[Timed]:
    """Run `calls` times at a pace, and return what each run took.

    The thread sleeps until a frame is due, as one that waits for a camera does: what waking up takes is part of the
    latency.
    """
    period = pace.period_ns
    if period is not None:
        return _paced(run, calls, pace, period, clock, sleep)
    timed = []
    for call in range(calls):
        started = clock()
        timed.append(Timed(call, started, 0, run()))
        if pace.idle_ms:
            sleep(pace.idle_ms / 1e3)
    return timed


def _paced(run: Run, calls: int, pace: Pace, period: float, clock: Clock, sleep: Sleep) -> list[Timed]:
    timed: list[Timed] = []
    origin, frame = clock(), 0
    while len(timed) < calls:
        if pace.queue == "drop":
            newest = int((clock() - origin) / period)
            frame = max(frame, newest * pace.burst)
        due = origin + round(frame // pace.burst * period)
        while (now := clock()) < due:
            sleep((due - now) / 1e9)
        timed.append(Timed(frame, now, now - due, run()))
        frame += 1
    return timed
