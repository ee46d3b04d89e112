"""Place Q/DQ for another target from the observations that a calibration recorded."""

from __future__ import annotations

import onnx

from edgekit.calibration.artifact import Calibration
from edgekit.calibration.ranges.observe import load_observations
from edgekit.calibration.scales import (
    SCHEMA_VERSION,
    Scales,
    choose_scales,
    node_scales,
    parameters_of,
    sha256_of,
)
from edgekit.errors import ArtifactError
from edgekit.graph.clean import at_opset
from edgekit.graph.placement import place
from edgekit.graph.qdq import write_qdq
from edgekit.recipes import ScaleStep
from edgekit.targets import Target


def requantize(calibration: Calibration, target: Target) -> tuple[bytes, Scales]:
    """Return the Q/DQ model of a calibration under another target's rules, and its scales.

    Scales are chosen anew from the recorded histograms, as the recipe's scale step says. The gates are not judged
    again: there are no frames here.

    Raises:
        ArtifactError: The target quantizes a tensor that was not observed, or the recipe has no scale step.
    """
    step = next((step for step in calibration.recipe.step if isinstance(step, ScaleStep)), None)
    if step is None:
        raise ArtifactError(
            problem=f"The recipe '{calibration.recipe.name}' has no step that chooses scales.",
            fix=f"Calibrate for {target.name}: edgekit calibrate --target {target.name}",
        )
    model = at_opset(onnx.load(calibration.fp_model), target.scheme.opset)
    placement = place(model, target.scheme)
    tensors = choose_scales(model, placement, target.scheme, load_observations(calibration.observations), step)
    provenance = calibration.scales.provenance.model_copy(
        update={"target": target.name, "target_sha256": sha256_of(target.model_dump_json())}
    )
    scales = Scales(schema_version=SCHEMA_VERSION, tensors=tensors, nodes=node_scales(placement), provenance=provenance)
    return bytes(write_qdq(model, placement, target.scheme, parameters_of(tensors)).SerializeToString()), scales
