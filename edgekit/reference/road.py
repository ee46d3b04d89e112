"""Generated road frames with ground truth: the built-in stand-in for a drive."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.frames import Frame
from edgekit.reference.geometry import View
from edgekit.reference.scenery import Scenery, sample
from edgekit.tasks.base import Lane

FRAME_SIZE = (360, 640)
SLOTS = ("left-left", "left", "right", "right-right")

_LABELLED_M = 75.0
_LEAST_HEIGHT = 0.06


@dataclass(frozen=True)
class RoadFrame:
    """A picture and what is on it.

    Attributes:
        pixels: (H, W, 3) uint8, BGR.
        lanes: The lane lines, each as far as the picture shows its course, behind other cars too.
        slots: For every lane its index in `SLOTS`, which are counted from the camera.
    """

    pixels: NDArray[np.uint8]
    lanes: tuple[Lane, ...]
    slots: tuple[int, ...]


def render(seed: int, index: int, size: tuple[int, int] = FRAME_SIZE) -> RoadFrame:
    """Draw frame `index` of the drive `seed`; the same arguments give the same bytes under the same OpenCV and NumPy.

    Args:
        seed: Names the drive.
        index: Names the frame; every frame is another scene.
        size: Height and width in px.
    """
    rng = np.random.default_rng((seed, index))
    scene = sample(rng, size)
    view = View.of(scene.camera, scene.road)
    marked = [(lane, marking.slot) for marking in scene.markings if (lane := _lane(view, marking.offset))]
    return RoadFrame(_draw(rng, scene, view), tuple(lane for lane, _ in marked), tuple(slot for _, slot in marked))


def _lane(view: View, offset: float) -> Lane | None:
    """Return a line as far as the picture shows it, or none where that is too short to be a lane."""
    height, width = view.camera.size
    x = view.columns(offset)
    inside = (x >= 0) & (x <= width - 1) & (view.z <= _LABELLED_M)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    runs = edges.reshape(-1, 2)
    if not len(runs):
        return None
    start, stop = max(runs, key=lambda run: run[1] - run[0])
    if stop - start < _LEAST_HEIGHT * height:
        return None
    rows = np.unique(np.linspace(start, stop - 1, 64).round().astype(int))
    return Lane(np.stack([x[rows], rows + view.top], axis=-1).astype(np.float32))


def _draw(rng: np.random.Generator, scene: Scenery, view: View) -> NDArray[np.uint8]:
    from edgekit.reference import atmosphere, landscape, surface, traffic

    height, width = view.camera.size
    picture = np.empty((height, width, 3), np.uint8)
    heaven = landscape.sky(rng, scene, (view.top + 1, width))
    picture[: view.top] = np.clip(heaven[: view.top], 0, 255)
    landscape.horizon(rng, scene, view, picture)
    ground = surface.draw(rng, scene, view)
    ground = atmosphere.haze(ground, heaven[-1].mean(axis=0), scene.haze, view)
    picture[view.top :] = np.clip(ground * (1 - 0.35 * scene.rain), 0, 255)
    if scene.rain:
        atmosphere.wet(rng, picture, view, scene.rain)
    lamps = landscape.roadside(rng, scene, view, picture)
    glows = [glow for vehicle in scene.vehicles for glow in traffic.draw(view, vehicle, picture)]
    if scene.light != "day":
        picture = atmosphere.illuminate(rng, scene, view, picture, lamps)
        lit = [traffic.Glow(x, y, radius, (190.0, 225.0, 250.0)) for x, y, radius in lamps]
        picture = atmosphere.glow(picture, glows + lit, 1.0 if scene.light == "night" else 0.4, scene.rain)
    if scene.rain:
        picture = atmosphere.rain(rng, picture, scene.rain)
    return atmosphere.sensor(rng, scene, picture)


class RoadFrames:
    """Generated frames where recorded ones are expected: drawn one at a time, never all in memory.

    Args:
        seed: Names the drive.
        count: Number of frames.
        size: Height and width in px.
    """

    def __init__(self, seed: int, count: int, size: tuple[int, int] = FRAME_SIZE) -> None:
        self._seed = seed
        self._size = size
        self._indices: Sequence[int] = range(count)
        self.skipped: list[str] = []

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Frame]:
        for index in self._indices:
            yield Frame(f"road-{self._seed}-{index:05d}", render(self._seed, index, self._size).pixels)

    def spread(self, count: int) -> RoadFrames:
        """Return at most `count` of the frames, evenly spread, in the same order."""
        keep = min(count, len(self))
        return self._subset([self._indices[i * len(self) // keep] for i in range(keep)])

    def split(self, every: int) -> tuple[RoadFrames, RoadFrames]:
        """Return (the rest, every `every`-th frame)."""
        rest = [index for place, index in enumerate(self._indices) if place % every != every - 1]
        return self._subset(rest), self._subset(self._indices[every - 1 :: every])

    def digest(self) -> str:
        """Return the SHA-256 of the pixels and names of all frames, in hex."""
        total = hashlib.sha256()
        for frame in self:
            total.update(frame.name.encode())
            total.update(frame.values.tobytes())
        return total.hexdigest()

    def _subset(self, indices: Sequence[int]) -> RoadFrames:
        frames = RoadFrames(self._seed, 0, self._size)
        frames._indices = indices
        return frames
