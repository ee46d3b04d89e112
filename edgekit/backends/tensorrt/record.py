"""`build.json`: how the engine of a bundle is built, and for what it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.backends.sealed import sealed, unsealed
from edgekit.backends.tensorrt.adapter import Order
from edgekit.errors import UsageError
from edgekit.targets import Target

RECORD = "build.json"
MODEL = "model.onnx"
ENGINE = "model.engine"
LAYERS = "layers.json"
TIMINGS = "timing.cache"
CACHE = "calib.cache"
PLAIN_MODEL = "plain.model.onnx"
"""Without Q/DQ, where a calibration cache holds the scales."""

_SCHEMA_VERSION = 1
_DEFAULTS: dict[str, Any] = {
    "library": "tensorrt",
    "version": "10.3",
    "compute_capability": "",
    "workspace_mb": 0,
    "dla_core": -1,
    "timeout_s": 7200.0,
}
"""Options of a target and what they are where it does not set them."""

OPTIONS = tuple(_DEFAULTS)

_MUST_MATCH = (
    "the engine file only loads with the TensorRT version that built it",
    "the engine file only runs on the GPU and Jetson Linux release that it was built for",
    "every file has the SHA-256 that stands here",
)


@dataclass(frozen=True)
class Settings:
    """A target's options for TensorRT.

    Attributes:
        library: The Python module.
        version: The version that the target stands for.
        timeout_s: After so many seconds a build is given up.
        order: What the engine is built with.
    """

    library: str
    version: str
    timeout_s: float
    order: Order


def settings_of(options: Mapping[str, Any], half: bool, float_nodes: Sequence[str] = ()) -> Settings:
    """Return a target's options with what they are by default."""
    told = {**_DEFAULTS, **options}
    core = int(told["dla_core"])
    order = Order(
        half=half,
        compute_capability=str(told["compute_capability"]),
        workspace_mb=int(told["workspace_mb"]),
        dla_core=core if core >= 0 else None,
        float_nodes=tuple(float_nodes),
    )
    return Settings(str(told["library"]), str(told["version"]), float(told["timeout_s"]), order)


def new_record(
    target: Target, members: Mapping[str, bytes], advice: Sequence[str], float_nodes: Sequence[str]
) -> dict[str, Any]:
    """Return the record of an engine that is still to be built.

    Args:
        target: For what.
        members: The model, and what else the engine is built from.
        advice: What in the model keeps TensorRT from computing more in 8 bit.
        float_nodes: Nodes that stay in half precision, where the model does not say so itself.

    Raises:
        UsageError: The engine is built on the device, and the target does not say with which command.
    """
    if target.builds == "on-device" and not target.build_note:
        raise UsageError(
            problem=f"The target '{target.name}' does not say how its engine is built on the device.",
            fix="Set build_note in the target's file to the command that builds the engine from model.onnx.",
        )
    parts = sorted(members.keys() - {MODEL}) if PLAIN_MODEL in members else [MODEL]
    unpack = [f"unzip -p BUNDLE.edge engine/{name} > {name}" for name in parts]
    return {
        "schema_version": _SCHEMA_VERSION,
        "engine": "tensorrt",
        "target": target.name,
        "soc": target.device.soc,
        "software": target.device.software,
        "options": dict(target.options),
        "higher_precision": target.scheme.higher_precision,
        "float_nodes": list(float_nodes),
        "model": MODEL,
        "commands": ["edgekit compile BUNDLE.edge"],
        "by_hand": [*unpack, target.build_note.strip()] if target.build_note else [],
        "must_match": list(_MUST_MATCH),
        "advice": list(advice),
    }


def read_record(members: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the record of a bundle's members.

    Raises:
        ArtifactError: They are damaged, or another engine's.
    """
    return unsealed("tensorrt", RECORD, members)


def with_record(record: Mapping[str, Any], members: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the members with their record beside them."""
    return {**members, RECORD: sealed(record, members)}
