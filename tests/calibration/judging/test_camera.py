"""A shift in px becomes centimetres on the road, and projections there and back agree."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.calibration.judging.camera import (
    DISTANCES_M,
    GroundShift,
    distance_at,
    ground_shift,
    metres_per_px,
    row_at,
)
from edgekit.errors import UsageError
from edgekit.recipes import Camera, load_recipe
from edgekit.tasks.base import FrameGeometry, Lane, Scene

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

SIZE = (720, 1280)
GEOMETRY = FrameGeometry(SIZE, (360, 640), (2.0, 2.0), (0.0, 0.0))

cameras = st.builds(
    Camera,
    focal_px=st.floats(200, 4000),
    height_m=st.floats(0.5, 4),
    pitch_deg=st.floats(-10, 10),
    principal_point=st.none() | st.tuples(st.floats(500, 800), st.floats(200, 500)),
)


def on_the_road(camera: Camera, lateral_m: float) -> Lane:
    """Project a line that runs straight ahead, 4 to 200 m away, by turning and projecting its points."""
    pitch, center = math.radians(camera.pitch_deg), camera.principal_point or (SIZE[1] / 2, SIZE[0] / 2)
    forward = np.geomspace(200, 4, 4000)
    depth = forward * math.cos(pitch) + camera.height_m * math.sin(pitch)
    below = camera.height_m * math.cos(pitch) - forward * math.sin(pitch)
    x = center[0] + camera.focal_px * lateral_m / depth
    y = center[1] + camera.focal_px * below / depth
    return Lane(np.stack([x, y], axis=1).astype(np.float32))


@given(cameras, st.floats(4, 200))
def test_a_distance_is_found_again_in_its_row(camera: Camera, distance: float) -> None:
    assert distance_at(camera, row_at(camera, distance, SIZE), SIZE) == pytest.approx(distance, rel=1e-6)


@given(cameras, st.floats(5, 100), st.floats(1.01, 3))
def test_what_is_farther_lies_higher_and_is_smaller(camera: Camera, distance: float, factor: float) -> None:
    assert row_at(camera, distance * factor, SIZE) < row_at(camera, distance, SIZE)
    assert metres_per_px(camera, distance * factor) > metres_per_px(camera, distance)


@given(cameras, st.floats(5, 100))
def test_a_metre_on_the_road_is_as_wide_as_it_is_projected(camera: Camera, distance: float) -> None:
    row = row_at(camera, distance, SIZE)
    left, right = (np.interp(row, *on_the_road(camera, x).points.T[::-1]) for x in (0, 1))
    assert (right - left) * metres_per_px(camera, distance) == pytest.approx(1, rel=2e-3)


@given(cameras)
def test_the_horizon_is_infinitely_far(camera: Camera) -> None:
    center = camera.principal_point or (SIZE[1] / 2, SIZE[0] / 2)
    horizon = center[1] - camera.focal_px * math.tan(math.radians(camera.pitch_deg))
    assert distance_at(camera, horizon - 1, SIZE) == math.inf
    assert row_at(camera, 1e9, SIZE) == pytest.approx(horizon, abs=1e-3)


def test_a_level_camera_sees_by_the_rule_of_three() -> None:
    camera = Camera(focal_px=1000, height_m=1.5)
    assert row_at(camera, 30, SIZE) == pytest.approx(360 + 1000 * 1.5 / 30)
    assert metres_per_px(camera, 30) == pytest.approx(0.03)


@pytest.mark.parametrize("pitch", [-2.0, 0.0, 3.0])
def test_lanes_that_lie_ten_centimetres_apart_on_the_road_do_so_at_every_distance(pitch: float) -> None:
    camera = Camera(focal_px=1400, height_m=1.4, pitch_deg=pitch)
    one, two = (Scene(tuple(on_the_road(camera, x + moved) for x in (-1.8, 1.8)), GEOMETRY) for moved in (0, 0.1))
    found = ground_shift(camera, one, two)
    assert tuple(found) == DISTANCES_M
    for shift in found.values():
        assert shift.lanes == 2
        assert shift.mean_cm == pytest.approx(10, rel=0.02)


def test_a_distance_that_the_frame_or_the_lanes_do_not_reach_has_no_shift() -> None:
    camera = Camera(focal_px=1400, height_m=1.4)
    road = Scene((on_the_road(camera, -1.8), on_the_road(camera, 1.8)), GEOMETRY)
    found = ground_shift(camera, road, road, (5.0, 10.0, 500.0))
    # Five metres ahead lies below the frame, though the lanes reach there.
    assert found[5.0].mean_cm is None
    assert found[10.0] == GroundShift(0.0, 2)
    assert found[500.0].mean_cm is None


def test_lanes_that_are_not_the_same_are_not_compared() -> None:
    camera = Camera(focal_px=1400, height_m=1.4)
    one = Scene((on_the_road(camera, -1.8),), GEOMETRY)
    assert ground_shift(camera, one, Scene((on_the_road(camera, 1.8),), GEOMETRY))[10.0].lanes == 0
    assert ground_shift(camera, one, Scene((), GEOMETRY))[10.0].mean_cm is None


def test_shifts_of_frames_add_up() -> None:
    total = GroundShift(10.0, 2) + GroundShift(2.0, 1)
    assert total.mean_cm == pytest.approx(4)


def test_a_recipe_may_carry_a_camera_and_need_not(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "lane-curve"\n[camera]\nfocal_px = 1400\nheight_m = 1.4\nprincipal_point = [640, 350]\n')
    camera = load_recipe(str(path)).camera
    assert camera == Camera(focal_px=1400, height_m=1.4, pitch_deg=0, principal_point=(640, 350))
    assert load_recipe("lane-curve").camera is None


@pytest.mark.parametrize("line", ["focal_px = 0\nheight_m = 1.4", "focal_px = 1400", "focal_px = 9\nheight = 1"])
def test_a_camera_that_cannot_be_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "lane-curve"\n[camera]\n{line}\n')
    with pytest.raises(UsageError, match=r"camera\."):
        load_recipe(str(path))
