"""What a network's outputs mean: the contract between decoders, gates, the runtime and the reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class FrameGeometry:
    """Where the network's input lies in the camera frame.

    Attributes:
        frame_size: Height and width of the frame in px.
        input_size: Height and width of the network's input in px.
        scale: Frame px per input px, along x and y.
        offset: Frame px (x, y) of the input's left upper corner; negative where the input is padded.
    """

    frame_size: tuple[int, int]
    input_size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_frame(self, points: Array) -> NDArray[np.float32]:
        """Map points (N, 2), x and y in input px, to frame px."""
        mapped = np.asarray(points, np.float32) * np.asarray(self.scale, np.float32)
        return (mapped + np.asarray(self.offset, np.float32)).astype(np.float32)


@dataclass(frozen=True)
class Lane:
    """One lane line.

    Attributes:
        points: (N, 2) float32, x and y in px of the camera frame, from the top of the frame to the bottom.
        score: The network's confidence, 0 to 1.
    """

    points: NDArray[np.float32]
    score: float = 1.0


@dataclass(frozen=True)
class Scene:
    """What was decoded from one frame.

    Attributes:
        lanes: The lane lines.
        masks: Label to mask, (H, W) bool at the network's input size.
        tensors: Raw outputs, kept only where their meaning is not known (the generic task).
        scores: Of a ranker's candidates, (candidates) float32, the greatest first in its list; none of other networks.
        geometry: Maps input px to frame px.
    """

    lanes: tuple[Lane, ...]
    geometry: FrameGeometry
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    tensors: Mapping[str, Array] = field(default_factory=dict)
    scores: NDArray[np.float32] | None = None


class Task(Protocol):
    """A model family: how its heads become a scene, and how far two scenes lie apart."""

    def decode(self, heads: Mapping[str, Array], geometry: FrameGeometry) -> Scene:
        """Turn the network's outputs, keyed by the recipe's head names, batch axis included, into a scene."""
        ...

    def compare(self, reference: Scene, candidate: Scene) -> Agreement:
        """Hold a candidate's scene against the reference's scene of the same frame."""
        ...


@dataclass(frozen=True)
class Agreement:
    """How well candidate scenes agree with reference scenes; sums, so that frames add up.

    Attributes:
        frames: Frames compared.
        matched: Lanes of the reference that the candidate has as well.
        reference_lanes: Lanes of the reference.
        candidate_lanes: Lanes of the candidate.
        shift_px: Sum of |dx| over the rows that matched lanes share, in px of the frame.
        shift_rows: Number of such rows.
        overlap: Mask label to (px in both masks, px in either mask).
        signal: Sum of squares of the reference's tensors (generic task).
        noise: Sum of squared differences to them.
        means: Figure that is a mean over frames to (its sum, frames that have it).
    """

    frames: int = 0
    matched: int = 0
    reference_lanes: int = 0
    candidate_lanes: int = 0
    shift_px: float = 0.0
    shift_rows: int = 0
    overlap: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    signal: float = 0.0
    noise: float = 0.0
    means: Mapping[str, tuple[float, int]] = field(default_factory=dict)

    def __add__(self, other: Agreement) -> Agreement:
        labels = [*self.overlap, *(label for label in other.overlap if label not in self.overlap)]
        return Agreement(
            frames=self.frames + other.frames,
            matched=self.matched + other.matched,
            reference_lanes=self.reference_lanes + other.reference_lanes,
            candidate_lanes=self.candidate_lanes + other.candidate_lanes,
            shift_px=self.shift_px + other.shift_px,
            shift_rows=self.shift_rows + other.shift_rows,
            overlap={label: _added(self.overlap.get(label), other.overlap.get(label)) for label in labels},
            signal=self.signal + other.signal,
            noise=self.noise + other.noise,
            means={
                name: _summed(self.means.get(name), other.means.get(name)) for name in {**self.means, **other.means}
            },
        )

    @property
    def f1(self) -> float | None:
        """F1 of the candidate's lanes against the reference's; none where neither has a lane."""
        lanes = self.reference_lanes + self.candidate_lanes
        return 2 * self.matched / lanes if lanes else None

    @property
    def lateral_px(self) -> float | None:
        """Mean lateral shift of matched lanes in px of the frame; none where no lane matched."""
        return self.shift_px / self.shift_rows if self.shift_rows else None

    def iou(self, label: str) -> float | None:
        """Intersection over union of a mask; none where it is empty on both sides."""
        both, either = self.overlap.get(label, (0, 0))
        return both / either if either else None

    @property
    def sqnr_db(self) -> float | None:
        """Signal to quantization noise in dB; none without tensors, infinite where they are equal."""
        if self.signal == 0.0:
            return None
        return float("inf") if self.noise == 0.0 else float(10 * np.log10(self.signal / self.noise))

    def figures(self) -> dict[str, float]:
        """Return every figure that is known, by name: f1, lateral_px, iou_<label>, sqnr_db, and those of `means`."""
        known = {"f1": self.f1, "lateral_px": self.lateral_px, "sqnr_db": self.sqnr_db}
        known |= {f"iou_{label}": self.iou(label) for label in self.overlap}
        known |= {name: total / count for name, (total, count) in self.means.items()}
        return {name: value for name, value in known.items() if value is not None}


def _summed(one: tuple[float, int] | None, two: tuple[float, int] | None) -> tuple[float, int]:
    a, b = one or (0.0, 0), two or (0.0, 0)
    return a[0] + b[0], a[1] + b[1]


def _added(one: tuple[int, int] | None, two: tuple[int, int] | None) -> tuple[int, int]:
    a, b = one or (0, 0), two or (0, 0)
    return a[0] + b[0], a[1] + b[1]
