"""Search the factors of channels with which the least noise is predicted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.calibration.equalization.channel_noise import NoiseModel
from edgekit.graph.channels import FIXED, Floats

STEPS = 160
FIRST_SHARPNESS, LAST_SHARPNESS = 6.0, 60.0
LARGEST_FACTOR = 4096.0


def least_noise(model: NoiseModel) -> Floats:
    """Return the factor of every label with which the model predicts the least noise; never more than with all 1.

    Each part of the network starts where the best of a grid of max|x|^a / max|w|^b lies, as in SmoothQuant, and goes on
    by Adam with ever sharper maxima.
    """
    activations, weights = model.starts()
    best = np.zeros(len(model.parts))
    least = model.of_parts(best)

    def keep(candidate: Floats) -> None:
        nonlocal best, least
        noise = model.of_parts(candidate)
        better = noise < least
        best, least = np.where(better[model.parts], candidate, best), np.where(better, noise, least)

    for a in np.linspace(0.0, 1.0, 6):
        for b in np.linspace(0.0, 1.0, 5):
            keep(_centred(a * activations - b * weights, model.parts))
    now, mean, square = best.copy(), np.zeros_like(best), np.zeros_like(best)
    limit = np.log(LARGEST_FACTOR)
    for step in range(1, STEPS + 1):
        progress = step / STEPS
        sharpness = FIRST_SHARPNESS * (LAST_SHARPNESS / FIRST_SHARPNESS) ** progress
        slope = model.gradient(now, sharpness) + 1e-4 * now
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        size = np.sqrt(square / (1 - 0.99**step)) + 1e-8
        now = now - 0.1 * (0.5 + 0.5 * np.cos(np.pi * progress)) * mean / (1 - 0.9**step) / size
        now = np.clip(now, -limit, limit)
        if step % 8 == 0:
            keep(now)
    return np.exp(best)


def _centred(logarithms: Floats, parts: NDArray[np.int32]) -> Floats:
    """Return logarithms whose mean over each part is 0; that of fixed channels stays as it is."""
    means = np.bincount(parts, weights=logarithms) / np.maximum(np.bincount(parts), 1)
    result = logarithms - means[parts]
    result[FIXED] = 0.0
    return np.asarray(np.clip(result, -np.log(LARGEST_FACTOR), np.log(LARGEST_FACTOR)))
