"""A pinhole camera over a curved, hilly road.

World coordinates in metres: X to the right, Y up from the road surface below the camera, Z forward. A point of the road
is named by its distance z ahead and its offset to the right of the path that the camera follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

NEAREST_M = 1.5
FARTHEST_M = 400.0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks forward and `pitch` radians down.

    Attributes:
        size: Height and width of the picture in px.
        focal: Focal length in px.
        center: Principal point, x and y in px.
        height: Metres above the road.
        pitch: Radians, positive looks down.
    """

    size: tuple[int, int]
    focal: float
    center: tuple[float, float]
    height: float
    pitch: float

    @property
    def horizon(self) -> float:
        """The row in px where a flat road would end."""
        return self.center[1] - self.focal * float(np.tan(self.pitch))

    def depth(self, points: Floats) -> Floats:
        """Return the distance along the optical axis, in metres, of points (..., 3)."""
        below = self.height - points[..., 1]
        return np.asarray(below * np.sin(self.pitch) + points[..., 2] * np.cos(self.pitch))

    def project(self, points: Floats) -> Floats:
        """Map world points (..., 3) in metres, all before the camera, to px (..., 2)."""
        depth = self.depth(points)
        down = (self.height - points[..., 1]) * np.cos(self.pitch) - points[..., 2] * np.sin(self.pitch)
        x = self.center[0] + self.focal * points[..., 0] / depth
        y = self.center[1] + self.focal * down / depth
        return np.stack([x, y], axis=-1)


@dataclass(frozen=True)
class Road:
    """The course of the road: a clothoid in plan, a wave in elevation.

    Attributes:
        yaw: Radians between the camera's axis and the road at the camera.
        curvature: 1/m at the camera.
        clothoid: Change of the curvature, 1/m^2.
        hill: Height of the wave in metres; negative is a dip.
        hill_length: Length of the wave in metres.
    """

    yaw: float
    curvature: float
    clothoid: float
    hill: float
    hill_length: float

    def lateral(self, z: ArrayLike) -> Floats:
        """Return X of the path, in metres, z metres ahead (third-order series of the clothoid)."""
        z = np.asarray(z, np.float64)
        return self.yaw * z + self.curvature * z**2 / 2 + self.clothoid * z**3 / 6

    def elevation(self, z: ArrayLike) -> Floats:
        """Return Y of the surface, in metres, z metres ahead."""
        return self.hill * (1 - np.cos(2 * np.pi * np.asarray(z, np.float64) / self.hill_length)) / 2

    def place(self, offset: ArrayLike, z: ArrayLike, up: ArrayLike = 0.0) -> Floats:
        """Return the world points (..., 3) at an offset from the path, a distance ahead and a height above the road."""
        offset, z, up = np.broadcast_arrays(np.asarray(offset, np.float64), z, up)
        return np.stack([self.lateral(z) + offset, self.elevation(z) + up, z], axis=-1)


@dataclass(frozen=True)
class View:
    """What of the ground each row of the picture shows: without roll, a row is a distance.

    Attributes:
        camera: The camera.
        road: The road.
        top: First row that shows ground.
        z: (rows,) metres ahead, from row `top` down.
        scale: (rows,) px per metre.
        step: (rows,) metres that a row spans.
    """

    camera: Camera
    road: Road
    top: int
    z: Floats
    scale: Floats
    step: Floats

    @classmethod
    def of(cls, camera: Camera, road: Road) -> View:
        """Find the distance of every row; what lies behind a crest is hidden."""
        z = 1 / np.linspace(1 / NEAREST_M, 1 / FARTHEST_M, 1200)
        row = camera.project(road.place(0.0, z))[:, 1]
        before = np.minimum.accumulate(np.concatenate([[np.inf], row[:-1]]))
        visible = row < before
        z, row = z[visible][::-1], row[visible][::-1]
        top = int(np.clip(np.ceil(row[0]), 0, camera.size[0] - 2))
        rows = np.arange(top, camera.size[0])
        distance = np.interp(rows, row, z)
        scale = camera.focal / camera.depth(road.place(0.0, distance))
        return cls(camera, road, top, distance, scale, np.maximum(-np.gradient(distance), 1e-3))

    def columns(self, offset: float) -> Floats:
        """Return (rows,) the column in px where the line at `offset` metres crosses each ground row."""
        return self.camera.center[0] + self.scale * (self.road.lateral(self.z) + offset)

    def offsets(self) -> NDArray[np.float32]:
        """Return (rows, width) the offset from the path, in metres, of every ground pixel."""
        across = (np.arange(self.camera.size[1]) - self.camera.center[0])[None, :] / self.scale[:, None]
        return (across - self.road.lateral(self.z)[:, None]).astype(np.float32)

    def project(self, offset: ArrayLike, z: ArrayLike, up: ArrayLike = 0.0) -> Floats:
        """Map road coordinates in metres to px (..., 2)."""
        return self.camera.project(self.road.place(offset, z, up))
