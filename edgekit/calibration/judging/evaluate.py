"""Hold a quantized model against the floating-point model in the units of the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.calibration.distortion import distortion_for
from edgekit.calibration.judging.camera import GroundShift, ground_shift
from edgekit.errors import DataError
from edgekit.frames import Frame, FrameSource
from edgekit.progress import Progress, silent
from edgekit.recipes import Gates, Recipe
from edgekit.runtime.prepare import Prepare
from edgekit.runtime.session import heads_of
from edgekit.tasks import task_for
from edgekit.tasks.base import Agreement, Scene
from edgekit.tasks.heads import on_frame

Run = Callable[[NDArray[np.float32]], Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class Gate:
    """One limit and how the result stands to it.

    Attributes:
        name: The figure that is limited, as `Agreement.figures` names it.
        limit: The limit.
        value: The figure; none where it could not be measured.
        passed: Whether the limit is kept. A figure that could not be measured does not keep it.
    """

    name: str
    limit: float
    value: float | None
    passed: bool


@dataclass(frozen=True)
class FrameResult:
    """How the two models agree on one frame.

    Attributes:
        name: The frame.
        agreement: Its tallies.
        distortion: Its Lane Distortion Score, or what stands for it in the recipe's family.
        ground: Metres ahead to the lanes' shift on the road; empty where the recipe has no camera.
    """

    name: str
    agreement: Agreement
    distortion: float
    ground: Mapping[float, GroundShift] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """How a quantized model agrees with the floating-point model.

    Attributes:
        total: Over all frames.
        frames: Per frame, in their order.
    """

    total: Agreement
    frames: tuple[FrameResult, ...]

    @property
    def distortion(self) -> float:
        """Mean distortion of a frame."""
        return float(np.mean([frame.distortion for frame in self.frames]))

    @property
    def ground_cm(self) -> dict[str, float]:
        """Mean shift on the road in cm, by distance ahead in metres; empty without a camera."""
        distances = {distance for frame in self.frames for distance in frame.ground}
        sums = {
            distance: sum((frame.ground[distance] for frame in self.frames), GroundShift())
            for distance in sorted(distances)
        }
        return {f"{distance:g}": total.mean_cm for distance, total in sums.items() if total.mean_cm is not None}

    def worst(self, count: int) -> list[FrameResult]:
        """Return the frames with the largest distortion, the worst first; frames without any are left out."""
        distorted = [frame for frame in self.frames if frame.distortion > 0.0]
        return sorted(distorted, key=lambda frame: frame.distortion, reverse=True)[:count]


class Pair:
    """A floating-point model and a quantized one that look at the same frames.

    Args:
        reference: The floating-point model.
        candidate: The quantized model.
        preprocessor: Turns frames into inputs.
        recipe: Says what outputs mean.
    """

    def __init__(self, reference: Run, candidate: Run, preprocessor: Prepare, recipe: Recipe) -> None:
        self._runs = (reference, candidate)
        self._preprocessor = preprocessor
        self.recipe = recipe
        self._task = task_for(recipe)
        self._distortion = distortion_for(recipe)

    def scenes(self, frame: Frame) -> tuple[Scene, Scene]:
        """Return what the floating-point and the quantized model see in a frame."""
        values = self._preprocessor(frame.values)
        geometry = self._preprocessor.geometry((frame.values.shape[0], frame.values.shape[1]))
        with on_frame(frame.name):
            reference, candidate = (self._task.decode(_heads(run(values), self.recipe), geometry) for run in self._runs)
        return reference, candidate

    def evaluate(self, frames: FrameSource, progress: Progress = silent) -> Evaluation:
        """Compare what both models see, frame by frame.

        Raises:
            DataError: No frame could be read.
        """
        results: list[FrameResult] = []
        for index, frame in enumerate(frames):
            scenes = self.scenes(frame)
            camera = self.recipe.camera
            ground = ground_shift(camera, *scenes) if camera is not None else {}
            results.append(FrameResult(frame.name, self._task.compare(*scenes), self._distortion(*scenes), ground))
            progress("check", index + 1, len(frames))
        if not results:
            raise DataError(
                problem="There is no frame to check the result on.", fix="Give at least one readable frame."
            )
        return Evaluation(sum((result.agreement for result in results), Agreement()), tuple(results))


def _heads(outputs: Mapping[str, NDArray[Any]], recipe: Recipe) -> dict[str, NDArray[Any]]:
    return {head: outputs[name] for head, name in heads_of(recipe, outputs).items()}


def judge(total: Agreement, gates: Gates) -> tuple[Gate, ...]:
    """Hold an agreement against a recipe's gates."""
    worst_iou = min((value for name, value in total.figures().items() if name.startswith("iou_")), default=None)
    limits = (
        ("lateral_px", gates.max_lateral_px, total.lateral_px),
        ("f1", gates.min_f1, total.f1),
        ("iou", gates.min_iou, worst_iou),
        ("sqnr_db", gates.min_sqnr_db, total.sqnr_db),
        *((name, limit, total.figures().get(name)) for name, limit in _list_limits(gates)),
    )
    return tuple(_gate(name, limit, value) for name, limit, value in limits if limit is not None)


def _list_limits(gates: Gates) -> tuple[tuple[str, float | None], ...]:
    return (
        ("order_change", gates.max_order_change),
        ("ndcg", gates.min_ndcg),
        ("auc", gates.min_auc),
        ("top_overlap", gates.min_top_overlap),
    )


def _gate(name: str, limit: float, value: float | None) -> Gate:
    kept = value is not None and (value <= limit if name in ("lateral_px", "order_change") else value >= limit)
    return Gate(name, limit, value, kept)
