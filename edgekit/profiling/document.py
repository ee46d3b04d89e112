"""The schema of a profile's JSON, published as docs/profile.schema.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter

from edgekit.errors import ArtifactError
from edgekit.schema import Strict, parse

Interval = tuple[float, float] | None
Part = Literal["wait", "engine", "device", "preprocess", "postprocess", "end_to_end"]
"""Parts of the work; device is the engine by the clock of the GPU that it runs on."""

Model = Literal["fp", "int8"]


class Figure(Strict):
    """A figure with its interval."""

    value: float | None
    interval_95: Interval


class Percentile(Figure):
    """A percentile; absent where the samples do not bear it."""

    upper_95: float | None = Field(description="it lies below this with 95 % confidence")
    absent: Literal["too few samples"] | None = None
    samples: int | None = None
    needed: int | None = None


class Latency(Strict):
    """Durations of a part of the work."""

    unit: Literal["ms"]
    samples: int
    mean: float
    max: float
    percentiles: dict[Literal["p50", "p90", "p99", "p99.9"], Percentile]
    jitter: dict[Literal["spread", "successive"], Figure] = Field(
        description="spread: p99 - p50; successive: root mean square of the difference from one run to the next"
    )


class Deadline(Strict):
    """Frames that missed their deadline."""

    deadline_ms: float
    frames: int
    missed: int = Field(description="late or dropped")
    dropped: int
    rate: float
    interval_95: Interval
    longest_run: int


class Growth(Strict):
    """How memory grew from run to run."""

    runs: int
    bytes_per_run: float
    interval_95: Interval
    leaks: bool


class Memory(Strict):
    """Resident memory of a fresh process in bytes."""

    interpreter: int
    baseline: int
    loaded: int
    peak: int
    model: int
    proportional: int | None
    runs: int
    growth: Growth | None
    watched: tuple[tuple[int, int], ...] = Field(description="runs made, bytes held")


class Arena(Strict):
    """What activations need, in bytes."""

    origin: Literal["estimated"]
    live: int
    planned: int
    largest: int
    at: str


class OnChip(Strict):
    """Whether the model fits into the memory on the target's accelerator."""

    origin: Literal["estimated"]
    weights_fit: bool
    activations_fit: bool | None
    both_fit: bool | None


class Energy(Strict):
    """Energy of a frame."""

    source: str
    joules_per_frame: float
    interval_95: Interval


class Layer(Strict):
    """A layer of the engine, timed under the engine's own profiler."""

    name: str
    kind: str
    precision: str
    device: str
    nodes: tuple[str, ...]
    microseconds: float
    share: float


class GroupPart(Strict):
    """One model's layers for some nodes."""

    microseconds: float
    share: float
    precision: str
    kinds: str


class Group(Strict):
    """Layers of both models that compute the same nodes."""

    nodes: tuple[str, ...]
    fp: GroupPart | None = None
    int8: GroupPart | None = None


class Array(Strict):
    """An array of int64."""

    shape: tuple[int, int]
    data: str


class Work(Strict):
    """All that was timed of one workload."""

    seconds: float
    streams: int
    parts: dict[Part, Array]
    started: Array = Field(description="since the measurement began")
    frames: Array = Field(description="which of its round's frames; numbers that are missing were dropped")


class Samples(Strict):
    """All that was timed, (rounds, calls)."""

    unit: Literal["ns"]
    encoding: str
    work: dict[Literal["engine", "frame"], Work]


class Row(Strict):
    """The figures of one model."""

    model: Model
    latency: dict[Part, Latency]
    deadline: Deadline | None
    memory: Memory | None
    gpu_memory: int | None = Field(description="bytes that the engine took of a GPU's memory when it was loaded")
    weight_bytes: int
    arena: Arena | None
    on_chip: OnChip | None
    energy: Energy | None
    layers: tuple[Layer, ...]
    agreement: dict[str, float] | None = Field(
        description="task figures against floating point over the golden frames, from when the bundle was compiled"
    )
    mlperf: dict[str, Any] = Field(description="named as in LoadGen's summary; no MLPerf result")
    samples: Samples


class Ratio(Strict):
    """Median of fp over that of int8."""

    ratio: float
    interval_95: Interval


class Finding(Strict):
    """Something that is wrong, by name."""

    kind: Literal["stalls", "drift", "two speeds", "overload", "leak"]
    model: Model
    part: str
    statement: str
    figures: dict[str, float | None]
    rule: str


class Target(Strict):
    """What the bundle was compiled for."""

    name: str
    is_this_machine: bool
    statement: str
    on_chip_bytes: int | None


class Schedule(Strict):
    """When runs started."""

    name: str
    fps: float | None
    burst: int
    idle_ms: float
    streams: int
    queue: Literal["wait", "drop"]


class Config(Strict):
    """How it was measured."""

    engine: str
    options: dict[str, str | int | float | bool]
    threads: int
    rigor: Literal["quick", "standard", "automotive"]
    seconds: float
    least_samples: int
    schedule: Schedule
    deadline_ms: float | None
    rounds: int
    calls_per_block: int
    inputs: int
    reads: Literal["image", "features"]
    frame_size: tuple[int, int]
    warm_up_rule: str
    warm_up: dict[str, dict[str, Any]]


class Remote(Strict):
    """The board that was measured from elsewhere, and what was carried there."""

    host: str
    host_key: str
    board: str
    cpu: str
    cores: int
    architecture: str
    libc: str
    python: str
    folder: str
    used: tuple[str, ...]
    carried: tuple[str, ...]
    carried_bytes: int


class Document(Strict):
    """A profile."""

    schema_version: Literal[2]
    origin: Literal["measured", "remote", "simulated", "emulated"]
    partial: str | None
    bundle: str
    target: Target
    machine: dict[str, Any]
    config: Config
    rows: tuple[Row, ...]
    speedup: dict[Part, Ratio | None]
    layers: tuple[Group, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    remote: Remote | None


class Documents(Strict):
    """Profiles of one bundle in several engines, and estimates for targets that are not here."""

    schema_version: Literal[2]
    profiles: tuple[Document, ...]
    estimates: tuple[dict[str, Any], ...]


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of what `edgekit profile` writes."""
    found = TypeAdapter(Document | Documents).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def read_profile(path: Path) -> dict[str, Any]:
    """Return a profile's JSON, once it was found to be one.

    Raises:
        ArtifactError: It is missing, damaged, or of another schema.
    """
    found = _read(path)
    if isinstance(found, dict) and "profiles" in found:
        engines = [each.get("config", {}).get("engine", "?") for each in found["profiles"]]
        raise ArtifactError(
            problem=f"{path} holds the profiles of several engines, and one is wanted.",
            found=", ".join(engines),
            fix="Profile the bundle in one engine: edgekit profile BUNDLE -o FILE, with --engine NAME for another one.",
        )
    parse(Document, found, str(path), ArtifactError)
    return dict(found)


def read_profiles(path: Path) -> dict[str, Any]:
    """Return a profile's JSON, or that of profiles in several engines, once it was found to be one.

    Raises:
        ArtifactError: It is missing, damaged, or of another schema.
    """
    found = _read(path)
    parse(Documents if isinstance(found, dict) and "profiles" in found else Document, found, str(path), ArtifactError)
    return dict(found)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            problem=f"{path} is no profile.", found=str(error), fix="Give a file that `edgekit profile -o` wrote."
        ) from error
