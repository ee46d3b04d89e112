"""`edgekit.verify`: replay a bundle's golden vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.api.load import load
from edgekit.backends import backend_for
from edgekit.bundle import Bundle, GoldenVector, open_bundle
from edgekit.emulation import is_emulated
from edgekit.errors import ArtifactError
from edgekit.manifest import Golden, SceneLimits
from edgekit.runtime.session import Session
from edgekit.targets import origin_of
from edgekit.tasks.base import Agreement


@dataclass(frozen=True)
class VectorCheck:
    """One golden vector, run here.

    Attributes:
        frame: Name of the frame that its input was made from.
        differences: Output to the largest |difference| to the golden values; infinite where one is not a number.
        agreement: The scene decoded here against the golden one.
        passed: Whether all of it is within the bundle's tolerances.
    """

    frame: str
    differences: Mapping[str, float]
    agreement: Agreement
    passed: bool


@dataclass(frozen=True)
class Verification:
    """What came of it.

    Attributes:
        bundle: The file.
        members: Members whose hash was found right.
        engine: Engine and version that ran here.
        golden_engine: Engine and version that the golden outputs are from.
        origin: `simulated` where the engine here is a simulator of the target's, `emulated` where this processor is an
            emulated one; else `measured`.
        tolerance: Output to the largest |difference| allowed.
        vectors: The golden vectors.
    """

    bundle: Path
    members: int
    engine: str
    golden_engine: str
    origin: str
    tolerance: Mapping[str, float]
    vectors: tuple[VectorCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every golden vector passed; a bundle without any proves nothing."""
        return bool(self.vectors) and all(vector.passed for vector in self.vectors)


def verify(bundle: Bundle | str | Path, *, threads: int = 0) -> Verification:
    """Check every hash of a bundle, run its golden inputs here and compare outputs and decoded scenes.

    Args:
        bundle: A bundle, or its path.
        threads: Threads of the engine; 0 lets it choose.

    Raises:
        ArtifactError: The bundle is damaged.
        TargetError: The engine is not installed, or is built on the device only.
    """
    opened = open_bundle(bundle.path if isinstance(bundle, Bundle) else bundle)
    manifest = opened.manifest
    if manifest.slim:
        raise ArtifactError(
            problem=f"The bundle {opened.path} is slim: it has no golden vectors to replay.",
            found=f"the hashes of its {len(manifest.members)} members are right",
            fix="Verify the whole bundle, compiled from the same calibration without --slim.",
        )
    with load(opened, threads=threads) as session:
        vectors = tuple(_check(session, vector, manifest.golden) for vector in opened.golden())
    backend = manifest.engine.backend
    return Verification(
        bundle=opened.path,
        members=len(manifest.members),
        engine=f"{backend} {backend_for(backend).available().version}",
        golden_engine=manifest.golden.engine,
        origin="emulated" if is_emulated() else origin_of(manifest.target),
        tolerance=manifest.golden.tolerance,
        vectors=vectors,
    )


def _check(session: Session, vector: GoldenVector, golden: Golden) -> VectorCheck:
    outputs = session.infer(vector.input)
    differences = {name: _largest(outputs[name], values) for name, values in vector.outputs.items()}
    within = all(value <= golden.tolerance[name] for name, value in differences.items())
    # Outputs that are not numbers decode to nothing.
    if not all(np.isfinite(value) for value in differences.values()):
        return VectorCheck(vector.frame, differences, Agreement(), passed=False)
    expected = session.decode(vector.outputs, vector.frame_size)
    agreement = session.task.compare(expected, session.decode(outputs, vector.frame_size))
    return VectorCheck(vector.frame, differences, agreement, within and _agree(agreement, golden.limits))


def _largest(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    if actual.shape != expected.shape:
        return float("inf")
    largest = float(np.max(np.abs(np.subtract(actual, expected, dtype=np.float64)), initial=0.0))
    return largest if np.isfinite(largest) else float("inf")


def _agree(agreement: Agreement, limits: SceneLimits) -> bool:
    """Whether the scenes agree; a figure that neither scene has (no lane, no mask) is no disagreement."""
    figures = agreement.figures()
    masks = [value for name, value in figures.items() if name.startswith("iou_")]
    return (
        figures.get("f1", 1.0) >= limits.min_f1
        and figures.get("lateral_px", 0.0) <= limits.max_lateral_px
        and figures.get("ndcg", 1.0) >= limits.min_ndcg
        and all(value >= limits.min_iou for value in masks)
    )
