"""The objective of a reconstruction: each head's error where lanes are, weighted by what that head does to the lanes.

EdgeKit's own formulas, on the ideas of Fan et al., "Selective Focus: Investigating Semantics Sensitivity in
Post-training Quantization for Lane Detection", AAAI 2024: foreground first, and heads by a sensitivity that is
estimated anew while one learns and interpolated between estimates.

    L   = sum over heads k of  w_k L_k / K
    L_k = mean over elements p of  m_k(p) (o_k(p) - q_k(p))^2  /  P_k

with the focus m_k (mean 1), the floating-point output o_k and the quantized one q_k. P_k makes heads of different
units comparable: of a network it is the head's error before anything was learned, so that every head begins with 1; of
a block its power. Where elements act together, what is read of them counts in the place of a square
(`edgekit.calibration.readout`).

The weights w_k follow the sensitivities S_k, the distortion when head k alone is the quantized network's. Distortion
grows like the root of a head's error, S_k sqrt(L_k) near the start, and S_k is what its slope in L_k is proportional
to: the weighted sum falls as the distortion does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.calibration.readout import Readout
from edgekit.calibration.reconstruction.samples import SampleFile

TARGET, FOCUS, ROWS, AXIS = "target/", "focus/", "rows/", "axis/"
"""Names in a sample: what an output should be; how much each of its elements counts, or the map that says so, and the
axis that it maps."""

LEAST_POWER = 1e-12


def stored_focus(output: str, focus: NDArray[Any] | Readout) -> dict[str, NDArray[Any]]:
    """Return what a sample holds of an output's focus."""
    if isinstance(focus, Readout):
        return {ROWS + output: focus.rows, AXIS + output: np.array(focus.axis)}
    return {FOCUS + output: focus}


def powers(samples: SampleFile, outputs: tuple[str, ...]) -> dict[str, float]:
    """Return the focused mean square of every output over all samples; 1 where a readout has units of its own."""
    sums = dict.fromkeys(outputs, 0.0)
    for index in range(len(samples)):
        sample = samples.read(index)
        for name in outputs:
            known = ROWS + name in sample
            sums[name] += 1.0 if known else float(_weighted(sample, name, sample[TARGET + name]))
    return {name: max(total / max(len(samples), 1), LEAST_POWER) for name, total in sums.items()}


def errors(
    sample: Mapping[str, torch.Tensor], results: Mapping[str, torch.Tensor], power: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """Return L_k by output: 0 where the quantized network does what the floating-point one does."""
    return {
        name: _weighted(sample, name, results[name] - sample[TARGET + name]) / value for name, value in power.items()
    }


def total(errors: Mapping[str, torch.Tensor], weights: Mapping[str, float]) -> torch.Tensor:
    """Return L: the weighted mean over outputs."""
    return torch.stack([weights[name] * error for name, error in errors.items()]).mean()


def weights_from(sensitivities: Mapping[str, float], floor: float) -> dict[str, float]:
    """Return w_k = floor + (1 - floor) K S_k / sum S, mean 1; all 1 where no head moves anything.

    Args:
        sensitivities: S_k, the distortion when only head k is the quantized network's.
        floor: The least weight: a head that moved no lane on a few frames still must not drift.
    """
    whole = sum(sensitivities.values())
    if whole <= 0.0:
        return dict.fromkeys(sensitivities, 1.0)
    share = {name: len(sensitivities) * value / whole for name, value in sensitivities.items()}
    return {name: floor + (1.0 - floor) * value for name, value in share.items()}


def interpolated(estimates: list[dict[str, float]], since: float) -> dict[str, float]:
    """Return head weights between two estimates: from the one before the last to the last, over one period.

    Args:
        estimates: Weights in the order in which they were estimated, at least one.
        since: Time since the last estimate as a share of the period, 0 or more.
    """
    last = estimates[-1]
    previous = estimates[-2] if len(estimates) > 1 else last
    share = min(since, 1.0)
    return {name: (1.0 - share) * previous[name] + share * value for name, value in last.items()}


def _weighted(sample: Mapping[str, torch.Tensor], name: str, values: torch.Tensor) -> torch.Tensor:
    """Return the mean of values' squares, or of what is read of them, counted as the focus says."""
    if ROWS + name in sample:
        elements = values.movedim(int(sample[AXIS + name]), -1)
        return torch.einsum("...rp,...p->...r", sample[ROWS + name], elements).square().log1p().mean()
    focus = sample.get(FOCUS + name)
    return values.square().mean() if focus is None else (focus * values.square()).mean()
