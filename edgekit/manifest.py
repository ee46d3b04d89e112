"""The manifest of a bundle: what manifest.json holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgekit.placements import PlacementTable
from edgekit.recipes import Recipe
from edgekit.schema import Strict
from edgekit.targets import BackendName, Target

SCHEMA_VERSION = 1


class Tensor(Strict):
    """An output of the model."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Input(Tensor):
    """The input of the model."""

    observed: tuple[float, float] = Field(description="least and greatest value that calibration saw")


class LayerRecord(Strict):
    """What the engine computes in one go, as `edgekit.backends.Layer` has it."""

    name: str
    kind: str
    precision: str
    device: str
    nodes: tuple[str, ...]


class PrecisionRecord(Strict):
    """What the engine computes in one precision, as `edgekit.backends.precision.PrecisionShare` has it."""

    precision: str
    kernels: int
    macs: float = Field(description="share of the model's multiply-accumulates, 0 to 1")


class FallbackRecord(Strict):
    """A node that the accelerator does not run, as `edgekit.backends.Fallback` has it."""

    node: str
    operator: str
    why: str


class EngineRecord(Strict):
    """The engine that the bundle was compiled for."""

    backend: BackendName
    version: str = Field(description="of the engine at compile time; for one built on the device, what is expected")
    built: Literal["here", "on-device"]
    options: dict[str, str | int | float | bool]
    members: tuple[str, ...] = Field(description="names under engine/")
    reproducible: bool = Field(default=True, description="whether compiling again gives the same bytes")
    built_for: dict[str, str] = Field(
        default_factory=dict, description="what the engine is bound to: GPU, versions; empty where to nothing"
    )
    layers: tuple[LayerRecord, ...] = Field(
        default=(), description="what the engine computes in which precision; empty where it does not tell"
    )
    precisions: tuple[PrecisionRecord, ...] = Field(
        default=(), description="how much of the work runs in which precision; empty where the engine does not tell"
    )
    macs: dict[str, int] = Field(
        default_factory=dict, description="multiply-accumulates of one run by node, where they are not 0"
    )
    nodes: int = Field(default=0, description="of the model that was built, without Q/DQ")
    fallback: tuple[FallbackRecord, ...] = Field(default=(), description="those that the accelerator does not run")


class SceneLimits(Strict):
    """How far a decoded scene may lie from the golden one."""

    max_lateral_px: float
    min_f1: float
    min_iou: float
    min_ndcg: float = Field(default=0.99, description="of a ranker's list")


class GoldenRecord(Strict):
    """One network input with the outputs that belong to it."""

    frame: str
    frame_size: tuple[int, int] = Field(description="height, width")
    input: str = Field(description="member")
    outputs: str = Field(description="member")


class Golden(Strict):
    """Inputs and outputs that `edgekit verify` replays."""

    engine: str = Field(description="engine and version that computed the outputs")
    origin: Literal["measured", "simulated"] = Field(
        default="measured", description="whether that engine is the target's own, or a simulator of it"
    )
    tolerance: dict[str, float] = Field(description="output to the largest |difference| allowed")
    rule: str = Field(description="how the tolerance was chosen")
    limits: SceneLimits
    vectors: tuple[GoldenRecord, ...]


class Agreements(Strict):
    """Task figures over the golden frames, at compile time, by what was held against what."""

    engine_to_reference: dict[str, float] | None = Field(description="absent where the engine does not run here")
    engine_to_onnxruntime: dict[str, float] | None = Field(description="the same Q/DQ model in two engines")
    onnxruntime_to_reference: dict[str, float]


class Provenance(Strict):
    """What the bundle was made from."""

    model_sha256: str = Field(description="of the model that calibration was given")
    scales_sha256: str
    calibration: dict[str, Any] = Field(description="the provenance in scales.json")


class Manifest(Strict):
    """The content of manifest.json."""

    schema_version: int = SCHEMA_VERSION
    edgekit: str = Field(description="version that wrote the bundle")
    target: Target
    recipe: Recipe
    input: Input
    outputs: tuple[Tensor, ...]
    engine: EngineRecord
    golden: Golden
    agreement: Agreements
    placement: PlacementTable
    provenance: Provenance
    features: str = Field(default="", description="identity of a ranker's features; empty for other networks")
    slim: bool = Field(default=False, description="whether reference, scales and golden vectors were left out")
    members: dict[str, str] = Field(default_factory=dict, description="member to SHA-256; `write_bundle` fills it in")
