"""Segmentation: a class for every pixel; lanes are connected regions of the lane class (TwinLiteNet, SCNN, RESA)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.recipes import Recipe, SegmentationDecoder
from edgekit.tasks.base import Array, FrameGeometry, Lane, Scene
from edgekit.tasks.heads import decoder_of, heads_with, read_head, role_error
from edgekit.tasks.lanes.task import LaneTask, lane_in_frame, left_to_right


@dataclass(frozen=True)
class SegmentationTask(LaneTask):
    """Decodes any number of `mask` heads, each 1 x classes x rows x columns of the input's size, logits.

    Class 0 is the background; the mask of a head is where another class wins. `labels` maps a head to what it shows.
    """

    decoder: SegmentationDecoder
    labels: Mapping[str, str]

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> SegmentationTask:
        """Build the task of a recipe; a head without a label is named after itself.

        Raises:
            UsageError: No head has the role `mask`, or two show the same.
        """
        decoder = decoder_of(recipe, SegmentationDecoder)
        labels = {name: recipe.heads[name].label or name for name in heads_with(recipe, "mask")}
        if not labels:
            raise role_error(recipe, "mask")
        if len(set(labels.values())) < len(labels):
            raise UsageError(
                problem=f"Two mask heads of the recipe '{recipe.name}' have the same label.",
                found=", ".join(f"{name}: {label}" for name, label in labels.items()),
                fix="Give every mask head a label of its own.",
            )
        return cls(decoder, labels)

    def decode(self, heads: Mapping[str, Array], geometry: FrameGeometry) -> Scene:
        """Read the masks, and the lanes off the mask that shows them.

        Raises:
            UsageError: An output is missing or has another shape.
            ArtifactError: An output holds NaN or infinity.
        """
        masks: dict[str, NDArray[np.bool_]] = {}
        lanes: list[Lane] = []
        for name, label in self.labels.items():
            logits = read_head(heads, name, ("classes", *geometry.input_size))
            margin = _margin(logits, name)
            masks[label] = margin > 0
            if label == self.decoder.lane_label:
                lanes.extend(self._lanes(masks[label], margin, geometry))
        return Scene(left_to_right(lanes), geometry, masks)

    def _lanes(self, mask: NDArray[np.bool_], margin: NDArray[np.float32], geometry: FrameGeometry) -> Iterator[Lane]:
        """Follow every region that is high enough by the mean x of its pixels in every `row_step`-th row.

        The score is the mean, over the pixels of those rows, of the lane's probability against the background.
        """
        import cv2

        _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        least = self.decoder.min_height * geometry.input_size[0]
        for region, (left, top, width, height, _) in enumerate(stats[1:], start=1):
            if height < max(least, self.decoder.row_step + 1):
                continue
            rows = slice(top, top + height, self.decoder.row_step)
            box = (rows, slice(left, left + width))
            inside = regions[box] == region
            x = left + inside @ np.arange(width) / inside.sum(axis=1)
            y = np.arange(mask.shape[0])[rows]
            score = np.mean(1 / (1 + np.exp(-margin[box][inside])))
            yield lane_in_frame(np.stack([x, y], axis=1), float(score), geometry)


def _margin(logits: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return how far the best class lies above the background, (rows, columns)."""
    if logits.shape[0] < 2:
        raise UsageError(
            problem=f"The mask head '{name}' has one channel.",
            found="1 class; a background and at least one class beside it are expected",
            fix="Export the network with the logits of the background, too.",
        )
    margin: NDArray[np.float32] = logits[1:].max(axis=0) - logits[0]
    return margin
