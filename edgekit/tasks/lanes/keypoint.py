"""Key points on a grid, joined into lanes by an embedding (PINet).

Ko et al., "Key Points Estimation and Point Instance Segmentation Approach for Lane Detection", T-ITS 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgekit.recipes import KeypointDecoder, Recipe
from edgekit.tasks.base import Array, FrameGeometry, Scene
from edgekit.tasks.heads import decoder_of, head_with, read_head
from edgekit.tasks.lanes.task import LaneTask, lane_in_frame, left_to_right


@dataclass(frozen=True)
class KeypointTask(LaneTask):
    """Decodes three heads on one grid of rows x columns.

    `confidence` 1 x 1 x rows x columns, a probability; `offset` 1 x 2 x rows x columns, x and y of the point within
    its cell, 0 to 1; `embedding` 1 x features x rows x columns, alike for points of one lane.
    """

    decoder: KeypointDecoder
    confidence: str
    offset: str
    embedding: str

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> KeypointTask:
        """Build the task of a recipe.

        Raises:
            UsageError: A head with the role `confidence`, `offset` or `embedding` is missing.
        """
        return cls(
            decoder_of(recipe, KeypointDecoder),
            head_with(recipe, "confidence"),
            head_with(recipe, "offset"),
            head_with(recipe, "embedding"),
        )

    def decode(self, heads: Mapping[str, Array], geometry: FrameGeometry) -> Scene:
        """Join the confident cells into lanes; the score is the mean confidence of a lane's points.

        Raises:
            UsageError: An output is missing or has another shape.
            ArtifactError: An output holds NaN or infinity.
        """
        confidence = read_head(heads, self.confidence, (1, "rows", "columns"))[0]
        offset = read_head(heads, self.offset, (2, *confidence.shape))
        embedding = read_head(heads, self.embedding, ("features", *confidence.shape))
        rows, columns = np.nonzero(confidence > self.decoder.threshold)
        points = (np.stack([columns, rows], axis=1) + offset[:, rows, columns].T) * self.decoder.stride
        scores = confidence[rows, columns]
        clusters = _clusters(embedding[:, rows, columns].T, self.decoder.max_distance, self.decoder.max_lanes)
        return Scene(
            left_to_right(
                lane_in_frame(points[members], scores[members].mean(), geometry)
                for members in clusters
                if len(members) >= self.decoder.min_points
            ),
            geometry,
        )


def _clusters(features: Array, max_distance: float, max_clusters: int) -> list[list[int]]:
    """Join features (N, F), in their order, into clusters of indices.

    A feature f joins the cluster whose mean m so far has the least norm of (f - m)^2, where that is at most
    `max_distance`; else it opens a cluster, or is dropped where there are `max_clusters`.
    """
    members: list[list[int]] = []
    means = np.empty((max_clusters, features.shape[1]))
    for index, feature in enumerate(features.astype(np.float64)):
        distances = np.linalg.norm((feature - means[: len(members)]) ** 2, axis=1)
        nearest = int(distances.argmin()) if members else -1
        if members and distances[nearest] <= max_distance:
            members[nearest].append(index)
            means[nearest] += (feature - means[nearest]) / len(members[nearest])
        elif len(members) < max_clusters:
            means[len(members)] = feature
            members.append([index])
    return members
