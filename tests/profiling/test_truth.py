"""An engine with faults of known size is measured as any other: each fault is found, named, and as large as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.bundle import GoldenVector
from edgekit.profiling.deadline import misses
from edgekit.profiling.findings import Finding, find
from edgekit.profiling.latency import summarize
from edgekit.profiling.measure import Measured, Plan, measure
from edgekit.profiling.pace import Pace
from edgekit.profiling.schedule import Budget
from edgekit.progress import silent
from edgekit.recipes import load_recipe
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.runtime.session import Session, heads_of
from edgekit.tasks import task_for

SHAPE = (1, 3, 4, 6)
BASE_MS = 5.0

Fault = Callable[[int, float], float]
"""Run and s since the start to the ms that the run takes."""


class World:
    """Time that passes only while an engine runs or the schedule sleeps."""

    def __init__(self) -> None:
        self.now = 0

    def clock(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += math.ceil(seconds * 1e9)


class FaultyEngine:
    """An engine whose runs take as long as it is told."""

    def __init__(self, world: World, fault: Fault) -> None:
        self._world, self._fault, self._runs = world, fault, 0
        self._noise = np.random.default_rng(0)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        took = self._fault(self._runs, self._world.now / 1e9) * self._noise.lognormal(sigma=0.02)
        self._world.now += int(took * 1e6)
        self._runs += 1
        return {"out": np.zeros(SHAPE, np.float32)}

    def close(self) -> None:
        """Nothing to free."""


def measured(fault: Fault, pace: Pace, seconds: float = 60.0) -> Measured:
    """Measure a sound engine as fp and one with a fault as int8."""
    world, recipe = World(), load_recipe("generic")
    preprocessor, heads = Preprocessor(recipe.preprocessing, SHAPE), heads_of(recipe, ["out"])
    sessions = [
        Session(FaultyEngine(world, each), "image", preprocessor, heads, task_for(recipe))
        for each in (lambda run, now: BASE_MS, fault)
    ]
    vectors = [GoldenVector("0.png", (8, 12), np.zeros(SHAPE, np.float32), {})]
    plan = Plan("quick", Budget(seconds), pace, None)
    fp, int8 = sessions
    with_fault = {"fp": [fp], "int8": [int8]}
    return measure(with_fault, vectors, plan, silent, lambda warm: None, clock=world.clock, sleep=world.sleep)  # type: ignore[arg-type]


def found(result: Measured) -> dict[str, Finding]:
    assert list(find("fp", result.samples["fp"], result.method.pace)) == []
    return {each.kind: each for each in find("int8", result.samples["int8"], result.method.pace)}


PACES = pytest.mark.parametrize("pace", [Pace(), Pace(fps=60)], ids=["back to back", "camera"])


@PACES
def test_a_sound_engine_has_no_fault(pace: Pace) -> None:
    assert found(measured(lambda run, now: BASE_MS, pace)) == {}


@PACES
def test_stalls(pace: Pace) -> None:
    findings = found(measured(lambda run, now: BASE_MS + (40.0 if run % 97 == 50 else 0.0), pace))
    assert set(findings) == {"stalls"}
    assert findings["stalls"].figures["extra_ms"] == pytest.approx(40.0, rel=0.03)
    assert findings["stalls"].figures["share"] == pytest.approx(1 / 97, rel=0.2)
    # Runs that are not recorded, at the start of each block, count for the engine.
    assert findings["stalls"].figures["every_runs"] == pytest.approx(97, rel=0.15)


@PACES
def test_drift(pace: Pace) -> None:
    findings = found(measured(lambda run, now: BASE_MS * (1 + now / 200), pace))
    assert set(findings) == {"drift"}
    assert findings["drift"].figures["ms_per_minute"] == pytest.approx(60 * BASE_MS / 200, rel=0.05)


@PACES
def test_two_speeds(pace: Pace) -> None:
    chosen = np.random.default_rng(5).random(200_000) < 0.3
    findings = found(measured(lambda run, now: 8.0 if chosen[run] else BASE_MS, pace))
    assert set(findings) == {"two speeds"}
    figures = findings["two speeds"].figures
    assert figures["fast_ms"] == pytest.approx(BASE_MS, rel=0.01)
    assert figures["slow_ms"] == pytest.approx(8.0, rel=0.01)
    assert figures["slow_share"] == pytest.approx(0.3, abs=0.03)


def test_an_engine_slower_than_its_camera() -> None:
    findings = found(measured(lambda run, now: 25.0, Pace(fps=60)))
    assert set(findings) == {"overload"}
    assert findings["overload"].figures["used"] == pytest.approx(1.5, rel=0.01)


def test_a_camera_sees_what_a_loop_hides() -> None:
    """One stall of 100 ms in 300 runs makes one slow run in a loop, and eight late frames at 60 a second."""

    def stall(run: int, now: float) -> float:
        return BASE_MS + (100.0 if run % 300 == 150 else 0.0)

    loop, camera = (measured(stall, pace).samples["int8"]["frame"] for pace in (Pace(), Pace(fps=60)))
    late = [misses(samples, 16.7).missed / samples.frames.size for samples in (loop, camera)]
    assert late[0] == pytest.approx(1 / 300, rel=0.3)
    assert late[1] == pytest.approx(8 / 300, rel=0.3)
    p90, p99 = (summarize(camera.parts["end_to_end"]).percentiles[name] for name in ("p90", "p99"))
    assert p90 == pytest.approx(BASE_MS, rel=0.1)
    assert p99 is not None
    assert p99 > 50
