"""The score is 0 for equal scenes and symmetric, and grows with all that a driver would call worse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit.calibration.distortion import (
    DISTORTIONS,
    ROWS,
    Distortion,
    distortion_for,
    lane_distortion,
    lane_width,
    mask_distortion,
    mean_distortion,
    relative_noise,
)
from edgekit.errors import ArtifactError, DataError
from edgekit.recipes import load_recipe
from edgekit.resources import shipped_names
from edgekit.tasks import TASKS
from edgekit.tasks.base import FrameGeometry, Lane, Scene

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

HEIGHT, WIDTH = 590, 1640
GEOMETRY = FrameGeometry((HEIGHT, WIDTH), (295, 820), (2.0, 2.0), (0.0, 0.0))
GAMMA = 30.0


def upright(x: float, top: float = 0.0, bottom: float = HEIGHT) -> Lane:
    return Lane(np.array([[x, top], [x, bottom]], np.float32))


def scene(*lanes: Lane) -> Scene:
    return Scene(lanes, GEOMETRY)


def masked(**masks: NDArray[np.bool_]) -> Scene:
    return Scene((), GEOMETRY, masks)


def outputs(**tensors: NDArray[np.float32]) -> Scene:
    return Scene((), GEOMETRY, tensors=tensors)


pixels = st.floats(0, WIDTH, width=32)
lanes = st.builds(
    lambda top, height, x: Lane(np.stack([x, np.linspace(top, top + height, len(x))], axis=1).astype(np.float32)),
    st.floats(0, HEIGHT),
    st.floats(1, HEIGHT),
    st.lists(pixels, min_size=2, max_size=6),
)
scenes = st.lists(lanes, max_size=5).map(lambda some: scene(*some))
masks = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).random((24, 32)) < seed / 2**32)


@given(scenes)
def test_equal_lanes_cost_nothing(one: Scene) -> None:
    assert lane_distortion(one, replace(one)) == pytest.approx(0, abs=1e-9)


@given(scenes, scenes)
def test_lanes_are_compared_alike_both_ways(one: Scene, two: Scene) -> None:
    assert lane_distortion(one, two) == pytest.approx(lane_distortion(two, one), abs=1e-9)


@given(scenes, scenes)
def test_a_frame_costs_at_most_a_lane_width_per_point_of_either_scene(one: Scene, two: Scene) -> None:
    assert 0 <= lane_distortion(one, two) <= 2 * GAMMA + 1e-9


@given(st.lists(st.sampled_from(range(100, 1500, 100)), min_size=1, max_size=6, unique=True), st.floats(0, 100))
def test_a_common_shift_costs_itself_up_to_a_lane_width(places: list[int], shift: float) -> None:
    one = scene(*(upright(x) for x in places))
    two = scene(*(upright(x + shift / 2) for x in places))
    assert lane_distortion(one, two) == pytest.approx(min(shift / 2, GAMMA), abs=1e-3)


@given(st.integers(1, 6), st.data())
def test_every_lane_that_is_lost_or_invented_costs_more(count: int, data: st.DataObject) -> None:
    full = [upright(150.0 * index) for index in range(count)]
    left = data.draw(st.integers(0, count))
    lost = lane_distortion(scene(*full), scene(*full[:left]))
    assert lost == pytest.approx(GAMMA * (count - left) / count)
    assert lane_distortion(scene(*full[:left]), scene(*full)) == pytest.approx(lost)


@given(scenes, pixels, st.floats(0.1, 100))
def test_one_lane_that_moved_among_others_never_costs_nothing(others: Scene, x: float, shift: float) -> None:
    one, two = (scene(*others.lanes, upright(place)) for place in (x, x + shift))
    assert lane_distortion(one, two) > 0


def test_a_lane_that_vanished_costs_as_much_as_one_shifted_by_a_lane_width() -> None:
    both, shifted = scene(upright(400), upright(900)), scene(upright(400), upright(900 + GAMMA))
    assert lane_distortion(both, scene(upright(400))) == pytest.approx(lane_distortion(both, shifted))


def test_scenes_without_lanes_are_equal() -> None:
    assert lane_distortion(scene(), scene()) == 0


def test_losing_every_lane_costs_a_lane_width() -> None:
    assert lane_distortion(scene(upright(300)), scene()) == pytest.approx(GAMMA)
    assert lane_distortion(scene(), scene(upright(300))) == pytest.approx(GAMMA)


def test_a_shorter_lane_costs_by_the_share_that_is_missing() -> None:
    half = scene(upright(300, bottom=HEIGHT / 2))
    assert lane_distortion(scene(upright(300)), half) == pytest.approx(GAMMA / 2)


def test_one_wild_point_costs_at_most_a_lane_width() -> None:
    rows = (np.arange(ROWS) + 0.5) * HEIGHT / ROWS
    x = np.full(ROWS, 500.0)
    straight = Lane(np.stack([x, rows], axis=1).astype(np.float32))
    x[100] = 1600
    wild = Lane(np.stack([x, rows], axis=1).astype(np.float32))
    # The rows beside it lie on the grid, so that interpolation spreads nothing.
    assert lane_distortion(scene(straight), scene(wild)) == pytest.approx(GAMMA / ROWS, rel=1e-3)


def test_lanes_are_matched_for_the_least_sum_and_not_in_their_order() -> None:
    one, two = scene(upright(100), upright(120)), scene(upright(118), upright(140))
    # In order: 18 and 20. The nearest pair first would take 120 with 118, and pay the cap for the rest.
    assert lane_distortion(one, two) == pytest.approx(min(18 + 20, 2 + 30) / 2)


def test_the_lane_width_goes_with_the_frame() -> None:
    narrow = Scene((upright(300),), replace(GEOMETRY, frame_size=(HEIGHT, WIDTH // 2)))
    assert lane_width(narrow) == pytest.approx(GAMMA / 2)
    assert lane_distortion(narrow, replace(narrow, lanes=())) == pytest.approx(GAMMA / 2)


@given(masks, masks)
def test_masks_are_compared_alike_both_ways_and_cost_nothing_only_where_equal(
    one: NDArray[np.bool_], two: NDArray[np.bool_]
) -> None:
    cost = mask_distortion(masked(lane=one), masked(lane=two))
    assert cost == mask_distortion(masked(lane=two), masked(lane=one))
    assert (cost == 0) == bool((one == two).all())
    assert cost <= GAMMA


@pytest.mark.parametrize("shift", range(9))
def test_a_line_in_a_mask_costs_its_shift_up_to_its_width(shift: int) -> None:
    mask = np.zeros((100, 200), bool)
    mask[:, 60:66] = True
    moved = mask_distortion(masked(lane=mask), masked(lane=np.roll(mask, shift, axis=1)))
    assert moved == pytest.approx(2 * min(shift, 6))


def test_a_line_that_vanished_from_a_mask_costs_its_width() -> None:
    mask = np.zeros((100, 200), bool)
    mask[:, 60:66] = True
    assert mask_distortion(masked(lane=mask), masked(lane=np.zeros_like(mask))) == pytest.approx(12)


def test_the_edge_of_a_broad_area_costs_its_shift() -> None:
    area = np.zeros((100, 200), bool)
    area[60:] = True
    assert mask_distortion(masked(road=area), masked(road=np.roll(area, -3, axis=0) | area)) == pytest.approx(6)


def test_masks_are_measured_in_px_of_the_frame_where_the_input_is_squeezed() -> None:
    squeezed = replace(GEOMETRY, scale=(4.0, 1.5))
    upright_line = np.zeros((100, 200), bool)
    upright_line[:, 60:70] = True
    for line, axis, expected in ((upright_line, 1, 2 * 4.0), (upright_line.T, 0, 2 * 1.5)):
        one, two = (Scene((), squeezed, {"lane": mask}) for mask in (line, np.roll(line, 2, axis)))
        assert mask_distortion(one, two) == pytest.approx(expected)


def test_a_mask_that_fills_the_image_or_not_costs_a_lane_width() -> None:
    empty, full = np.zeros((10, 20), bool), np.ones((10, 20), bool)
    assert mask_distortion(masked(road=empty), masked(road=full)) == pytest.approx(GAMMA)
    assert mask_distortion(masked(road=full), masked(road=full)) == 0


def test_masks_are_averaged_over_labels() -> None:
    mask = np.zeros((100, 200), bool)
    mask[:, 60:66] = True
    moved = np.roll(mask, 2, axis=1)
    assert mask_distortion(masked(lane=mask, road=mask), masked(lane=moved, road=mask)) == pytest.approx(2)
    assert mask_distortion(masked(), masked()) == 0


@given(st.floats(1e-6, 1), st.floats(1e-3, 1e3))
def test_relative_noise_grows_with_the_noise_and_not_with_the_unit(noise: float, unit: float) -> None:
    values = np.ones((1, 8), np.float32) * np.float32(unit)
    shaken = values.copy()
    shaken[0, ::2] *= np.float32(1 + noise)
    shaken[0, 1::2] *= np.float32(1 - noise)
    cost = relative_noise(outputs(out=values), outputs(out=shaken))
    assert cost == pytest.approx(noise / np.sqrt(1 + noise**2 / 2), rel=1e-3, abs=1e-6)
    assert cost == pytest.approx(relative_noise(outputs(out=shaken), outputs(out=values)))


def test_every_output_counts_the_same_in_relative_noise() -> None:
    small, great = np.ones((1, 4), np.float32), np.full((1, 400), 1000, np.float32)
    one = outputs(small=small, great=great)
    assert relative_noise(one, outputs(small=-small, great=great)) == pytest.approx(1)
    assert relative_noise(one, one) == 0
    assert relative_noise(outputs(out=small * 0), outputs(out=small * 0)) == 0


def test_scenes_that_show_other_things_have_no_distance() -> None:
    mask, tensor = np.zeros((4, 4), bool), np.zeros((1, 4), np.float32)
    with pytest.raises(ArtifactError, match="do not show the same"):
        mask_distortion(masked(lane=mask), masked(road=mask))
    with pytest.raises(ArtifactError, match="do not show the same"):
        relative_noise(outputs(out=tensor), outputs(out=tensor[:, :2]))


def test_the_mean_counts_every_frame_alike_and_wants_one() -> None:
    pairs = [(scene(upright(100)), scene(upright(100))), (scene(upright(100)), scene(upright(110)))]
    assert mean_distortion(lane_distortion, pairs) == pytest.approx(5)
    with pytest.raises(DataError, match="no frame"):
        mean_distortion(lane_distortion, [])


def test_every_family_has_a_distortion() -> None:
    assert set(DISTORTIONS) == set(TASKS)
    for name in shipped_names("calib"):
        assert callable(distortion_for(load_recipe(name)))


def test_a_task_of_ones_own_brings_its_own_distortion() -> None:
    class LostLanes:
        def __call__(self, reference: Scene, candidate: Scene) -> float:
            return float(abs(len(reference.lanes) - len(candidate.lanes)))

    own: Distortion = LostLanes()
    assert mean_distortion(own, [(scene(upright(1), upright(2)), scene())]) == 2
