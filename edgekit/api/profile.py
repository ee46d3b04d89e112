"""`edgekit.profile`: what a bundle costs on this machine, floating point against INT8."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.api.conclusion import Beginning, concluded
from edgekit.api.load import engine_of, host_mismatch, load, members_for
from edgekit.backends import backend_for
from edgekit.bundle import Bundle, GoldenVector, open_bundle
from edgekit.errors import ArtifactError, DeadlineWarning, EdgekitError, HostMismatchWarning, TargetError, UsageError
from edgekit.process import is_measurable
from edgekit.profiling import machine, memory
from edgekit.profiling.energy import find_meter
from edgekit.profiling.journal import Journal, forget
from edgekit.profiling.measure import Plan, measure
from edgekit.profiling.memory import Call, Soak
from edgekit.profiling.pace import Pace, Queue
from edgekit.profiling.result import MODELS, Method, Model, Profile, Row, Subject
from edgekit.profiling.rigor import RIGORS, Level
from edgekit.profiling.schedule import Budget, WarmUp
from edgekit.profiling.work import frame_work, start_engine
from edgekit.progress import Progress, silent
from edgekit.runtime.session import Session
from edgekit.targets import BackendName, cpu_flags, origin_of

__all__ = ["Profile", "profile"]

ONNX_ENGINES: tuple[BackendName, ...] = ("openvino", "onnxruntime")
"""Engines that load the models of any bundle."""

MEMORY_RUNS = 20
LAYER_RUNS, LEAST_LAYER_RUNS, LAYER_SECONDS = 100, 5, 1.0


def profile(
    bundle: Bundle | str | Path,
    *,
    rigor: Level = "quick",
    seconds: float | None = None,
    threads: int = 1,
    engine: BackendName | None = None,
    fps: float | None = None,
    burst: int = 1,
    queue: Queue = "wait",
    idle_ms: float = 0.0,
    streams: int = 1,
    deadline_ms: float | None = None,
    progress: Progress = silent,
    keep: Callable[[Profile], None] = lambda partial: None,
    journal: Journal = forget,
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
        engine: Run both models in this engine instead of the bundle's own; see `engines_here`.
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
        journal: Told everything as soon as it is measured; see `edgekit.api.apart`.

    Raises:
        UsageError: A figure makes no sense, or excludes another.
        ArtifactError: The bundle is damaged, or holds no golden inputs.
        TargetError: The bundle's engine does not run here, or fails while it is measured.
    """
    plan = _plan(rigor, seconds, Pace(fps, burst, idle_ms, streams, queue), deadline_ms)
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    _require_device(opened, engine_of(opened, engine)[0])
    with ExitStack() as stack:
        # The bundle's own engine comes first: where it is one that runs on the board only, its message is the right
        # one.
        int8, fp = (
            [stack.enter_context(_loaded(opened, threads, model, engine)) for _ in range(streams)]
            for model in ("int8", "fp")
        )
        vectors = _golden(opened)
        name, options = engine_of(opened, engine)
        meter, no_energy = find_meter()
        if meter:
            stack.callback(meter.close)
        here = machine.describe({name: backend_for(name).available().version})
        subject = _subject(opened, name, options, threads, here.arch)
        on_device: dict[Model, Any] = {"fp": fp[0].on_device, "int8": int8[0].on_device}
        beginning = Beginning(
            subject,
            here,
            machine.state(),
            machine.noise_floor(),
            no_energy,
            meter.source if meter else "",
            {model: engine.device_bytes if engine else None for model, engine in on_device.items()},
        )
        watch = machine.Watch()

        def note(entry: str, what: Any) -> None:
            journal(entry, (what, watch.read()) if entry == "round" else what)

        journal("beginning", beginning)
        warned = _warn_of_deadline(plan)
        measured = measure({"fp": fp, "int8": int8}, vectors, plan, progress, warned, meter, note)
        timed = concluded(opened, beginning, measured, watch.read())
    if measured.ended:
        reason = _reason(measured.ended, name, measured.method)
        keep(replace(timed, partial=str(reason) or type(reason).__name__))
        raise reason from measured.ended
    try:
        with_layers = _with_layers(timed, opened, vectors[0], progress)
        return replace(with_layers, rows=tuple(_with_memory(with_layers, opened, progress)))
    except BaseException as error:
        told = str(error) or type(error).__name__
        keep(replace(timed, partial=f"Latency is whole; layers or memory were not measured: {told}"))
        raise


