"""Sensitivity Aware Selection where fewer than 8 bit are simulated: which layers have 8 bit all the same.

It chooses on the network with its biases corrected, as it will be when learning starts: with 4 bit alone, mean errors
drown all others, and a correction takes them back for nothing. And it spends what it may: of 4 bit every layer has its
part in the distortion, and no layer a great one.
"""

from __future__ import annotations

import math

from edgekit.calibration.bits import Grids
from edgekit.calibration.judging.probe import Probe
from edgekit.calibration.reconstruction.simulation import QuantizedModel
from edgekit.calibration.selection.select import Budget, Selection, select
from edgekit.calibration.selection.sensitivity import Analysis, Options, Sensitivity, analyse
from edgekit.calibration.selection.speed import macs_cost
from edgekit.calibration.selection.variants import ChooseParameters, NarrowVariants
from edgekit.progress import Progress, silent
from edgekit.recipes import SelectStep

MIN_GAIN = 0.002
"""A round must lower the distortion by this share of what it was: a tenth of what is asked in 8 bit."""

ROUNDS = 3
"""So many times as many rounds as in 8 bit."""

ALL_GROUPS = 12
"""Every group is told layer by layer."""


def select_in_8_bit(
    corrected: QuantizedModel,
    parameters: ChooseParameters,
    probe: Probe,
    step: SelectStep,
    threads: int = 0,
    progress: Progress = silent,
) -> tuple[Selection, Sensitivity, Grids]:
    """Choose layers that have 8 bit: those that distort most for their work, as long as the recipe's share has fewer.

    No chip was measured that computes in 4 bit, so work is counted and no time.

    Args:
        corrected: The quantized model, with corrected biases.
        parameters: Chooses the scales of a placement.
        probe: A few frames.
        step: `min_macs_share` of the multiply-accumulates that have fewer bits must keep them.
        threads: Threads of an operator; 0 leaves it to the engine.
        progress: Told as it goes.

    Returns:
        The selection, the sensitivities that it is made by, and the grids that are left.

    Raises:
        ArtifactError: A quantized variant gives values that are not finite.
    """
    model = corrected.model
    variants = NarrowVariants(model, corrected.scheme, parameters, corrected.grids, corrected.biases)
    analysis = Analysis(probe, variants, Options(refine=ALL_GROUPS, threads=threads))
    sensitivity = analyse(analysis, progress)
    budget = Budget(math.inf, step.min_macs_share, MIN_GAIN, max_rounds=ROUNDS * step.max_rounds)
    selection = select(analysis, sensitivity, macs_cost(model), budget, progress, "macs")
    return selection, sensitivity, variants.grids(selection.keep)
