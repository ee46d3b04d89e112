"""Curve queries: every query is a class and a lane as a curve in closed form (LSTR).

Liu et al., "End-to-end Lane Shape Prediction with Transformers", WACV 2021, equation 5: the projection of a cubic curve
on a flat road into a pitched camera, x(y) = k/(y - f)^2 + m/(y - f) + n + b y - b'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgekit.recipes import CurveDecoder, Recipe
from edgekit.tasks.base import Array, FrameGeometry, Scene
from edgekit.tasks.heads import decoder_of, head_with, read_head
from edgekit.tasks.lanes.task import LaneTask, lane_in_frame, left_to_right, softmax

PARAMETERS = 8


@dataclass(frozen=True)
class CurveTask(LaneTask):
    """Decodes two heads: `confidence` 1 x queries x classes (logits) and `geometry` 1 x queries x 8.

    The eight parameters are y0, y1 (where the lane ends, fractions of the input height, in either order) and
    k, f, m, n, b, b' of the curve; x is a fraction of the input width.
    """

    decoder: CurveDecoder
    confidence: str
    geometry: str

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> CurveTask:
        """Build the task of a recipe.

        Raises:
            UsageError: A head with the role `confidence` or `geometry` is missing.
        """
        return cls(decoder_of(recipe, CurveDecoder), head_with(recipe, "confidence"), head_with(recipe, "geometry"))

    def decode(self, heads: Mapping[str, Array], geometry: FrameGeometry) -> Scene:
        """Keep the queries in which the lane class wins, and draw their curves.

        Points beside the input are dropped; a lane has at least two points. Its score is the lane class's probability.

        Raises:
            UsageError: An output is missing or has another shape.
            ArtifactError: An output holds NaN or infinity.
        """
        logits = read_head(heads, self.confidence, ("queries", "classes"))
        curves = read_head(heads, self.geometry, (logits.shape[0], PARAMETERS))
        kept = np.flatnonzero(logits.argmax(axis=1) == self.decoder.lane_class)
        height, width = geometry.input_size
        lanes = []
        for query in kept:
            fractions = _curve(curves[query], self.decoder.points)
            beside = (fractions[:, 0] >= 0) & (fractions[:, 0] <= 1)
            points = fractions[beside] * (width, height)
            if len(points) >= 2:
                score = softmax(logits[query], axis=0)[self.decoder.lane_class]
                lanes.append(lane_in_frame(points, score, geometry))
        return Scene(left_to_right(lanes), geometry)


def _curve(parameters: Array, count: int) -> Array:
    """Return (count, 2) points x, y as fractions of the input's width and height."""
    y0, y1, k, f, m, n, b, b_prime = parameters.astype(np.float64)
    y = np.linspace(y0, y1, count)
    # At y = f, the horizon, x is infinite; such a point lies beside the input and is dropped with the others there.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x = k / (y - f) ** 2 + m / (y - f) + n + b * y - b_prime
    return np.stack([x, y], axis=1)
