"""Which frames were not done when they should have been."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.profiling.bootstrap import Interval, bootstrap
from edgekit.profiling.samples import Samples


@dataclass(frozen=True)
class Misses:
    """Frames that were late, or never done.

    Attributes:
        deadline_ms: What `end_to_end` was held against.
        frames: Frames that were due, dropped ones included.
        missed: Those that took longer, and those that were dropped.
        dropped: Those that were dropped.
        interval: 95 % interval of the share that is missed; none with too few rounds. Where none or all are missed,
            the one-sided exact bound of a binomial share.
        longest: The most frames in a row that were missed, within a round of a stream.
    """

    deadline_ms: float
    frames: int
    missed: int
    dropped: int
    interval: Interval | None
    longest: int

    @property
    def rate(self) -> float:
        """Missed of all frames."""
        return self.missed / self.frames


def misses(samples: Samples, deadline_ms: float, seed: int = 0) -> Misses:
    """Count the frames that missed a deadline.

    Args:
        samples: Of whole frames: they have the part `end_to_end`.
        deadline_ms: The deadline.
        seed: Of the bootstrap.
    """
    calls = samples.frames.shape[1] // samples.streams
    late = samples.parts["end_to_end"] > deadline_ms * 1e6
    dropped = samples.dropped.sum(axis=1)
    missed, frames = late.sum(axis=1) + dropped, late.shape[1] + dropped
    every, all_frames = int(missed.sum()), int(frames.sum())
    return Misses(
        deadline_ms=deadline_ms,
        frames=all_frames,
        missed=every,
        dropped=int(dropped.sum()),
        interval=_interval(missed, frames, seed),
        longest=max(
            _longest(in_time, numbers)
            for in_time, numbers in zip(
                np.reshape(~late, (-1, calls)), np.reshape(samples.frames, (-1, calls)), strict=True
            )
        ),
    )


def _interval(missed: NDArray[np.int64], frames: NDArray[np.int64], seed: int) -> Interval | None:
    bound = 0.05 ** (1 / int(frames.sum()))
    if not missed.any():
        return Interval(0.0, 1 - bound)
    if (missed == frames).all():
        return Interval(bound, 1.0)
    found = bootstrap(lambda pick: [missed[pick].sum() / frames[pick].sum()], frames[:, None], seed)
    return Interval(max(0.0, found[0].low), min(1.0, found[0].high)) if found else None


def _longest(in_time: NDArray[np.bool_], numbers: NDArray[np.int64]) -> int:
    """Return the longest run of missed frames between those that were in time; `numbers` are the frames' own."""
    kept = numbers[in_time]
    return int(np.diff(np.concatenate([[-1], kept, [numbers[-1] + 1]])).max()) - 1