def engines_here(bundle: Bundle) -> tuple[BackendName, ...]:
    """Return the engines that run a bundle's models on this machine; its own one comes first."""
    own = bundle.manifest.engine.backend
    names = dict.fromkeys((own, *ONNX_ENGINES))
    return tuple(name for name in names if not backend_for(name).available().reason)


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
    budget = Budget(seconds or asked.seconds, asked.samples, 0.0 if seconds else asked.each_seconds)
    return Plan(rigor, budget, pace, deadline_ms)


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


def _subject(bundle: Bundle, engine: str, options: Mapping[str, Any], threads: int, arch: str) -> Subject:
    target, own = bundle.manifest.target, bundle.manifest.engine.backend
    mismatch = host_mismatch(target.name, target.device, arch, cpu_flags())
    if engine != own:
        mismatch = f"It was calibrated and compiled for {own} and runs in {engine}. {mismatch}".strip()
    return Subject(
        bundle=str(bundle.path),
        target=target.name,
        mismatch=mismatch,
        engine=engine,
        options=options,
        threads=threads,
        on_chip_bytes=round(target.peak.on_chip_mb * 1e6) if target.peak.on_chip_mb else None,
        reads=bundle.manifest.recipe.preprocessing.kind,
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


def _loaded(bundle: Bundle, threads: int, model: Model, engine: BackendName | None) -> Session:
    with warnings.catch_warnings():
        # The profile itself says what this machine is not.
        warnings.simplefilter("ignore", HostMismatchWarning)
        return load(bundle, threads=threads, reference=model == "fp", engine=engine)


def _require_device(bundle: Bundle, engine: BackendName) -> None:
    target = bundle.manifest.target
    if engine == target.backend and origin_of(target) != "measured":
        raise TargetError(
            problem=f"{bundle.path} cannot be profiled here: {target.name} is simulated on this machine, and a "
            "simulator's times are not a device's.",
            found=f"the device is {target.device.soc}",
            fix="Run it, or verify what it computes: edgekit run, edgekit verify. Measure times on the device.",
        )


def _golden(bundle: Bundle) -> list[GoldenVector]:
    vectors = list(bundle.golden())
    if not vectors:
        raise ArtifactError(
            problem=f"The bundle {bundle.path} holds no golden inputs to run.",
            fix="Compile the calibration again: `edgekit compile` puts them in.",
        )
    return vectors


def _with_layers(timed: Profile, bundle: Bundle, vector: GoldenVector, progress: Progress) -> Profile:
    """Return a profile with the time of every layer, where the engine tells; what it cannot do is a warning."""
    subject, rows, notes = timed.subject, [], list(timed.warnings)
    foreign = subject.engine != bundle.manifest.engine.backend
    members = {model: members_for(bundle, model == "fp", foreign) for model in MODELS}
    inputs = {bundle.manifest.input.name: vector.input}
    for done, row in enumerate(timed.rows):
        progress("layers", done, len(timed.rows))
        call = row.latency["engine"].mean / 1e3
        runs = max(LEAST_LAYER_RUNS, min(LAYER_RUNS, int(LAYER_SECONDS / call)))
        try:
            backend = backend_for(subject.engine)
            layers = backend.time_layers(members[row.model], subject.options, subject.threads, inputs, runs)
        except EdgekitError as error:
            layers = ()
            notes.append(f"The layers of the model '{row.model}' were not timed. {error.problem} {error.found}".strip())
        rows.append(replace(row, layers=layers))
    progress("layers", len(rows), len(rows))
    return replace(timed, rows=tuple(rows), warnings=tuple(notes))


def _with_memory(timed: Profile, bundle: Bundle, progress: Progress) -> Iterator[Row]:
    if not is_measurable():
        yield from timed.rows
        return
    subject = timed.subject
    prepare = Call(
        f"{start_engine.__module__}:{start_engine.__name__}",
        {"backend": subject.engine, "options": dict(subject.options), "threads": subject.threads},
    )
    rigor = RIGORS[timed.method.rigor]
    soak = Soak(rigor.soak_runs, rigor.soak_seconds)
    for done, row in enumerate(timed.rows):
        progress("memory", done, len(timed.rows))
        arguments = {"bundle": str(bundle.path.resolve()), "threads": subject.threads, "model": row.model}
        arguments["engine"] = subject.engine
        loading = Call(f"{__name__}:{load_frames.__name__}", arguments)
        yield replace(row, memory=memory.in_fresh_process(loading, prepare=prepare, runs=MEMORY_RUNS, soak=soak))
    progress("memory", len(timed.rows), len(timed.rows))


def load_frames(bundle: str, threads: int, model: Model, engine: BackendName) -> Callable[[], object]:
    """Load a bundle's model as an application does, and return what runs a frame; for the process of `_memories`."""
    opened = open_bundle(bundle)
    vector = next(opened.golden())
    return frame_work(model, [_loaded(opened, threads, model, engine)], [vector]).run
