"""Which of two placements is faster: measured in turn, remembered, and bounded in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from edgekit.profiling.latency import median, speedup
from edgekit.schema import Strict

Kept = frozenset[str]
"""A placement, told by the nodes that are kept in floating point beyond those that the calibration keeps."""

ROUNDS = 12
CONFIRMING_ROUNDS = 40
BATCH = 6
"""Placements that are loaded at the same time, beside the one they are compared with."""


class Stopwatch(Protocol):
    """Runs placements and times them; here, or on a board."""

    def __call__(self, placements: Sequence[Kept], rounds: int) -> Sequence[NDArray[np.int64]]:
        """Time placements in turn, round by round.

        Returns:
            One array a placement, (rounds, calls) in ns, all of one shape.
        """
        ...


class Comparison(Strict):
    """How a placement does against another, as they ran in turn."""

    reference: tuple[str, ...]
    candidate: tuple[str, ...]
    reference_us: float
    candidate_us: float
    speedup: float
    low: float
    high: float

    @field_validator("reference", "candidate", mode="before")
    @classmethod
    def _in_order(cls, nodes: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(nodes))

    @property
    def pair(self) -> tuple[Kept, Kept]:
        """The placements that were compared: reference and candidate."""
        return frozenset(self.reference), frozenset(self.candidate)

    def is_faster(self, noise: float) -> bool:
        """Whether the candidate is faster than the reference, beyond noise."""
        return self.low > 1.0 and self.speedup > 1.0 + noise

    def is_slower(self, noise: float) -> bool:
        """Whether the candidate is slower than the reference, beyond noise."""
        return self.high < 1.0 and self.speedup < 1.0 - noise


class TimeUp(Exception):
    """The search has used its time."""


class Comparisons:
    """Compares placements, each pair once.

    Args:
        stopwatch: Times them.
        seconds: No batch begins when this has passed.
        known: What an interrupted search has measured.
        measured: Told all comparisons so far after each batch.
        elapsed: Told the seconds that have passed after each batch.
        clock: Returns seconds; never goes back.
    """

    def __init__(
        self,
        stopwatch: Stopwatch,
        seconds: float,
        known: Sequence[Comparison] = (),
        measured: Callable[[Sequence[Comparison]], None] = lambda _: None,
        elapsed: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stopwatch = stopwatch
        self._seconds = seconds
        self._known = {one.pair: one for one in known}
        self._measured = measured
        self._elapsed = elapsed
        self._clock = clock
        self._start = clock()

    @property
    def all(self) -> tuple[Comparison, ...]:
        """Everything that was compared, in the order that it was."""
        return tuple(self._known.values())

    @property
    def seconds(self) -> float:
        """Seconds that have passed."""
        return self._clock() - self._start

    def against(self, reference: Kept, candidates: Sequence[Kept]) -> list[Comparison]:
        """Return how candidates do against a reference.

        Raises:
            TimeUp: The time was used before all were compared; those that were are remembered.
        """
        missing = [one for one in dict.fromkeys(candidates) if (reference, one) not in self._known]
        for first in range(0, len(missing), BATCH):
            if self.seconds > self._seconds:
                raise TimeUp
            self._compare(reference, missing[first : first + BATCH])
        return [self._known[reference, one] for one in candidates]

    def confirm(self, reference: Kept, candidates: Sequence[Kept]) -> list[Comparison]:
        """Compare with more rounds, whatever time has passed; not remembered, and never answered from memory."""
        return confirmed(self._stopwatch, reference, candidates)

    def _compare(self, reference: Kept, candidates: Sequence[Kept]) -> None:
        self._known |= {one.pair: one for one in _timed(self._stopwatch, reference, candidates, ROUNDS)}
        self._measured(self.all)
        self._elapsed(self.seconds)


def confirmed(stopwatch: Stopwatch, reference: Kept, candidates: Sequence[Kept]) -> list[Comparison]:
    """Compare candidates with a reference, with the rounds that a final word takes."""
    return _timed(stopwatch, reference, candidates, CONFIRMING_ROUNDS)


def _timed(stopwatch: Stopwatch, reference: Kept, candidates: Sequence[Kept], rounds: int) -> list[Comparison]:
    base, *others = stopwatch([reference, *candidates], rounds)
    return [_comparison(reference, one, base, times) for one, times in zip(candidates, others, strict=True)]


def _comparison(reference: Kept, candidate: Kept, base: NDArray[np.int64], times: NDArray[np.int64]) -> Comparison:
    ratio = speedup(base, times)
    if ratio is None or ratio.interval is None:
        message = f"{base.shape[0]} rounds of {base.shape[1]} runs say too little"
        raise ValueError(message)
    return Comparison(
        reference=tuple(reference),
        candidate=tuple(candidate),
        reference_us=round(median(base) / 1e3, 1),
        candidate_us=round(median(times) / 1e3, 1),
        speedup=round(ratio.value, 4),
        low=round(ratio.interval.low, 4),
        high=round(ratio.interval.high, 4),
    )
