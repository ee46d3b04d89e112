"""Centimetres on the road: what a lane's shift in px means at a distance, for a camera whose mounting is known.

A pinhole camera without roll or lens distortion above a flat road, the usual model of driver assistance; see Hartley
and Zisserman, "Multiple View Geometry in Computer Vision", chapter 6. With t the tangent of a row's angle below the
optical axis, t = (y - cy) / focal, and the camera pitched down by p:

    forward = cos p - t sin p,  down = sin p + t cos p,  distance = height * forward / down
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, inf, radians, sin

import numpy as np

from edgekit.calibration.distortion import x_at
from edgekit.recipes import Camera
from edgekit.tasks.base import Scene
from edgekit.tasks.lanes.assignment import assign
from edgekit.tasks.lanes.metrics import lane_iou

DISTANCES_M = (10.0, 30.0, 50.0)
MIN_IOU = 0.5

FrameSize = tuple[int, int]


@dataclass(frozen=True)
class GroundShift:
    """How far matched lanes lie apart on the road at one distance; sums, so that frames add up.

    Attributes:
        total_cm: Sum of |shift| in cm.
        lanes: Number of matched lanes that both reach that distance.
    """

    total_cm: float = 0.0
    lanes: int = 0

    def __add__(self, other: GroundShift) -> GroundShift:
        return GroundShift(self.total_cm + other.total_cm, self.lanes + other.lanes)

    @property
    def mean_cm(self) -> float | None:
        """Mean shift in cm; none where no matched lane reaches that distance."""
        return self.total_cm / self.lanes if self.lanes else None


def ground_shift(
    camera: Camera, reference: Scene, candidate: Scene, distances_m: Sequence[float] = DISTANCES_M
) -> dict[float, GroundShift]:
    """Return the lateral shift of matched lanes on the road, by distance ahead of the camera in metres.

    Lanes are matched as for F1 (`compare_lanes`). A distance whose row lies outside the frame has no lanes.
    """
    size = reference.geometry.frame_size
    rows = np.array([row_at(camera, distance, size) for distance in distances_m])
    overlap = lane_iou(reference.lanes, candidate.lanes, size)
    pairs = [(one, two) for one, two in assign(overlap) if overlap[one, two] > MIN_IOU]
    ours, theirs = x_at(reference.lanes, rows), x_at(candidate.lanes, rows)
    shift_px = np.array([np.abs(ours[one] - theirs[two]) for one, two in pairs]).reshape(len(pairs), len(rows))
    shift_px[:, (rows < 0) | (rows > size[0] - 1)] = np.nan
    shift_cm = shift_px * [100 * metres_per_px(camera, distance) for distance in distances_m]
    return {
        distance: GroundShift(float(np.nansum(column)), int(np.count_nonzero(~np.isnan(column))))
        for distance, column in zip(distances_m, shift_cm.T, strict=True)
    }


def row_at(camera: Camera, distance_m: float, frame_size: FrameSize) -> float:
    """Return y, in px of the frame, of the road `distance_m` ahead of the camera; it may lie outside the frame.

    The road has to be in front of the image plane, which all of it is that the frame can show; behind it there is no
    row, and the result is infinite.
    """
    pitch = radians(camera.pitch_deg)
    depth = _depth(camera, distance_m)
    if depth <= 0:
        return inf
    return _principal_point(camera, frame_size)[1] + camera.focal_px * (
        (camera.height_m * cos(pitch) - distance_m * sin(pitch)) / depth
    )


def distance_at(camera: Camera, row: float, frame_size: FrameSize) -> float:
    """Return how far ahead, in metres, the road lies that the frame shows at y = `row`.

    On and above the horizon it is infinite.
    """
    pitch = radians(camera.pitch_deg)
    tangent = (row - _principal_point(camera, frame_size)[1]) / camera.focal_px
    down = sin(pitch) + tangent * cos(pitch)
    return camera.height_m * (cos(pitch) - tangent * sin(pitch)) / down if down > 0 else inf


def metres_per_px(camera: Camera, distance_m: float) -> float:
    """Return the width on the road, in metres, of one px of the frame at that distance."""
    return _depth(camera, distance_m) / camera.focal_px


def _depth(camera: Camera, distance_m: float) -> float:
    """Return how far the road lies along the optical axis, in metres."""
    pitch = radians(camera.pitch_deg)
    return distance_m * cos(pitch) + camera.height_m * sin(pitch)


def _principal_point(camera: Camera, frame_size: FrameSize) -> tuple[float, float]:
    return camera.principal_point or (frame_size[1] / 2, frame_size[0] / 2)
