"""Line anchors: many straight proposals, bent by x offsets, of which the best survive (LaneATT).

Tabelini et al., "Keep your Eyes on the Lane: Real-time Attention-guided Lane Detection", CVPR 2021. The layout below is
that of the proposals in github.com/lucastabelini/LaneATT once the anchors are added and before suppression, which is
where a network is cut for export: its suppression is a CUDA kernel and no operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.recipes import LineAnchorDecoder, Recipe
from edgekit.tasks.base import Array, FrameGeometry, Scene
from edgekit.tasks.heads import decoder_of, head_with, heads_with, read_head, role_error
from edgekit.tasks.lanes.task import LaneTask, lane_in_frame, left_to_right, softmax

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class LineAnchorTask(LaneTask):
    """Decodes `geometry` 1 x anchors x (2 + 3 + offsets), or 1 x anchors x (3 + offsets) beside a `confidence` head.

    A proposal is, in this order: the logits of background and lane (in the head `confidence`, 1 x anchors x 2, where
    the recipe has one); start_y, a fraction of the input height measured from the bottom; start_x, which is not read;
    length, a number of rows; and x in input px at each of `offsets` rows, which stand evenly from the bottom edge of
    the input (row 0) to its top edge. The lane covers `length` rows from start_y upwards. One head is what the public
    network holds; two keep logits and px, which differ in magnitude, from sharing one quantization scale.
    """

    decoder: LineAnchorDecoder
    geometry: str
    confidence: str | None

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> LineAnchorTask:
        """Build the task of a recipe.

        Raises:
            UsageError: A head with the role `geometry` is missing, or several have the role `confidence`.
        """
        confidence = heads_with(recipe, "confidence")
        if len(confidence) > 1:
            raise role_error(recipe, "confidence")
        return cls(
            decoder_of(recipe, LineAnchorDecoder),
            head_with(recipe, "geometry"),
            confidence[0] if confidence else None,
        )

    def decode(self, heads: Mapping[str, Array], geometry: FrameGeometry) -> Scene:
        """Suppress all but the best proposals; the score is the lane's probability.

        Raises:
            UsageError: An output is missing or has another shape.
            ArtifactError: An output holds NaN or infinity.
        """
        offsets = self.decoder.offsets
        if self.confidence is None:
            proposals = read_head(heads, self.geometry, ("anchors", 5 + offsets))
            logits, proposals = proposals[:, :2], proposals[:, 2:]
        else:
            proposals = read_head(heads, self.geometry, ("anchors", 3 + offsets))
            logits = read_head(heads, self.confidence, (proposals.shape[0], 2))
        scores = softmax(logits, axis=1)[:, 1]
        likely = np.flatnonzero(scores > self.decoder.threshold)
        best_first = likely[np.argsort(-scores[likely], kind="stable")]
        x = proposals[best_first, 3:]
        covered, below = _rows_of(proposals[best_first], offsets)
        height, width = geometry.input_size
        y = np.linspace(height, 0, offsets)
        lanes = []
        for kept in _suppress(x, covered, self.decoder.nms_distance, self.decoder.max_lanes):
            inside = (x[kept] >= 0) & (x[kept] <= width)
            rows = inside & (covered[kept] | _reaching_up(inside, below[kept]))
            if np.count_nonzero(rows) >= 2:
                points = np.stack([x[kept, rows], y[rows]], axis=1)
                lanes.append(lane_in_frame(points, scores[best_first[kept]], geometry))
        return Scene(left_to_right(lanes), geometry)


def _rows_of(proposals: Array, offsets: int) -> tuple[Bools, Bools]:
    """Return, each (N, offsets), which rows a proposal covers and which lie below its start."""
    # Half rounds up, as where the network was trained; numpy would round it to even.
    start = np.floor(proposals[:, :1] * (offsets - 1) + 0.5)
    length = np.floor(proposals[:, 2:3] + 0.5)
    row = np.arange(offsets)
    return (row >= start) & (row < start + length), row < start


def _reaching_up(inside: Bools, below: Bools) -> Bools:
    """Return the rows below a lane's start by which it goes on, without a gap, to the bottom or side of the input."""
    outside_above = np.cumsum((below & ~inside)[::-1])[::-1]
    reaching: Bools = below & (outside_above == 0)
    return reaching


def _suppress(x: Array, covered: Bools, distance: float, count: int) -> list[int]:
    """Choose at most `count` lines (N, rows), best first, of which no two are nearer than `distance`.

    The distance of two lines is the mean |dx| over the rows that both cover; lines that share no row are apart.
    """
    kept: list[int] = []
    remaining = np.arange(len(x))
    while remaining.size and len(kept) < count:
        best, rest = int(remaining[0]), remaining[1:]
        shared = covered[rest] & covered[best]
        apart = (np.abs(x[rest] - x[best]) * shared).sum(axis=1) >= distance * shared.sum(axis=1)
        kept.append(best)
        remaining = rest[apart]
    return kept
