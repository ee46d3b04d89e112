"""What was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgekit.backends import TimedLayer
from edgekit.profiling.deadline import Misses
from edgekit.profiling.energy import Energy
from edgekit.profiling.findings import Finding
from edgekit.profiling.growth import Growth, find_leak, growth
from edgekit.profiling.latency import Latency, Ratio
from edgekit.profiling.layers import Group, side_by_side
from edgekit.profiling.liveness import Arena
from edgekit.profiling.machine import Disturbance, Machine, Noise, State
from edgekit.profiling.memory import Memory
from edgekit.profiling.pace import Pace
from edgekit.profiling.rigor import Level
from edgekit.profiling.samples import Samples
from edgekit.profiling.schedule import Budget, WarmUp

Model = Literal["fp", "int8"]
MODELS: tuple[Model, ...] = ("fp", "int8")


@dataclass(frozen=True)
class Subject:
    """What was measured.

    Attributes:
        bundle: Its path.
        target: The board that it was compiled for.
        mismatch: How this machine differs from that board, in words; empty where it does not.
        engine: The engine that both models ran in.
        options: The engine's options, the same for both models.
        threads: The engine's threads; 0 is the engine's own choice.
        on_chip_bytes: Memory on the target's accelerator; none where its descriptor does not say.
        reads: Whether frames are images, or rows of a ranker's features.
    """

    bundle: str
    target: str
    mismatch: str
    engine: str
    options: Mapping[str, Any]
    threads: int
    on_chip_bytes: int | None = None
    reads: Literal["image", "features"] = "image"

    @property
    def statement(self) -> str:
        """Whose figures these are, in one sentence."""
        if self.mismatch:
            return f"These are figures of this machine, not of the target {self.target}. {self.mismatch}"
        return f"These are figures of this machine, which has what the target {self.target} asks for."


@dataclass(frozen=True)
class Method:
    """How it was measured.

    Attributes:
        rigor: How much was asked for, by name.
        budget: The same in figures.
        pace: When runs started.
        deadline_ms: What whole frames were held against; none where nothing was.
        rounds: Rounds made.
        calls_per_block: Recorded runs of a workload a round.
        inputs: Golden inputs that the engine ran on in turn.
        frame_size: Height and width of the frame that was preprocessed.
        warm_up: By workload.
    """

    rigor: Level
    budget: Budget
    pace: Pace
    deadline_ms: float | None
    rounds: int
    calls_per_block: int
    inputs: int
    frame_size: tuple[int, int]
    warm_up: Mapping[str, WarmUp]


@dataclass(frozen=True)
class Conditions:
    """The machine, before and after.

    Attributes:
        machine: What does not change.
        before: What changes, before the measurement.
        after: The same, after it.
        noise: The noise floor before and after.
        disturbance: What else ran meanwhile.
        no_energy: Why no energy was counted; empty where it was.
    """

    machine: Machine
    before: State
    after: State
    noise: tuple[Noise, Noise]
    disturbance: Disturbance
    no_energy: str = ""


@dataclass(frozen=True)
class Row:
    """The figures of one model.

    Attributes:
        model: `fp` is the floating-point reference, `int8` the bundle's model.
        latency: By part of the work: engine, preprocess, postprocess, end_to_end, wait under a camera, and device: the
            engine by the clock of the GPU that it runs on.
        samples: Everything that was timed, by workload: `engine` where that ran on its own, and `frame`.
        seconds: Sampling time of each workload.
        misses: Of whole frames; none without a deadline.
        memory: Of a fresh process; none where the system does not tell.
        weight_bytes: Constants in the model's file, counted and not measured.
        arena: What the activations need, estimated from the graph; none where its shapes are not static.
        energy: Of a frame; none where nothing counts it.
        layers: What each layer takes under the engine's own profiler; none where the engine does not tell.
        agreement: Task figures against floating point over the golden frames, from when the bundle was compiled.
        device_bytes: What the engine took of a GPU's memory; none where it runs on none.
    """

    model: Model
    latency: Mapping[str, Latency]
    samples: Mapping[str, Samples]
    seconds: Mapping[str, float]
    misses: Misses | None
    memory: Memory | None
    weight_bytes: int
    arena: Arena | None = None
    energy: Energy | None = None
    layers: tuple[TimedLayer, ...] = ()
    agreement: Mapping[str, float] | None = None
    device_bytes: int | None = None

    @property
    def growth(self) -> Growth | None:
        """How memory grew from run to run; none where it was not watched."""
        return growth(self.memory.watched) if self.memory else None


@dataclass(frozen=True)
class Profile:
    """What a bundle costs on a machine, floating point against INT8.

    Attributes:
        subject: What was measured.
        method: How.
        conditions: On what machine, and in which state it was.
        rows: One for each model.
        speedup: Median of fp over that of int8, by part of the work; none with too few samples.
        findings: Stalls, drift, two speeds, overload: what is wrong with the durations, by name.
        warnings: Why figures may not be repeatable.
        partial: What ended the measurement before its time; empty where it came to its end.
        origin: How the figures came about.
    """

    subject: Subject
    method: Method
    conditions: Conditions
    rows: tuple[Row, ...]
    speedup: Mapping[str, Ratio | None]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    partial: str = ""
    origin: Literal["measured", "emulated"] = "measured"

    def row(self, model: Model) -> Row:
        """Return the figures of one model."""
        return next(row for row in self.rows if row.model == model)

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """What is wrong with durations, and memory that leaks."""
        return (*self.findings, *(leak for row in self.rows for leak in find_leak(row.model, row.growth)))

    @property
    def layers(self) -> tuple[Group, ...]:
        """The layers of both models, those that compute the same nodes beside each other; the slowest first."""
        return side_by_side({row.model: row.layers for row in self.rows if row.layers})

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON has it; times in ms, memory in bytes, what is not known as null."""
        from edgekit.profiling.written import profile_json

        return profile_json(self)
