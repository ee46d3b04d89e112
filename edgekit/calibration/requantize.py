"""Place Q/DQ for another target from the observations that a calibration recorded."""

from __future__ import annotations

import onnx

from edgekit.calibration.artifact import Calibration
from edgekit.calibration.observe import load_observations
from edgekit.calibration.scales import choose_scales, parameters_of
from edgekit.errors import ArtifactError
from edgekit.graph.clean import at_opset
from edgekit.graph.placement import place
from edgekit.graph.qdq import write_qdq
from edgekit.recipes import ScaleStep
from edgekit.targets import Target


def qdq_for(calibration: Calibration, target: Target) -> bytes:
    """Return the Q/DQ model of a calibration under another target's rules.

    Scales are chosen anew from the recorded histograms, as the recipe's scale step says.

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
    scales = choose_scales(model, placement, target.scheme, load_observations(calibration.observations), step)
    return bytes(write_qdq(model, placement, target.scheme, parameters_of(scales)).SerializeToString())
