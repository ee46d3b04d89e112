"""How well two sets of lanes agree: CULane's measure and the lateral shift.

CULane (Pan et al., "Spatial As Deep", AAAI 2018, xingangpan.github.io/projects/CULane.html) draws every lane 30 px
wide, takes the intersection over union (IoU) of every pair, pairs lanes one to one so that the sum is greatest, and
counts a pair whose IoU is above 0.5. Here a lane is straight segments between its points, not a spline through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.tasks.base import Agreement, Lane
from edgekit.tasks.lanes.assignment import assign


def compare_lanes(
    reference: Sequence[Lane],
    candidate: Sequence[Lane],
    frame_size: tuple[int, int],
    *,
    width_px: int = 30,
    min_iou: float = 0.5,
) -> Agreement:
    """Hold candidate lanes against reference lanes of one frame.

    Args:
        reference: The lanes to find, in px of the frame.
        candidate: The lanes found.
        frame_size: Height and width in px.
        width_px: How wide a lane is drawn.
        min_iou: A pair counts above this.

    Returns:
        The tallies of one frame. `shift_px` sums |dx| over every pixel row that both lanes of a pair cross inside the
        frame, x interpolated linearly between points.
    """
    overlap = lane_iou(reference, candidate, frame_size, width_px=width_px)
    pairs = [(row, column) for row, column in assign(overlap) if overlap[row, column] > min_iou]
    shifts = [lateral_shift(reference[row], candidate[column], frame_size[0]) for row, column in pairs]
    return Agreement(
        frames=1,
        matched=len(pairs),
        reference_lanes=len(reference),
        candidate_lanes=len(candidate),
        shift_px=sum(shift for shift, _ in shifts),
        shift_rows=sum(rows for _, rows in shifts),
    )


def recall(labels: Sequence[Lane], candidate: Sequence[Lane], frame_size: tuple[int, int]) -> tuple[int, int]:
    """Return how many labelled lanes were found by CULane's measure, and how many there are.

    This is what labels of the ego lanes alone allow: a lane found beside them is no error.
    """
    return compare_lanes(labels, candidate, frame_size).matched, len(labels)


def lateral_shift(one: Lane, two: Lane, height: int) -> tuple[float, int]:
    """Return the sum of |dx| in px over the pixel rows that both lanes cross inside the frame, and their number."""
    top = max(one.points[0, 1], two.points[0, 1], 0)
    bottom = min(one.points[-1, 1], two.points[-1, 1], height - 1)
    rows = np.arange(np.ceil(top), np.floor(bottom) + 1)
    return float(np.abs(_x_at(one, rows) - _x_at(two, rows)).sum()), len(rows)


def lane_iou(
    reference: Sequence[Lane], candidate: Sequence[Lane], frame_size: tuple[int, int], *, width_px: int = 30
) -> NDArray[np.float64]:
    """Return the intersection over union of every pair of drawn lanes, (reference, candidate)."""
    ours = [_draw(lane, frame_size, width_px) for lane in reference]
    theirs = [_draw(lane, frame_size, width_px) for lane in candidate]
    return np.array([[one.iou(two) for two in theirs] for one in ours]).reshape(len(ours), len(theirs))


def read_lines(path: Path) -> list[Lane]:
    """Read a `.lines.txt` label file of CULane: one lane a line, "x y x y ..." in px of the frame; it may be empty.

    Raises:
        DataError: The file cannot be read, or a line is not pairs of numbers.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        numbers = [[float(word) for word in line.split()] for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(problem=f"The label file {path} cannot be read.", found=str(error)) from error
    if any(len(line) % 2 for line in numbers):
        raise DataError(
            problem=f"The label file {path} is not pairs of x and y.", found="a line with an odd number of values"
        )
    lanes = [np.array(line, np.float32).reshape(-1, 2) for line in numbers]
    return [Lane(points[np.argsort(points[:, 1], kind="stable")]) for points in lanes]


@dataclass(frozen=True)
class _Drawn:
    """A lane as pixels: those of its bounding box within the frame, so that no whole frame is drawn or counted."""

    left: int
    top: int
    pixels: NDArray[np.uint8]
    area: int

    def iou(self, other: _Drawn) -> float:
        left, top = max(self.left, other.left), max(self.top, other.top)
        right = min(self.left + self.pixels.shape[1], other.left + other.pixels.shape[1])
        bottom = min(self.top + self.pixels.shape[0], other.top + other.pixels.shape[0])
        if left >= right or top >= bottom:
            return 0.0
        both = int(np.count_nonzero(self._cut(left, top, right, bottom) & other._cut(left, top, right, bottom)))
        either = self.area + other.area - both
        return both / either if either else 0.0

    def _cut(self, left: int, top: int, right: int, bottom: int) -> NDArray[np.uint8]:
        return self.pixels[top - self.top : bottom - self.top, left - self.left : right - self.left]


def _draw(lane: Lane, frame_size: tuple[int, int], width_px: int) -> _Drawn:
    import cv2

    if len(lane.points) < 2:
        return _Drawn(0, 0, np.zeros((0, 0), np.uint8), 0)
    height, width = frame_size
    points = np.rint(lane.points).astype(np.int32)
    left, top = np.maximum(points.min(axis=0) - width_px, 0)
    right, bottom = np.minimum(points.max(axis=0) + width_px + 1, (width, height))
    pixels = np.zeros((max(bottom - top, 0), max(right - left, 0)), np.uint8)
    if pixels.size:
        cv2.polylines(pixels, [points - (left, top)], isClosed=False, color=1, thickness=width_px)
    return _Drawn(int(left), int(top), pixels, int(np.count_nonzero(pixels)))


def _x_at(lane: Lane, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    x: NDArray[np.float64] = np.interp(rows, lane.points[:, 1], lane.points[:, 0])
    return x
