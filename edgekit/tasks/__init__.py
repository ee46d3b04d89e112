"""Tasks: what outputs mean, by the decoder family that a recipe names."""

from __future__ import annotations

from collections.abc import Callable

from edgekit.recipes import Recipe
from edgekit.tasks.base import Agreement, FrameGeometry, Lane, Scene, Task
from edgekit.tasks.generic import GenericTask
from edgekit.tasks.lanes.curve import CurveTask
from edgekit.tasks.lanes.keypoint import KeypointTask
from edgekit.tasks.lanes.line_anchor import LineAnchorTask
from edgekit.tasks.lanes.row_anchor import row_anchor_task
from edgekit.tasks.lanes.segmentation import SegmentationTask
from edgekit.tasks.ranking import RankingTask

__all__ = ["TASKS", "Agreement", "FrameGeometry", "Lane", "Scene", "Task", "task_for"]

TASKS: dict[str, Callable[[Recipe], Task]] = {
    "curve": CurveTask.from_recipe,
    "row-anchor": row_anchor_task,
    "keypoint": KeypointTask.from_recipe,
    "line-anchor": LineAnchorTask.from_recipe,
    "segmentation": SegmentationTask.from_recipe,
    "ranking": RankingTask.from_recipe,
    "generic": GenericTask.from_recipe,
}


def task_for(recipe: Recipe) -> Task:
    """Return the task of the recipe's decoder family.

    Raises:
        UsageError: The recipe's heads lack a role that the family needs.
    """
    return TASKS[recipe.decoder.family](recipe)
