"""`edgekit.profile`: what a bundle costs on this machine, floating point against INT8."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from edgekit.api.load import host_mismatch, load
from edgekit.backends import backend_for
from edgekit.bundle import REFERENCE, Bundle, GoldenVector, open_bundle
from edgekit.errors import ArtifactError, DeadlineWarning, EdgekitError, HostMismatchWarning, TargetError, UsageError
from edgekit.process import is_measurable
from edgekit.profiling import machine, memory
from edgekit.profiling.deadline import misses
from edgekit.profiling.latency import speedup, summarize
from edgekit.profiling.measure import Measured, Plan, measure, parts_of
from edgekit.profiling.memory import Call
from edgekit.profiling.pace import Pace, Queue
from edgekit.profiling.result import Conditions, Method, Model, Profile, Row, Subject
from edgekit.profiling.rigor import RIGORS, Level
from edgekit.profiling.schedule import Budget, WarmUp
from edgekit.profiling.weights import weight_bytes
from edgekit.profiling.work import frame_work, start_engine
from edgekit.progress import Progress, silent
from edgekit.runtime.session import Session
from edgekit.targets import cpu_flags

__all__ = ["Profile", "profile"]

MEMORY_RUNS = 20
MODELS: tuple[Model, ...] = ("fp", "int8")


def profile(
    bundle: Bundle | str | Path,
    *,
    rigor: Level = "quick",
    seconds: float | None = None,
    threads: int = 1,
    fps: float | None = None,
    burst: int = 1,
    queue: Queue = "wait",
    idle_ms: float = 0.0,
    streams: int = 1,
    deadline_ms: float | None = None,
    progress: Progress = silent,
    keep: Callable[[Profile], None] = lambda partial: None,
) -> Profile:
    """Measure a bundle on this machine: its engine against its floating-point reference in the same engine.

    Both run with the same options and threads, in turn, block by block, on the bundle's golden inputs. What is decoded
    are the outputs for these inputs; what is preprocessed is a random frame of their frames' size, since the time that
    takes does not depend on what a frame shows. Memory is that of fresh processes.

    Args:
        bundle: A bundle, or its path.
        rigor: How much is measured: `quick`, `standard` or `automotive`.
        seconds: Sampling time of all latencies together, instead of the rigor's; the rest comes on top.
        threads: Threads of the engine; 0 lets it choose.
        fps: Frames a second that a camera delivers: latencies then count from when a frame is due. None: the next run
            starts when the last one is done.
        burst: Frames that are due at once.
        queue: What becomes of frames that are due while the engine runs: they `wait`, or are `drop`ped for newer ones.
        idle_ms: Pause after each run, where there is no camera.
        streams: Threads that run frames at once, each with an engine of its own.
        deadline_ms: Count whole frames that take longer. One that is shorter than a frame's way is warned of before
            the measurement, which is made all the same.
        progress: Told how far it is.
        keep: Given what was measured, marked as partial, where Ctrl-C or a failing engine ends the measurement before
            its time; what ended it is raised after that.

    Raises:
        UsageError: A figure makes no sense, or excludes another.
        ArtifactError: The bundle is damaged, or holds no golden inputs.
        TargetError: The bundle's engine does not run here, or fails while it is measured.
    """
    plan = _plan(rigor, seconds, Pace(fps, burst, idle_ms, streams, queue), deadline_ms)
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    with ExitStack() as stack:
        # The bundle's own engine comes first: where it is one that runs on the board only, its message is the right
        # one.
        int8, fp = (
            [stack.enter_context(_loaded(opened, threads, model)) for _ in range(streams)] for model in ("int8", "fp")
        )
        vectors = _golden(opened)
        record = opened.manifest.engine
        here = machine.describe({record.backend: backend_for(record.backend).available().version})
        before, noise_before = machine.state(), machine.noise_floor()
        watch = machine.Watch()
        measured = measure({"fp": fp, "int8": int8}, vectors, plan, progress, _warn_of_deadline(plan))
        disturbance = watch.read()
        conditions = Conditions(here, before, machine.state(), (noise_before, machine.noise_floor()), disturbance)
    timed = _timed(opened, threads, measured, conditions)
    if measured.ended:
        reason = _reason(measured.ended, record.backend, measured.method)
        keep(replace(timed, partial=str(reason) or type(reason).__name__))
        raise reason from measured.ended
    try:
        return replace(timed, rows=tuple(_with_memory(timed, opened, progress)))
    except BaseException as error:
        keep(replace(timed, partial=f"Memory was not measured: {str(error) or type(error).__name__}"))
        raise


def _plan(rigor: Level, seconds: float | None, pace: Pace, deadline_ms: float | None) -> Plan:
    asked = RIGORS.get(rigor)
    if asked is None:
        raise UsageError(
            problem=f"There is no rigor '{rigor}'.", found=f"Known: {', '.join(RIGORS)}.", fix="Give one of these."
        )
    for name, value in (("seconds", seconds), ("deadline_ms", deadline_ms)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(
                problem=f"{'The sampling time' if name == 'seconds' else 'The deadline'} is no time.",
                found=f"{name} = {value}",
                fix="Give a number above 0.",
            )
    pace.check()
    if asked.constant_rate and not pace.fps:
        raise UsageError(
            problem=f"The rigor '{rigor}' measures at a camera's constant rate.",
            found="no frame rate",
            fix="Give the camera's: --fps 30 for instance.",
        )
    return Plan(rigor, Budget(seconds or asked.seconds, asked.samples), pace, deadline_ms)


def _warn_of_deadline(plan: Plan) -> Callable[[Mapping[str, WarmUp]], None]:
    """Return what says at once that a deadline cannot be met, once it is known how long a frame takes."""

    def warn(warm: Mapping[str, WarmUp]) -> None:
        for model in MODELS:
            takes = warm[f"{model} frame"].call_ns / 1e6
            if plan.deadline_ms is not None and plan.deadline_ms < takes:
                message = (
                    f"The deadline of {plan.deadline_ms:g} ms is shorter than the way of one frame through the model "
                    f"'{model}', {takes:.1f} ms: nearly every frame will miss it. It is measured all the same."
                )
                warnings.warn(message, DeadlineWarning, stacklevel=2)

    return warn


def _timed(bundle: Bundle, threads: int, measured: Measured, conditions: Conditions) -> Profile:
    """Return a profile with everything but memory."""
    record, target = bundle.manifest.engine, bundle.manifest.target
    weights = {"fp": weight_bytes(bundle.read(REFERENCE)), "int8": weight_bytes(bundle.engine_members()["model.onnx"])}
    fp, int8 = (parts_of(measured.samples[model]) for model in MODELS)
    return Profile(
        subject=Subject(
            bundle=str(bundle.path),
            target=target.name,
            mismatch=host_mismatch(target.name, target.device, conditions.machine.arch, cpu_flags()),
            engine=record.backend,
            options=record.options,
            threads=threads,
        ),
        method=measured.method,
        conditions=conditions,
        rows=tuple(_row(model, measured, weights[model]) for model in MODELS),
        speedup={part: speedup(fp[part].parts[part], int8[part].parts[part]) for part in ("engine", "end_to_end")},
        warnings=tuple(_warnings(conditions, measured.method, threads)),
    )


def _row(model: Model, measured: Measured, weights: int) -> Row:
    works = measured.samples[model]
    deadline = measured.method.deadline_ms
    return Row(
        model=model,
        latency={part: summarize(samples.parts[part]) for part, samples in parts_of(works).items()},
        samples=works,
        seconds=measured.seconds[model],
        misses=misses(works["frame"], deadline) if deadline is not None else None,
        memory=None,
        weight_bytes=weights,
    )


def _reason(ended: BaseException, engine: str, method: Method) -> BaseException:
    """Return what to raise for what ended a measurement; what an engine raises of its own becomes an EdgekitError."""
    if isinstance(ended, EdgekitError) or not isinstance(ended, Exception):
        return ended
    runs = method.rounds * method.calls_per_block
    return TargetError(
        problem=f"The engine {engine} failed while it was measured, after {runs} recorded runs of each model.",
        found=f"{type(ended).__name__}: {ended}",
        fix="What was measured until then is kept as partial. Run `edgekit verify` on the bundle, and see whether "
        "memory is free.",
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


def _with_memory(timed: Profile, bundle: Bundle, progress: Progress) -> Iterator[Row]:
    if not is_measurable():
        yield from timed.rows
        return
    subject = timed.subject
    prepare = Call(
        f"{start_engine.__module__}:{start_engine.__name__}",
        {"backend": subject.engine, "options": dict(subject.options), "threads": subject.threads},
    )
    for done, row in enumerate(timed.rows):
        progress("memory", done, len(timed.rows))
        arguments = {"bundle": str(bundle.path.resolve()), "threads": subject.threads, "model": row.model}
        loading = Call(f"{__name__}:{load_frames.__name__}", arguments)
        yield replace(row, memory=memory.in_fresh_process(loading, prepare=prepare, runs=MEMORY_RUNS))
    progress("memory", len(timed.rows), len(timed.rows))


def load_frames(bundle: str, threads: int, model: Model) -> Callable[[], object]:
    """Load a bundle's model as an application does, and return what runs a frame; for the process of `_memories`."""
    opened = open_bundle(bundle)
    vector = next(opened.golden())
    return frame_work(model, [_loaded(opened, threads, model)], [vector]).run


def _warnings(conditions: Conditions, method: Method, threads: int) -> Iterator[str]:
    yield from machine.warnings(conditions.machine, conditions.noise, conditions.disturbance, threads)
    for name, warm in method.warm_up.items():
        if not warm.steady:
            yield f"The speed of '{name}' was not steady after {warm.seconds:.1f} s of warming up."
