from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.recipes import Recipe, load_recipe
from edgekit.tasks import FrameGeometry, Scene, task_for

RECIPE = load_recipe("lane-segmentation")
GEOMETRY = FrameGeometry((720, 1280), (360, 640), (2.0, 2.0), (0.0, 0.0))


def logits(mask: np.ndarray, sure: float = 3.0) -> np.ndarray:
    foreground = np.where(mask, sure, -sure)
    return np.stack([np.zeros_like(foreground), foreground])[None].astype(np.float32)


def blank() -> np.ndarray:
    return np.zeros(GEOMETRY.input_size, np.uint8)


def decode(lane: np.ndarray, drivable: np.ndarray | None = None, recipe: Recipe = RECIPE) -> Scene:
    heads = {"ll_logits": logits(lane), "da_logits": logits(blank() if drivable is None else drivable)}
    return task_for(recipe).decode(heads, GEOMETRY)


def with_decoder(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update={"decoder": recipe.decoder.model_copy(update=changes)})


def test_every_mask_is_where_its_foreground_wins() -> None:
    lane, drivable = blank(), blank()
    lane[100:300, 50:56] = 1
    drivable[200:, 40:600] = 1
    scene = decode(lane, drivable)
    assert set(scene.masks) == {"lane", "drivable"}
    assert scene.masks["lane"].dtype == np.bool_
    np.testing.assert_array_equal(scene.masks["lane"], lane.astype(bool))
    np.testing.assert_array_equal(scene.masks["drivable"], drivable.astype(bool))


def test_lanes_run_along_the_middle_of_their_region() -> None:
    mask = blank()
    cv2.line(mask, (100, 340), (300, 120), 1, 7)
    cv2.line(mask, (500, 340), (340, 120), 1, 7)
    left, right = decode(mask).lanes
    for lane, bottom, top in ((left, 100, 300), (right, 500, 340)):
        assert lane.points.dtype == np.float32
        x, y = lane.points.T / 2
        assert (np.diff(y) == RECIPE.decoder.row_step).all()
        middle = (y > 126) & (y < 334)
        expected = np.interp(y, [120, 340], [top, bottom])
        np.testing.assert_allclose(x[middle], expected[middle], atol=1.0)
        assert np.isclose(lane.score, 1 / (1 + np.exp(-3)))


def test_regions_that_touch_at_a_corner_are_one_lane() -> None:
    mask = blank()
    mask[100:150, 50:55] = 1
    mask[150:200, 55:60] = 1
    assert len(decode(mask).lanes) == 1


def test_a_lane_does_not_mix_with_another_in_its_bounding_box() -> None:
    mask = blank()
    cv2.line(mask, (100, 340), (500, 100), 1, 5)
    mask[105:200, 120:124] = 1
    lane = max(decode(mask).lanes, key=lambda lane: float(lane.points[:, 1].max()))
    x, y = lane.points[3:-3].T / 2
    np.testing.assert_allclose(x, np.interp(y, [100, 340], [500, 100]), atol=1.5)


@pytest.mark.parametrize(("height", "lanes"), [(17, 0), (18, 1)])
def test_a_region_must_be_high_enough(height: int, lanes: int) -> None:
    mask = blank()
    mask[100 : 100 + height, 50:55] = 1
    assert len(decode(mask, recipe=with_decoder(RECIPE, min_height=0.05)).lanes) == lanes


def test_a_lane_has_two_points_at_least() -> None:
    mask = blank()
    mask[100:104, 50:55] = 1
    mask[200:205, 50:55] = 1
    (lane,) = decode(mask, recipe=with_decoder(RECIPE, min_height=0.001)).lanes
    np.testing.assert_allclose(lane.points, [[104, 400], [104, 408]])


def test_every_class_but_the_first_is_foreground() -> None:
    values = np.zeros((1, 5, *GEOMETRY.input_size), np.float32)
    values[:, 0] = 1
    values[0, 3, 100:200, 50:55] = 2
    scene = task_for(RECIPE).decode({"ll_logits": values, "da_logits": logits(blank())}, GEOMETRY)
    assert scene.masks["lane"].sum() == 500
    assert len(scene.lanes) == 1


def test_a_mask_with_one_channel_is_an_error() -> None:
    with pytest.raises(UsageError, match="'ll_logits' has one channel"):
        task_for(RECIPE).decode(
            {"ll_logits": np.zeros((1, 1, *GEOMETRY.input_size)), "da_logits": logits(blank())}, GEOMETRY
        )


def test_without_a_lane_mask_there_are_masks_only() -> None:
    recipe = with_decoder(RECIPE, lane_label="other")
    mask = blank()
    mask[100:200, 50:55] = 1
    scene = decode(mask, recipe=recipe)
    assert scene.lanes == ()
    assert scene.masks["lane"].any()


def test_a_head_without_a_label_is_named_after_itself() -> None:
    heads = {"lane": RECIPE.heads["ll_logits"].model_copy(update={"label": ""})}
    task = task_for(RECIPE.model_copy(update={"heads": heads}))
    assert set(task.decode({"lane": logits(blank())}, GEOMETRY).masks) == {"lane"}


def test_two_heads_cannot_show_the_same() -> None:
    heads = {**RECIPE.heads, "more": RECIPE.heads["ll_logits"]}
    with pytest.raises(UsageError, match="same label"):
        task_for(RECIPE.model_copy(update={"heads": heads}))


def test_comparing_counts_masks_and_lanes() -> None:
    one, two = blank(), blank()
    one[100:300, 50:60] = 1
    two[100:300, 52:62] = 1
    drivable = blank()
    drivable[200:] = 1
    agreement = task_for(RECIPE).compare(decode(one, drivable), decode(two, drivable))
    assert agreement.overlap == {"lane": (1600, 2400), "drivable": (102400, 102400)}
    assert agreement.iou("lane") == pytest.approx(8 / 12)
    assert (agreement.matched, agreement.reference_lanes, agreement.candidate_lanes) == (1, 1, 1)
    assert agreement.lateral_px == pytest.approx(4.0)
