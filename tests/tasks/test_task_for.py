"""What holds for every family, by the recipes that ship."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from edgekit import recipes
from edgekit.errors import ArtifactError, UsageError
from edgekit.recipes import Recipe, load_recipe
from edgekit.resources import shipped_names
from edgekit.tasks import TASKS, FrameGeometry, task_for

GEOMETRY = FrameGeometry((180, 320), (90, 160), (2.0, 2.0), (0.0, 0.0))
GRID = (1, 4, 10, 20)

# Outputs, of legal but small shapes, in which no family sees a lane.
EMPTY = {
    "lane-curve": {"logits": np.eye(1, 3).repeat(7, 0)[None], "curves": np.zeros((1, 7, 8))},
    "lane-row-anchor": {"cls": np.ones(GRID), "vertical": np.zeros((1, 4, 10, 1)), "offset": np.ones(GRID)},
    "lane-row-anchor-ufld": {"cls": np.arange(21.0)[None, :, None, None] + np.zeros((1, 21, 18, 4))},
    "lane-keypoint": {
        "confidence": np.zeros((1, 1, 8, 8)),
        "offset": np.zeros((1, 2, 8, 8)),
        "instance": np.zeros((1, 4, 8, 8)),
    },
    "lane-line-anchor": {"proposals": np.zeros((1, 50, 77))},
    "lane-segmentation": {"da_logits": np.zeros((1, 2, 90, 160)), "ll_logits": np.zeros((1, 2, 90, 160))},
    "ranker": {"score": np.zeros((4, 1))},
    "generic": {"anything": np.zeros((1, 3))},
}
EMPTY["reference-lane"] = EMPTY["lane-row-anchor"]
HEADS = [(name, head) for name, heads in EMPTY.items() for head in heads]
ROLES = [(name, role) for name in EMPTY for role in sorted({head.role for head in load_recipe(name).heads.values()})]
OPTIONAL = {("lane-row-anchor", "offset"), ("reference-lane", "offset")}
# UFLD's recipe inherits the roles that its own style does not read.
UNREAD = {("lane-row-anchor-ufld", "existence"), ("lane-row-anchor-ufld", "offset")}


def without(recipe: Recipe, role: str) -> Recipe:
    return recipe.model_copy(update={"heads": {n: head for n, head in recipe.heads.items() if head.role != role}})


def test_every_shipped_recipe_is_covered_here() -> None:
    assert sorted(EMPTY) == shipped_names("calib")


def test_every_family_of_the_schema_has_a_task() -> None:
    decoders = get_args(get_args(recipes.Decoder)[0])
    families = {get_args(decoder.model_fields["family"].annotation)[0] for decoder in decoders}
    assert set(TASKS) == families


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_road_gives_an_empty_scene_that_agrees_with_itself(name: str) -> None:
    task = task_for(load_recipe(name))
    scene = task.decode(EMPTY[name], GEOMETRY)
    assert scene.lanes == ()
    assert scene.geometry == GEOMETRY
    assert not any(mask.any() for mask in scene.masks.values())
    agreement = task.compare(scene, scene)
    assert (agreement.frames, agreement.matched, agreement.f1) == (1, 0, None)


@pytest.mark.parametrize(("name", "head"), HEADS)
def test_nan_is_never_an_empty_road(name: str, head: str) -> None:
    broken = {**EMPTY[name], head: EMPTY[name][head].copy()}
    broken[head].flat[-1] = np.nan
    with pytest.raises(ArtifactError, match=head):
        task_for(load_recipe(name)).decode(broken, GEOMETRY)


@pytest.mark.parametrize(("name", "head"), [case for case in HEADS if case[0] != "generic"])
def test_a_head_that_the_network_lacks_is_named(name: str, head: str) -> None:
    outputs = {other: values for other, values in EMPTY[name].items() if other != head}
    with pytest.raises(UsageError, match=f"'{head}'"):
        task_for(load_recipe(name)).decode(outputs, GEOMETRY)


# A ranker takes its scores in any shape: there is one per candidate.
@pytest.mark.parametrize(("name", "head"), [case for case in HEADS if case[0] not in ("generic", "ranker")])
def test_a_head_of_another_shape_is_named(name: str, head: str) -> None:
    outputs = {**EMPTY[name], head: EMPTY[name][head][..., None]}
    with pytest.raises(UsageError, match=f"'{head}'"):
        task_for(load_recipe(name)).decode(outputs, GEOMETRY)


@pytest.mark.parametrize(("name", "role"), sorted(set(ROLES) - OPTIONAL - UNREAD))
def test_a_role_that_the_recipe_lacks_is_named(name: str, role: str) -> None:
    with pytest.raises(UsageError, match=f"role '{role}'"):
        task_for(without(load_recipe(name), role))


@pytest.mark.parametrize(("name", "role"), sorted(OPTIONAL | UNREAD))
def test_a_role_that_need_not_be_there_is_not_asked_for(name: str, role: str) -> None:
    assert task_for(without(load_recipe(name), role)).decode(EMPTY[name], GEOMETRY).lanes == ()
