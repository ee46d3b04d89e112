from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.report import draw_comparison, draw_scene
from edgekit.report.overlay import CANDIDATE_COLOR, LANE_COLORS, REFERENCE_COLOR
from edgekit.tasks import FrameGeometry, Lane, Scene

HEIGHT, WIDTH = 720, 1280
HALF = FrameGeometry((HEIGHT, WIDTH), (360, 640), (2.0, 2.0), (0.0, 0.0))
ROAD = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)


def scene(*xs: float, masks: dict[str, np.ndarray] | None = None, geometry: FrameGeometry = HALF) -> Scene:
    """Upright lanes at these x, from y = 300 to 700."""
    lanes = tuple(Lane(np.array([[x, 300], [x, 700]], np.float32)) for x in xs)
    return Scene(lanes, geometry, masks or {})


def colors_of_row(picture: np.ndarray, y: int) -> set[tuple[int, ...]]:
    return {tuple(int(value) for value in pixel) for pixel in picture[y]}


def changed(picture: np.ndarray) -> np.ndarray:
    return np.any(picture != ROAD, axis=2)


def test_an_empty_scene_leaves_the_frame_as_it_is() -> None:
    np.testing.assert_array_equal(draw_scene(ROAD, scene()), ROAD)


def test_the_frame_that_is_given_stays_as_it_is() -> None:
    frame = ROAD.copy()
    frame.setflags(write=False)
    assert changed(draw_scene(frame, scene(300), caption=("model",))).any()
    np.testing.assert_array_equal(frame, ROAD)


def test_lanes_are_drawn_where_they_are_each_in_its_colour() -> None:
    picture = draw_scene(ROAD, scene(300, 800))
    assert tuple(picture[500, 300]) == LANE_COLORS[0]
    assert tuple(picture[500, 800]) == LANE_COLORS[1]
    columns = np.flatnonzero(changed(picture)[500])
    assert set(columns) <= {*range(292, 309), *range(792, 809)}
    assert not changed(picture)[:290].any()


def test_a_line_has_a_dark_outline_on_both_sides() -> None:
    row = draw_scene(ROAD, scene(300))[500].astype(int).sum(axis=1)
    inside = np.flatnonzero(row != 360)
    assert row[inside[0] : 300].min() < 180
    assert row[301 : inside[-1] + 1].min() < 180


def test_more_lanes_than_colours_are_drawn() -> None:
    many = [100.0 * (i + 1) for i in range(len(LANE_COLORS) + 1)]
    picture = draw_scene(ROAD, scene(*many))
    assert tuple(picture[500, 100]) == tuple(picture[500, int(many[-1])]) == LANE_COLORS[0]


def test_lines_keep_to_the_size_of_the_picture() -> None:
    small = FrameGeometry((180, 320), (90, 160), (2.0, 2.0), (0.0, 0.0))
    lane = Lane(np.array([[100, 10], [100, 170]], np.float32))
    picture = draw_scene(np.full((180, 320, 3), 120, np.uint8), Scene((lane,), small))
    assert 1 < np.count_nonzero(np.any(picture[90] != 120, axis=1)) < 8


def test_a_mask_tints_its_place_in_the_frame() -> None:
    mask = np.zeros((360, 640), bool)
    mask[100:200, 50:150] = True
    picture = draw_scene(ROAD, scene(masks={"drivable": mask}))
    tinted = np.argwhere(changed(picture))
    np.testing.assert_allclose(tinted.min(axis=0), (200, 100), atol=1)
    np.testing.assert_allclose(tinted.max(axis=0), (399, 299), atol=1)
    # Translucent: what lies below still shows.
    darker = draw_scene(ROAD // 2, scene(masks={"drivable": mask}))
    assert (darker[300, 200] < picture[300, 200]).all()


def test_a_mask_in_the_middle_of_the_input_is_drawn_in_the_middle_of_the_frame() -> None:
    mask = np.zeros((360, 640), bool)
    mask[100:260, 250:390] = True
    picture = draw_scene(ROAD, scene(masks={"drivable": mask}))
    assert changed(picture).any()
    np.testing.assert_array_equal(picture, picture[::-1, ::-1])


def test_a_mask_of_a_cropped_or_padded_input_is_moved_into_the_frame() -> None:
    moved = FrameGeometry((HEIGHT, WIDTH), (256, 256), (4.0, 1.5), (100.0, 288.0))
    picture = draw_scene(ROAD, scene(masks={"lane": np.ones((256, 256), bool)}, geometry=moved))
    rows, columns = changed(picture).any(axis=1).nonzero()[0], changed(picture).any(axis=0).nonzero()[0]
    np.testing.assert_allclose((rows[0], rows[-1]), (288, 288 + 384), atol=2)
    np.testing.assert_allclose((columns[0], columns[-1]), (100, 100 + 1024), atol=4)


def test_a_caption_stays_in_its_corner() -> None:
    picture = draw_scene(ROAD, scene(), caption=("LSTR", "INT8", "4.1 ms"))
    tinted = np.argwhere(changed(picture))
    assert tinted[:, 0].max() < 70
    assert tinted[:, 1].max() < WIDTH // 2
    assert picture.max() > 220


def test_a_caption_wider_than_the_picture_is_cut() -> None:
    assert draw_scene(ROAD, scene(), caption=("a long name of a model " * 9,)).shape == ROAD.shape


def test_where_two_scenes_agree_the_candidate_lies_inside_the_reference() -> None:
    picture = draw_comparison(ROAD, scene(300), scene(300))
    assert tuple(picture[500, 300]) == CANDIDATE_COLOR
    assert {CANDIDATE_COLOR, REFERENCE_COLOR} <= colors_of_row(picture, 500)


def test_where_they_differ_each_shows_alone() -> None:
    picture = draw_comparison(ROAD, scene(300), scene(900))
    assert tuple(picture[500, 300]) == REFERENCE_COLOR
    assert tuple(picture[500, 900]) == CANDIDATE_COLOR


def test_of_masks_only_the_difference_is_tinted() -> None:
    one, two = np.zeros((360, 640), bool), np.zeros((360, 640), bool)
    one[200:300, 50:150] = True
    two[200:300, 100:200] = True
    picture = draw_comparison(ROAD, scene(masks={"lane": one}), scene(masks={"lane": two}))
    assert not changed(picture)[500, 250]
    lost, gained = picture[500, 150].astype(int), picture[500, 350].astype(int)
    assert lost[0] > lost[2]
    assert gained[2] > gained[0]


def test_the_legend_names_both_colours_in_the_right_upper_corner() -> None:
    picture = draw_comparison(ROAD, scene(), scene())
    tinted = np.argwhere(changed(picture))
    assert tinted[:, 0].max() < 70
    assert tinted[:, 1].min() > WIDTH // 2
    colors = {tuple(int(value) for value in pixel) for pixel in picture[:70].reshape(-1, 3)}
    assert {CANDIDATE_COLOR, REFERENCE_COLOR} <= colors
    renamed = draw_comparison(ROAD, scene(), scene(), names=("label", "model"))
    assert (renamed != picture).any()


def test_a_scene_of_another_frame_is_refused() -> None:
    other = scene(geometry=FrameGeometry((590, 1640), (295, 820), (2.0, 2.0), (0.0, 0.0)))
    with pytest.raises(DataError, match="590 x 1640 x 3"):
        draw_scene(ROAD, other)
    with pytest.raises(DataError, match="cannot be drawn"):
        draw_comparison(ROAD, scene(), other)
