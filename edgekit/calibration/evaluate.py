"""Hold a quantized model against the floating-point model in the units of the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.frames import FrameSource
from edgekit.progress import Progress, silent
from edgekit.recipes import Gates, Recipe
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.runtime.session import heads_of
from edgekit.tasks import task_for
from edgekit.tasks.base import Agreement, Scene

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
class Evaluation:
    """How a quantized model agrees with the floating-point model.

    Attributes:
        total: Over all frames.
        frames: Per frame, in their order: its name and its own agreement.
    """

    total: Agreement
    frames: tuple[tuple[str, Agreement], ...]


def evaluate(
    reference: Run,
    candidate: Run,
    frames: FrameSource,
    preprocessor: Preprocessor,
    recipe: Recipe,
    progress: Progress = silent,
) -> Evaluation:
    """Run both models over frames and compare what they decode to.

    Raises:
        DataError: No frame could be read.
    """
    task = task_for(recipe)
    per_frame: list[tuple[str, Agreement]] = []
    total = Agreement()
    for index, frame in enumerate(frames):
        values = preprocessor(frame.pixels)
        geometry = preprocessor.geometry((frame.pixels.shape[0], frame.pixels.shape[1]))
        scenes: list[Scene] = [task.decode(_heads(run(values), recipe), geometry) for run in (reference, candidate)]
        agreement = task.compare(*scenes)
        per_frame.append((frame.name, agreement))
        total = total + agreement
        progress("check", index + 1, len(frames))
    if not per_frame:
        raise DataError(problem="There is no frame to check the result on.", fix="Give at least one readable frame.")
    return Evaluation(total, tuple(per_frame))


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
    )
    return tuple(_gate(name, limit, value) for name, limit, value in limits if limit is not None)


def _gate(name: str, limit: float, value: float | None) -> Gate:
    kept = value is not None and (value <= limit if name == "lateral_px" else value >= limit)
    return Gate(name, limit, value, kept)
