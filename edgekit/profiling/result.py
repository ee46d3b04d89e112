"""What was measured, and how it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgekit.profiling.bootstrap import Interval
from edgekit.profiling.deadline import Misses
from edgekit.profiling.latency import PERCENTILES, Latency, Ratio, samples_needed
from edgekit.profiling.machine import NOISE_LOOP, NOISY, Disturbance, Machine, Noise, State
from edgekit.profiling.memory import Memory
from edgekit.profiling.pace import Pace
from edgekit.profiling.rigor import Level
from edgekit.profiling.samples import ENCODING, Samples
from edgekit.profiling.schedule import STEADY_RULE, Budget, WarmUp

SCHEMA_VERSION = 2

Model = Literal["fp", "int8"]


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
    """

    bundle: str
    target: str
    mismatch: str
    engine: str
    options: Mapping[str, Any]
    threads: int

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
    """

    machine: Machine
    before: State
    after: State
    noise: tuple[Noise, Noise]
    disturbance: Disturbance


@dataclass(frozen=True)
class Row:
    """The figures of one model.

    Attributes:
        model: `fp` is the floating-point reference, `int8` the bundle's model.
        latency: By part of the work: engine, preprocess, postprocess, end_to_end, and wait under a camera.
        samples: Everything that was timed, by workload: `engine` where that ran on its own, and `frame`.
        seconds: Sampling time of each workload.
        misses: Of whole frames; none without a deadline.
        memory: Of a fresh process; none where the system does not tell.
        weight_bytes: Constants in the model's file, counted and not measured.
    """

    model: Model
    latency: Mapping[str, Latency]
    samples: Mapping[str, Samples]
    seconds: Mapping[str, float]
    misses: Misses | None
    memory: Memory | None
    weight_bytes: int


@dataclass(frozen=True)
class Profile:
    """What a bundle costs on a machine, floating point against INT8.

    Attributes:
        subject: What was measured.
        method: How.
        conditions: On what machine, and in which state it was.
        rows: One for each model.
        speedup: Median of fp over that of int8, by part of the work; none with too few samples.
        warnings: Why figures may not be repeatable.
        partial: What ended the measurement before its time; empty where it came to its end.
        origin: How the figures came about.
    """

    subject: Subject
    method: Method
    conditions: Conditions
    rows: tuple[Row, ...]
    speedup: Mapping[str, Ratio | None]
    warnings: tuple[str, ...]
    partial: str = ""
    origin: Literal["measured"] = "measured"

    def row(self, model: Model) -> Row:
        """Return the figures of one model."""
        return next(row for row in self.rows if row.model == model)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON has it; times in ms, memory in bytes, what is not known as null."""
        subject, method, conditions = self.subject, self.method, self.conditions
        return {
            "schema_version": SCHEMA_VERSION,
            "origin": self.origin,
            "partial": self.partial or None,
            "bundle": subject.bundle,
            "target": {
                "name": subject.target,
                "is_this_machine": not subject.mismatch,
                "statement": subject.statement,
            },
            "machine": {
                **asdict(conditions.machine),
                "before": asdict(conditions.before),
                "after": asdict(conditions.after),
                "noise_floor": {
                    "loop": NOISE_LOOP,
                    "limit": NOISY,
                    "before": asdict(conditions.noise[0]),
                    "after": asdict(conditions.noise[1]),
                },
                "meanwhile": asdict(conditions.disturbance),
            },
            "config": {
                "engine": subject.engine,
                "options": dict(subject.options),
                "threads": subject.threads,
                "rigor": method.rigor,
                "seconds": method.budget.seconds,
                "least_samples": method.budget.samples,
                "schedule": {"name": method.pace.name, **asdict(method.pace)},
                "deadline_ms": method.deadline_ms,
                "rounds": method.rounds,
                "calls_per_block": method.calls_per_block,
                "inputs": method.inputs,
                "frame_size": list(method.frame_size),
                "warm_up_rule": STEADY_RULE,
                "warm_up": {name: asdict(warm) for name, warm in method.warm_up.items()},
            },
            "rows": [_row(row) for row in self.rows],
            "speedup": {part: _ratio(each) for part, each in self.speedup.items()},
            "warnings": list(self.warnings),
        }


def _row(row: Row) -> dict[str, Any]:
    return {
        "model": row.model,
        "latency": {part: _latency(latency) for part, latency in row.latency.items()},
        "deadline": _misses(row.misses),
        "memory": asdict(row.memory) | {"model": row.memory.model} if row.memory else None,
        "weight_bytes": row.weight_bytes,
        "samples": {
            "unit": "ns",
            "encoding": ENCODING,
            "work": {work: {"seconds": row.seconds[work]} | samples.to_json() for work, samples in row.samples.items()},
        },
    }


def _latency(latency: Latency) -> dict[str, Any]:
    return {
        "unit": "ms",
        "samples": latency.samples,
        "mean": latency.mean,
        "max": latency.max,
        "percentiles": {
            name: {
                "value": latency.percentiles[name],
                **_interval(latency.intervals[name]),
                "upper_95": latency.upper[name],
                **({} if latency.percentiles[name] is not None else _too_few(latency.samples, name)),
            }
            for name in PERCENTILES
        },
        "jitter": {
            name: {"value": value, **_interval(latency.jitter.intervals[name])}
            for name, value in (("spread", latency.jitter.spread), ("successive", latency.jitter.successive))
        },
    }


def _too_few(samples: int, name: str) -> dict[str, Any]:
    return {"absent": "too few samples", "samples": samples, "needed": samples_needed(PERCENTILES[name])}


def _misses(misses: Misses | None) -> dict[str, Any] | None:
    if misses is None:
        return None
    return {
        "deadline_ms": misses.deadline_ms,
        "frames": misses.frames,
        "missed": misses.missed,
        "dropped": misses.dropped,
        "rate": misses.rate,
        **_interval(misses.interval),
        "longest_run": misses.longest,
    }


def _ratio(ratio: Ratio | None) -> dict[str, Any] | None:
    return {"ratio": ratio.value, **_interval(ratio.interval)} if ratio else None


def _interval(interval: Interval | None) -> dict[str, Any]:
    return {"interval_95": [interval.low, interval.high] if interval else None}
