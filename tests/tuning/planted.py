"""An engine whose costs are known: what every node takes in either precision, and what a change of precision takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgekit.tuning.comparison import Kept


@dataclass
class PlantedEngine:
    """Times placements of a chain of nodes.

    Attributes:
        float_us, int8_us: By node, in the order of the chain.
        border_us: What each change of precision between neighbours takes.
        noise: Coefficient of variation of a run.
        runs: How often it was asked.
        stop_after: Ctrl-C comes at this call.
    """

    float_us: Mapping[str, float]
    int8_us: Mapping[str, float]
    border_us: float = 0.0
    noise: float = 0.002
    runs: int = 0
    stop_after: int | None = None
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def microseconds(self, kept: Kept) -> float:
        nodes = list(self.float_us)
        borders = sum((a in kept) != (b in kept) for a, b in pairwise(nodes))
        return sum(self.float_us[n] if n in kept else self.int8_us[n] for n in nodes) + self.border_us * borders

    def __call__(self, placements: Sequence[Kept], rounds: int) -> list[NDArray[np.int64]]:
        if self.stop_after is not None and self.runs >= self.stop_after:
            raise KeyboardInterrupt
        self.runs += 1
        drift = 1 + 0.1 * self._random.random((rounds, 1))
        return [
            (
                1e3 * self.microseconds(kept) * drift * (1 + self.noise * self._random.standard_normal((rounds, 2)))
            ).astype(np.int64)
            for kept in placements
        ]
