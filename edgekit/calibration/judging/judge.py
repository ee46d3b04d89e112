"""Judge a quantized network on a few held-out frames, where the distortion alone would be ruled by chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.calibration.judging.evaluate import Run
from edgekit.calibration.judging.probe import Probe, expected

PRIOR_FRAMES = 64
"""What the heads' noise lets one expect counts as much as the distortion measured on so many frames: a lane that comes
or goes on one frame moves the mean of a dozen by more than any learning does."""


@dataclass(frozen=True)
class Verdict:
    """What was found of a network.

    Attributes:
        distortion: Its mean distortion on the held-out frames.
        score: That, and what its heads' noise lets one expect, weighted n to PRIOR_FRAMES for n frames.
        excess: By how much its distortion exceeds the start's, frame by frame, beyond one standard error of that.
    """

    distortion: float
    score: float
    excess: float = 0.0

    def improves_on(self, best: Verdict) -> bool:
        """Say whether it is the better choice: less score than the best so far, not measurably worse than the start."""
        return self.score < best.score and self.excess <= 0.0


class Judge:
    """Holds networks against the floating-point one, and against where they started.

    Args:
        probe: The held-out frames.
        start: The quantized network that all others are compared with.
        few: Frames that sensitivities are estimated on.

    Attributes:
        start: What was found of the start.
    """

    def __init__(self, probe: Probe, start: Run, few: int = 8) -> None:
        self._probe, self._few = probe, few
        self._first = probe.read(start)
        self._shares = self.sensitivities(start)
        self.start = Verdict(self._first.mean, self._first.mean)

    def __call__(self, run: Run) -> Verdict:
        """Return what is found of a network."""
        reading = self._probe.read(run)
        count = len(reading.distortion)
        prior = PRIOR_FRAMES * expected(reading, self._first, self._shares)
        return Verdict(
            distortion=reading.mean,
            score=(count * reading.mean + prior) / (count + PRIOR_FRAMES),
            excess=_excess(reading.distortion, self._first.distortion),
        )

    def sensitivities(self, run: Run) -> dict[str, float]:
        """Return, by head, the mean distortion when that head alone is the quantized network's."""
        samples = self._probe.samples[: self._few]
        sums = {name: 0.0 for name in samples[0].heads}
        for sample in samples:
            heads = self._probe.heads_of(run(sample.input))
            for name in sums:
                sums[name] += self._probe.distortion(sample, {**sample.heads, name: heads[name]})
        return {name: total / len(samples) for name, total in sums.items()}


def _excess(found: Sequence[float], start: Sequence[float]) -> float:
    """Return the mean difference of paired values less its standard error; of one pair, the difference."""
    differences = np.subtract(found, start)
    error = differences.std(ddof=1) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    return float(differences.mean() - error)
