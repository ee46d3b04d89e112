"""How much is measured, from a quick look to what MLPerf asks of a vehicle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Level = Literal["quick", "standard", "automotive"]
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Rigor:
    """How much is measured. Sampling ends when time and samples are both reached, as in MLPerf.

    Attributes:
        seconds: Sampling time of both models together ...
        each_seconds: ... of which each workload gets so much at least.
        samples: Of each model and part of the work.
        soak_runs: Runs in which a fresh process is watched for memory that grows ...
        soak_seconds: ... for so many seconds at most.
        constant_rate: Whether it makes sense under a camera's pace only.
    """

    seconds: float
    samples: int
    soak_runs: int
    soak_seconds: float
    constant_rate: bool = False
    each_seconds: float = 0.0


RIGORS: Mapping[Level, Rigor] = {
    # As many as a median takes.
    "quick": Rigor(seconds=10, samples=11, soak_runs=1_000, soak_seconds=0.5),
    "standard": Rigor(seconds=60, samples=1_024, soak_runs=10_000, soak_seconds=15),
    # MLPerf Automotive: 600 s and 6,636 queries of one model; here are two.
    "automotive": Rigor(
        seconds=1_200, samples=6_636, soak_runs=10_000, soak_seconds=600, constant_rate=True, each_seconds=600
    ),
}
