"""Row anchors: a network chooses, for every lane slot and every row, the column in which the lane lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.recipes import Recipe, RowAnchorDecoder
from edgekit.tasks.base import Array, FrameGeometry, Lane, Scene
from edgekit.tasks.heads import decoder_of, head_with, heads_with, read_head, role_error
from edgekit.tasks.lanes.task import LaneTask, lane_in_frame, left_to_right, softmax

Floats = NDArray[np.float32]


def row_anchor_task(recipe: Recipe) -> ExistenceTask | BackgroundColumnTask:
    """Build the task of the style that the recipe's decoder names.

    Raises:
        UsageError: A role that the style needs is missing.
    """
    decoder = decoder_of(recipe, RowAnchorDecoder)
    if decoder.style == "background-column":
        return BackgroundColumnTask(decoder, head_with(recipe, "confidence"))
    offsets = heads_with(recipe, "offset")
    if len(offsets) > 1:
        raise role_error(recipe, "offset")
    return ExistenceTask(
        decoder,
        head_with(recipe, "confidence"),
        head_with(recipe, "existence"),
        offsets[0] if offsets else None,
    )


@dataclass(frozen=True)
class ExistenceTask(LaneTask):
    """Rows that a separate head marks as present (QuantLaneNet, github.com/ducamvinh/QuantLaneNet).

    Heads: `confidence` 1 x lanes x rows x columns, of which the greatest counts; `existence` 1 x lanes x rows x 1, a
    probability; optionally `offset` 1 x lanes x rows x columns, the place within the column, 0 to 1.
    x = (column + offset) * stride_x, y = row * stride_y + first_y in input px, row 0 on top.
    """

    decoder: RowAnchorDecoder
    confidence: str
    existence: str
    offset: str | None

    def decode(self, heads: Mapping[str, Array], geometry: FrameGeometry) -> Scene:
        """Read the column of every row that exists; the score is the mean existence of a lane's rows.

        Without an offset head, the middle of the column counts.

        Raises:
            UsageError: An output is missing or has another shape.
            ArtifactError: An output holds NaN or infinity.
        """
        confidence = read_head(heads, self.confidence, ("lanes", "rows", "columns"))
        lanes, rows, _ = confidence.shape
        existence = read_head(heads, self.existence, (lanes, rows, 1))[..., 0]
        columns = confidence.argmax(axis=2)
        within: Floats | float = 0.5
        if self.offset is not None:
            offsets = read_head(heads, self.offset, confidence.shape)
            within = np.take_along_axis(offsets, columns[..., None], axis=2)[..., 0]
        x = (columns + within) * self.decoder.stride_x
        y = _row_positions(self.decoder, rows, geometry.input_size[0])
        return _scene(x, y, existence, existence >= self.decoder.threshold, self.decoder.min_points, geometry)


@dataclass(frozen=True)
class BackgroundColumnTask(LaneTask):
    """Rows whose last column means "no lane" (UFLD, github.com/cfzd/Ultra-Fast-Lane-Detection).

    One head, `confidence` 1 x (columns + 1) x rows x lanes, logits. A row exists where the last column does not win;
    its x is the expected column under the softmax of the others, (column + 0.5) * stride_x in input px. UFLD samples
    its columns over (input width - 1) / (columns - 1) px, which is the recipe's stride_x, and its rows at row anchors,
    which are the recipe's rows, as fractions of the input height, top first.
    """

    decoder: RowAnchorDecoder
    confidence: str

    def decode(self, heads: Mapping[str, Array], geometry: FrameGeometry) -> Scene:
        """Read the expected column of every row that exists; the score is the mean probability of its lane rows.

        Raises:
            UsageError: The output is missing or has another shape, or the recipe names another number of rows.
            ArtifactError: The output holds NaN or infinity.
        """
        logits = read_head(heads, self.confidence, ("columns + 1", "rows", "lanes")).transpose(2, 1, 0)
        columns = logits.shape[2] - 1
        exists = logits.argmax(axis=2) != columns
        expected = softmax(logits[..., :columns], axis=2) @ np.arange(columns, dtype=np.float32)
        probability = 1 - softmax(logits, axis=2)[..., columns]
        x = (expected + 0.5) * self.decoder.stride_x
        y = _row_positions(self.decoder, logits.shape[1], geometry.input_size[0])
        return _scene(x, y, probability, exists, self.decoder.min_points, geometry)


def _row_positions(decoder: RowAnchorDecoder, rows: int, height: int) -> Floats:
    """Return the y of every row in input px: as the recipe lists them, else evenly spaced."""
    if not decoder.rows:
        return np.float32(decoder.first_y) + np.float32(decoder.stride_y) * np.arange(rows, dtype=np.float32)
    if len(decoder.rows) != rows:
        raise UsageError(
            problem="The recipe's decoder.rows does not fit the network.",
            found=f"{len(decoder.rows)} rows in the recipe, {rows} in the network's output",
            fix="List one row anchor per row of the output, as fractions of the input height, top first.",
        )
    return np.asarray(decoder.rows, np.float32) * np.float32(height)


def _scene(
    x: Floats, y: Floats, score: Floats, exists: NDArray[np.bool_], min_points: int, geometry: FrameGeometry
) -> Scene:
    """Gather the rows that exist into lanes; all arrays but y (rows) are (lanes, rows)."""
    lanes: list[Lane] = []
    for slot in np.flatnonzero(exists.sum(axis=1) >= min_points):
        rows = exists[slot]
        points = np.stack([x[slot, rows], y[rows]], axis=1)
        lanes.append(lane_in_frame(points, score[slot, rows].mean(), geometry))
    return Scene(left_to_right(lanes), geometry)
