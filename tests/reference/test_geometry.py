from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.reference.geometry import Camera, Road, View

CAMERA = Camera(size=(360, 640), focal=500.0, center=(320.0, 180.0), height=1.4, pitch=0.03)
FLAT = Road(yaw=0.0, curvature=0.0, clothoid=0.0, hill=0.0, hill_length=200.0)


def test_a_level_camera_sees_the_road_at_focal_times_height_over_distance() -> None:
    level = replace(CAMERA, pitch=0.0)
    np.testing.assert_allclose(
        level.project(np.array([[2.0, 0.0, 20.0]])), [[320 + 500 * 2 / 20, 180 + 500 * 1.4 / 20]], rtol=1e-12
    )


def test_a_flat_road_ends_at_the_horizon() -> None:
    far = CAMERA.project(FLAT.place(0.0, [1e7]))
    assert far[0, 1] == pytest.approx(CAMERA.horizon, abs=1e-3)


def test_the_path_is_the_series_of_a_clothoid() -> None:
    road = Road(yaw=0.01, curvature=1 / 500, clothoid=1e-5, hill=0.0, hill_length=200.0)
    heading = np.gradient(road.lateral(np.arange(0, 50, 0.01)), 0.01)
    np.testing.assert_allclose(np.gradient(heading, 0.01)[100:-100], 1 / 500 + 1e-5 * np.arange(1, 49, 0.01), atol=1e-6)


@given(
    offset=st.floats(-6, 6),
    curvature=st.floats(-1 / 150, 1 / 150),
    hill=st.floats(-2, 2),
    pitch=st.floats(-0.02, 0.08),
)
def test_columns_are_where_the_camera_projects_the_line(
    offset: float, curvature: float, hill: float, pitch: float
) -> None:
    view = View.of(replace(CAMERA, pitch=pitch), replace(FLAT, curvature=curvature, hill=hill))
    near = view.z < 60
    projected = view.project(offset, view.z[near])
    np.testing.assert_allclose(view.columns(offset)[near], projected[:, 0], atol=1e-6)
    rows = np.arange(view.top, CAMERA.size[0])[near]
    np.testing.assert_allclose(projected[:, 1], rows, atol=0.05)


def test_the_offset_of_a_pixel_on_a_line_is_that_of_the_line() -> None:
    view = View.of(CAMERA, replace(FLAT, curvature=1 / 400))
    column = view.columns(1.8)[-40]
    across = np.interp(column, np.arange(640), view.offsets()[-40])
    assert across == pytest.approx(1.8, abs=1e-4)


def test_what_lies_behind_a_crest_is_hidden() -> None:
    view = View.of(replace(CAMERA, pitch=0.0), replace(FLAT, hill=4.0, hill_length=60.0))
    assert np.all(np.diff(view.z) < 0)
    # From 1.4 m up, the far slope of a crest 4 m high and 30 m ahead is out of sight, and so is what follows.
    assert not np.any((view.z > 35) & (view.z < 80))
