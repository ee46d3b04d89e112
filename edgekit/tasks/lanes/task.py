"""What all lane families share: how points become a lane, lanes a scene, and two scenes an agreement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.tasks.base import Agreement, FrameGeometry, Lane, Scene
from edgekit.tasks.lanes.metrics import compare_lanes


class LaneTask:
    """Compares scenes lane by lane and mask by mask; a family adds `decode`."""

    def compare(self, reference: Scene, candidate: Scene) -> Agreement:
        """Tally lanes by CULane's measure, their lateral shift, and the overlap of every mask."""
        lanes = compare_lanes(reference.lanes, candidate.lanes, reference.geometry.frame_size)
        overlap = {label: _overlap(mask, candidate.masks[label]) for label, mask in reference.masks.items()}
        return replace(lanes, overlap=overlap)


def lane_in_frame(points: NDArray[Any], score: float, geometry: FrameGeometry) -> Lane:
    """Map points (N, 2) from input px to the frame, the topmost first."""
    top_first = np.argsort(points[:, 1], kind="stable")
    return Lane(geometry.to_frame(points[top_first]), float(score))


def left_to_right(lanes: Iterable[Lane]) -> tuple[Lane, ...]:
    """Order lanes by where they leave the frame at its bottom or side."""
    return tuple(sorted(lanes, key=lambda lane: float(lane.points[-1, 0])))


def softmax(logits: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return probabilities along an axis."""
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    probabilities: NDArray[np.float32] = powers / powers.sum(axis=axis, keepdims=True)
    return probabilities


def _overlap(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> tuple[int, int]:
    return int(np.count_nonzero(one & two)), int(np.count_nonzero(one | two))
