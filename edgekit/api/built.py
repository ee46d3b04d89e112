"""What a bundle's manifest says of an engine that was built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edgekit.backends import Build
from edgekit.backends.precision import precision_shares
from edgekit.manifest import FallbackRecord, LayerRecord, PrecisionRecord


def facts_of(built: Build, macs: Mapping[str, int]) -> dict[str, Any]:
    """Return the fields of an `EngineRecord` that follow from a build.

    Args:
        built: What the backend made.
        macs: Multiply-accumulates of one run by node of the model.
    """
    shares = precision_shares(built.layers, macs)
    return {
        "members": tuple(sorted(built.members)),
        "reproducible": built.reproducible,
        "built_for": dict(built.built_for),
        "layers": tuple(LayerRecord.model_validate(asdict(layer)) for layer in built.layers),
        "precisions": tuple(PrecisionRecord.model_validate(asdict(share)) for share in shares),
        "fallback": tuple(FallbackRecord.model_validate(asdict(node)) for node in built.fallback),
    }
