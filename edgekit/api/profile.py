"""`edgekit.profile`: what a bundle costs on this machine, floating point against INT8."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.api.load import host_mismatch, load
from edgekit.backends import backend_for
from edgekit.bundle import REFERENCE, Bundle, GoldenVector, open_bundle
from edgekit.errors import ArtifactError, HostMismatchWarning, UsageError
from edgekit.process import is_measurable
from edgekit.profiling import machine, memory
from edgekit.profiling.latency import speedup, summarize
from edgekit.profiling.memory import Call, Memory
from edgekit.profiling.result import Conditions, Method, Profile, Row, Subject
from edgekit.profiling.schedule import WarmUp, calls_per_block, interleave, warm_up
from edgekit.profiling.weights import weight_bytes
from edgekit.profiling.work import ENGINE, FRAME, engine_work, frame_work, start_engine
from edgekit.progress import Progress, silent
from edgekit.runtime.session import Session
from edgekit.targets import cpu_flags

__all__ = ["Profile", "profile"]

MEMORY_RUNS = 20

Model = Literal["fp", "int8"]
Durations = Mapping[tuple[Model, str], NDArray[np.int64]]
"""Model and part of the work to (rounds, calls) in ns."""


def profile(
    bundle: Bundle | str | Path, *, seconds: float = 10.0, threads: int = 1, progress: Progress = silent
) -> Profile:
    """Measure a bundle on this machine: its engine against its floating-point reference in the same engine.

    Both run with the same options and threads, in turn, block by block, back to back, on the bundle's golden inputs.
    What is decoded are the outputs for these inputs; what is preprocessed is a random frame of their frames' size,
    since the time that takes does not depend on what a frame shows. Memory is that of fresh processes.

    Args:
        bundle: A bundle, or its path.
        seconds: Sampling time of all latencies together; warming up and memory come on top.
        threads: Threads of the engine; 0 lets it choose.
        progress: Told how far it is.

    Raises:
        UsageError: `seconds` is not above 0, or `threads` is negative.
        ArtifactError: The bundle is damaged, or holds no golden inputs.
        TargetError: The bundle's engine does not run here.
    """
    _check(seconds)
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    # The bundle's own engine comes first: where it is one that runs on the board only, its message is the right one.
    with _loaded(opened, threads, "int8") as int8, _loaded(opened, threads, "fp") as fp:
        vectors = _golden(opened)
        record, target = opened.manifest.engine, opened.manifest.target
        here = machine.describe({record.backend: backend_for(record.backend).available().version})
        before, noise_before = machine.state(), machine.noise_floor()
        watch = machine.Watch()
        durations, method = _measure({"fp": fp, "int8": int8}, vectors, seconds, progress)
        disturbance = watch.read()
        conditions = Conditions(here, before, machine.state(), (noise_before, machine.noise_floor()), disturbance)
    held = _memories(opened, threads, progress)
    return Profile(
        subject=Subject(
            bundle=str(opened.path),
            target=target.name,
            mismatch=host_mismatch(target.name, target.device, here.arch, cpu_flags()),
            engine=record.backend,
            options=record.options,
            threads=threads,
        ),
        method=method,
        conditions=conditions,
        rows=(
            _row("fp", durations, held["fp"], weight_bytes(opened.read(REFERENCE))),
            _row("int8", durations, held["int8"], weight_bytes(opened.engine_members()["model.onnx"])),
        ),
        speedup={part: speedup(durations["fp", part], durations["int8", part]) for part in ("engine", "end_to_end")},
        warnings=tuple(_warnings(conditions, method, threads)),
    )


def _check(seconds: float) -> None:
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(
            problem="The sampling time is no time.", found=f"seconds = {seconds}", fix="Give a number above 0."
        )


def _loaded(bundle: Bundle, threads: int, model: Model) -> Session:
    with warnings.catch_warnings():
        # The profile itself says what this machine is not.
        warnings.simplefilter("ignore", HostMismatchWarning)
        return load(bundle, threads=threads, reference=model == "fp")


def _golden(bundle: Bundle) -> list[GoldenVector]:
    vectors = list(bundle.golden())
    if not vectors:
        raise ArtifactError(
            problem=f"The bundle {bundle.path} holds no golden inputs to run.",
            fix="Compile the calibration again: `edgekit compile` puts them in.",
        )
    return vectors


def _measure(
    sessions: Mapping[Model, Session], vectors: Sequence[GoldenVector], seconds: float, progress: Progress
) -> tuple[Durations, Method]:
    keyed = [(model, engine_work(model, session, vectors)) for model, session in sessions.items()]
    keyed += [(model, frame_work(model, session, vectors)) for model, session in sessions.items()]
    workloads = [workload for _, workload in keyed]
    warm: dict[str, WarmUp] = {}
    for workload in workloads:
        progress("warm up", len(warm), len(workloads))
        warm[workload.name] = warm_up(workload)
    progress("warm up", len(workloads), len(workloads))
    calls = calls_per_block([each.call_ns for each in warm.values()], seconds)
    samples = interleave(workloads, seconds=seconds, calls=calls, progress=progress)
    durations = {
        (model, part): values[:, :, index]
        for (model, workload), values in zip(keyed, samples, strict=True)
        for index, part in enumerate(workload.parts)
    }
    return durations, Method(seconds, len(samples[0]), calls, len(vectors), vectors[0].frame_size, warm)


def _memories(bundle: Bundle, threads: int, progress: Progress) -> dict[Model, Memory | None]:
    if not is_measurable():
        return {"fp": None, "int8": None}
    record = bundle.manifest.engine
    prepare = Call(
        f"{start_engine.__module__}:{start_engine.__name__}",
        {"backend": record.backend, "options": record.options, "threads": threads},
    )
    held: dict[Model, Memory | None] = {}
    models: tuple[Model, ...] = ("fp", "int8")
    for done, model in enumerate(models):
        progress("memory", done, len(models))
        arguments = {"bundle": str(bundle.path.resolve()), "threads": threads, "model": model}
        loading = Call(f"{__name__}:{load_frames.__name__}", arguments)
        held[model] = memory.in_fresh_process(loading, prepare=prepare, runs=MEMORY_RUNS)
    progress("memory", len(models), len(models))
    return held


def load_frames(bundle: str, threads: int, model: Model) -> Callable[[], object]:
    """Load a bundle's model as an application does, and return what runs a frame; for the process of `_memories`."""
    opened = open_bundle(bundle)
    vector = next(opened.golden())
    return frame_work(model, _loaded(opened, threads, model), [vector]).run


def _row(model: Model, durations: Durations, held: Memory | None, weights: int) -> Row:
    latency = {part: summarize(durations[model, part]) for part in (*ENGINE, *FRAME)}
    return Row(model, latency, held, weights)


def _warnings(conditions: Conditions, method: Method, threads: int) -> Iterator[str]:
    yield from machine.warnings(conditions.machine, conditions.noise, conditions.disturbance, threads)
    for name, warm in method.warm_up.items():
        if not warm.steady:
            yield f"The speed of '{name}' was not steady after {warm.seconds:.1f} s of warming up."
