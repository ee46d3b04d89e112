from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.recipes import Recipe, load_recipe
from edgekit.tasks import FrameGeometry, Lane, task_for

EXISTENCE = load_recipe("lane-row-anchor")
UFLD = load_recipe("lane-row-anchor-ufld")
GEOMETRY = FrameGeometry((720, 1280), (256, 512), (2.5, 2.8125), (0.0, 0.0))
UFLD_GEOMETRY = FrameGeometry((590, 1640), (288, 800), (2.05, 590 / 288), (0.0, 0.0))
LANES, ROWS, COLUMNS = 4, 32, 64


def with_decoder(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update={"decoder": recipe.decoder.model_copy(update=changes)})


def encode(x: np.ndarray, exists: np.ndarray) -> dict[str, np.ndarray]:
    """Write lanes, x (lanes, rows) in input px, as QuantLaneNet's heads."""
    column = (x // 8).astype(int)
    confidence = np.zeros((1, LANES, ROWS, COLUMNS), np.float32)
    offset = np.full((1, LANES, ROWS, COLUMNS), 0.9, np.float32)
    np.put_along_axis(confidence[0], column[..., None], 1.0, axis=2)
    np.put_along_axis(offset[0], column[..., None], (x / 8 - column)[..., None].astype(np.float32), axis=2)
    return {"cls": confidence, "vertical": exists[None, ..., None].astype(np.float32), "offset": offset}


@given(seed=st.integers(0, 10_000))
def test_lanes_survive_encoding_and_decoding(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.uniform(0, 511.9, (LANES, ROWS))
    exists = random.random((LANES, ROWS)) < 0.6
    scene = task_for(EXISTENCE).decode(encode(x, exists), GEOMETRY)
    y = np.arange(ROWS) * 8 + 3.5
    expected = [np.stack([x[lane, rows], y[rows]], axis=1) for lane, rows in enumerate(exists) if rows.sum() >= 2]
    expected.sort(key=lambda points: points[-1, 0])
    assert len(scene.lanes) == len(expected)
    for lane, points in zip(scene.lanes, expected, strict=True):
        assert lane.points.dtype == np.float32
        np.testing.assert_allclose(lane.points, points * (2.5, 2.8125), atol=1e-2)


def one_lane(recipe: Recipe, heads: dict[str, np.ndarray], geometry: FrameGeometry = GEOMETRY) -> Lane:
    (lane,) = task_for(recipe).decode(heads, geometry).lanes
    return lane


def test_a_row_exists_from_the_threshold_on() -> None:
    existence = np.zeros((LANES, ROWS))
    existence[1, 10:14] = (0.49, 0.5, 0.7, 0.9)
    lane = one_lane(EXISTENCE, encode(np.full((LANES, ROWS), 100.0), existence))
    np.testing.assert_allclose(lane.points[:, 1], (np.array([11, 12, 13]) * 8 + 3.5) * 2.8125)
    assert np.isclose(lane.score, 0.7)


def test_one_row_is_no_lane() -> None:
    existence = np.zeros((LANES, ROWS))
    existence[0, 5] = 1
    assert task_for(EXISTENCE).decode(encode(np.zeros((LANES, ROWS)), existence), GEOMETRY).lanes == ()


def test_without_an_offset_head_the_middle_of_the_column_counts() -> None:
    recipe = EXISTENCE.model_copy(update={"heads": {n: EXISTENCE.heads[n] for n in ("cls", "vertical")}})
    existence = np.zeros((LANES, ROWS))
    existence[0] = 1
    heads = encode(np.full((LANES, ROWS), 100.0), existence)
    np.testing.assert_allclose(one_lane(recipe, heads).points[:, 0], (12 + 0.5) * 8 * 2.5)


def test_two_offset_heads_are_an_error() -> None:
    recipe = EXISTENCE.model_copy(update={"heads": {**EXISTENCE.heads, "more": EXISTENCE.heads["offset"]}})
    with pytest.raises(UsageError, match="exactly one head with the role 'offset'"):
        task_for(recipe)


def test_rows_of_the_recipe_count_before_evenly_spaced_ones() -> None:
    existence = np.zeros((LANES, ROWS))
    existence[2] = 1
    rows = tuple(np.linspace(0.3, 1, ROWS) ** 2)
    lane = one_lane(with_decoder(EXISTENCE, rows=rows), encode(np.full((LANES, ROWS), 9.0), existence))
    np.testing.assert_allclose(lane.points[:, 1], np.array(rows) * 720, rtol=1e-5)


def ufld(columns: dict[int, float | tuple[int, ...]]) -> dict[str, np.ndarray]:
    """UFLD's output in which lane slot 2 has sure columns in some rows, and everything else is background."""
    logits = np.zeros((1, 201, 18, 4), np.float32)
    logits[:, 200] = 30
    for row, column in columns.items():
        logits[0, 200, row, 2] = 0
        logits[0, column, row, 2] = 40
    return {"cls": logits}


def test_background_column_takes_the_middle_of_the_sure_column() -> None:
    lane = one_lane(UFLD, ufld({15: 50, 16: 40, 17: 30}), UFLD_GEOMETRY)
    width = 799 / 199
    np.testing.assert_allclose(lane.points[:, 0], (np.array([50, 40, 30]) + 0.5) * width * 2.05, rtol=1e-5)
    np.testing.assert_allclose(lane.points[:, 1], np.array([267, 277, 287]) / 288 * 590, rtol=1e-5)
    assert lane.score > 0.999


def test_background_column_takes_the_mean_of_two_equal_columns() -> None:
    lane = one_lane(UFLD, ufld({4: (60, 64), 5: 62, 6: (61, 63)}), UFLD_GEOMETRY)
    np.testing.assert_allclose(lane.points[:, 0], 62.5 * 799 / 199 * 2.05, rtol=1e-5)


def test_the_background_has_no_part_in_the_expected_column() -> None:
    heads = ufld({4: 60, 5: 60, 6: 60})
    heads["cls"][0, 200, 4:7, 2] = 39.9
    lane = one_lane(UFLD, heads, UFLD_GEOMETRY)
    np.testing.assert_allclose(lane.points[:, 0], 60.5 * 799 / 199 * 2.05, rtol=1e-5)
    assert np.isclose(lane.score, 1 / (1 + np.exp(-0.1)), atol=1e-4)


def test_background_column_needs_as_many_points_as_the_recipe_says() -> None:
    assert UFLD.decoder.min_points == 3
    assert task_for(UFLD).decode(ufld({4: 60, 5: 61}), UFLD_GEOMETRY).lanes == ()


def test_a_row_in_which_the_background_wins_holds_no_point() -> None:
    heads = ufld({4: 60, 5: 61, 6: 62, 7: 63})
    heads["cls"][0, 200, 5, 2] = 41
    lane = one_lane(UFLD, heads, UFLD_GEOMETRY)
    np.testing.assert_allclose(lane.points[:, 1], np.array([160, 180, 189]) / 288 * 590, rtol=1e-5)


def test_another_number_of_rows_than_the_network_has_is_an_error() -> None:
    with pytest.raises(UsageError, match="17 rows in the recipe, 18 in the network's output"):
        task_for(with_decoder(UFLD, rows=UFLD.decoder.rows[1:])).decode(ufld({}), UFLD_GEOMETRY)
