"""Time both models of a bundle: what is run, for how long, and what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle import GoldenVector
from edgekit.profiling.energy import Meter
from edgekit.profiling.journal import Journal, forget
from edgekit.profiling.pace import Clock, Pace, Sleep
from edgekit.profiling.result import Method, Model
from edgekit.profiling.rigor import Level
from edgekit.profiling.samples import Samples
from edgekit.profiling.schedule import Budget, Sampling, WarmUp, calls_per_block, interleave, warm_up
from edgekit.profiling.work import engine_work, frame_work
from edgekit.progress import Progress
from edgekit.runtime.session import Session


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        rigor: How much, by name.
        budget: The same in figures.
        pace: When runs start.
        deadline_ms: What whole frames are held against; none where nothing is.
    """

    rigor: Level
    budget: Budget
    pace: Pace
    deadline_ms: float | None


@dataclass(frozen=True)
class Course:
    """What is known before anything is sampled, and what the samples are read with.

    Attributes:
        plan: What is asked for.
        keys: Model and workload, in the order of a round.
        parts: The parts of each.
        calls: Recorded runs of a stream a block.
        inputs: Golden inputs that are run in turn.
        frame_size: Height and width of the frame that is preprocessed.
        warm_up: By workload.
    """

    plan: Plan
    keys: tuple[tuple[Model, str], ...]
    parts: tuple[tuple[str, ...], ...]
    calls: int
    inputs: int
    frame_size: tuple[int, int]
    warm_up: Mapping[str, WarmUp]


@dataclass(frozen=True)
class Measured:
    """What was timed.

    Attributes:
        samples: By model and workload, `engine` or `frame`.
        seconds: Sampling time of each.
        joules: Of a frame of each model, by round; none where nothing counts energy.
        method: How it was done.
        ended: What ended it before its time; none where it came to its end.
    """

    samples: Mapping[Model, Mapping[str, Samples]]
    seconds: Mapping[Model, Mapping[str, float]]
    joules: Mapping[Model, NDArray[np.float64]] | None
    method: Method
    ended: BaseException | None


def measure(
    sessions: Mapping[Model, Sequence[Session]],
    vectors: Sequence[GoldenVector],
    plan: Plan,
    progress: Progress,
    warmed: Callable[[Mapping[str, WarmUp]], None],
    meter: Meter | None = None,
    journal: Journal = forget,
    clock: Clock = time.perf_counter_ns,
    sleep: Sleep = time.sleep,
) -> Measured:
    """Warm up and time both models in turn.

    Back to back, the engine is also timed on its own, without the pre- and post-processing that take its caches. At
    any other pace it is timed within the frame: that is where it runs.

    Args:
        sessions: By model, one a stream.
        vectors: What to run on, in turn.
        plan: How much, and at which pace.
        progress: Told how far it is.
        warmed: Told how each workload warmed up, before anything is measured.
        meter: Counts energy.
        journal: Told the course before anything is sampled, and every round.
        clock: A monotonic clock in ns.
        sleep: Waits.
    """
    works = {"engine": engine_work, "frame": frame_work} if plan.pace == Pace() else {"frame": frame_work}
    keys: list[tuple[Model, str]] = [(model, work) for work in works for model in sessions]
    workloads = [works[work](model, sessions[model], vectors, clock) for model, work in keys]
    warm: dict[str, WarmUp] = {}
    for workload in workloads:
        progress("warm up", len(warm), len(workloads))
        warm[workload.name] = warm_up(workload, clock=clock)
    progress("warm up", len(workloads), len(workloads))
    warmed(warm)
    course = Course(
        plan=plan,
        keys=tuple(keys),
        parts=tuple(workload.parts for workload in workloads),
        calls=calls_per_block([each.call_ns for each in warm.values()], plan.budget.seconds, plan.pace),
        inputs=len(vectors),
        frame_size=vectors[0].frame_size,
        warm_up=warm,
    )
    journal("course", course)
    sampling = interleave(
        workloads,
        plan.budget,
        calls=course.calls,
        pace=plan.pace,
        meter=meter,
        told=lambda each: journal("round", each),
        progress=progress,
        clock=clock,
        sleep=sleep,
    )
    return by_model(course, sampling)


def by_model(course: Course, sampling: Sampling) -> Measured:
    """Return what was sampled by model and workload."""
    plan, models = course.plan, tuple(dict.fromkeys(model for model, _ in course.keys))
    works = tuple(dict.fromkeys(work for _, work in course.keys))
    samples = dict(zip(course.keys, sampling.samples, strict=True))
    seconds = dict(zip(course.keys, sampling.seconds, strict=True))
    joules = dict(zip(course.keys, sampling.joules, strict=True)) if sampling.joules else None
    return Measured(
        samples={model: {work: samples[model, work] for work in works} for model in models},
        seconds={model: {work: seconds[model, work] for work in works} for model in models},
        joules={model: joules[model, "frame"] for model in models} if joules else None,
        method=Method(
            rigor=plan.rigor,
            budget=plan.budget,
            pace=plan.pace,
            deadline_ms=plan.deadline_ms,
            rounds=len(sampling.samples[0].started),
            calls_per_block=course.calls,
            inputs=course.inputs,
            frame_size=course.frame_size,
            warm_up=course.warm_up,
        ),
        ended=sampling.ended,
    )


def parts_of(works: Mapping[str, Samples]) -> dict[str, Samples]:
    """Return for each part of the work the samples that its figures come from; the engine's own where it ran alone."""
    return {part: works[work] for work in ("frame", "engine") if work in works for part in works[work].parts}
