from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.recipes import load_recipe
from edgekit.tasks import FrameGeometry, Scene, task_for

RECIPE = load_recipe("lane-curve")
GEOMETRY = FrameGeometry((590, 1640), (295, 820), (2.0, 2.0), (0.0, 0.0))
LANE, NONE = (0.0, 5.0, 0.0), (5.0, 0.0, 0.0)


def decode(*queries: tuple[tuple[float, ...], tuple[float, ...]], geometry: FrameGeometry = GEOMETRY) -> Scene:
    """Decode queries, each (logits, the eight parameters)."""
    logits = np.array([[query for query, _ in queries]], np.float32)
    curves = np.array([[curve for _, curve in queries]], np.float32)
    return task_for(RECIPE).decode({"logits": logits, "curves": curves}, geometry)


def straight(x: float, slope: float = 0.0, y0: float = 0.4, y1: float = 1.0) -> tuple[float, ...]:
    return (y0, y1, 0.0, 0.1, 0.0, x, slope, 0.0)


@given(
    y0=st.floats(0.3, 0.6),
    y1=st.floats(0.65, 1.0),
    k=st.floats(-0.001, 0.001),
    f=st.floats(0.0, 0.2),
    m=st.floats(-0.01, 0.01),
    n=st.floats(0.4, 0.6),
    b=st.floats(-0.1, 0.1),
    b_prime=st.floats(-0.05, 0.05),
    upside_down=st.booleans(),
)
def test_points_lie_on_the_curve_from_top_to_bottom(
    y0: float, y1: float, k: float, f: float, m: float, n: float, b: float, b_prime: float, upside_down: bool
) -> None:
    ends = (y1, y0) if upside_down else (y0, y1)
    (lane,) = decode((LANE, (*ends, k, f, m, n, b, b_prime))).lanes
    assert lane.points.dtype == np.float32
    assert lane.points.shape == (RECIPE.decoder.points, 2)
    x, y = lane.points.T / np.array([[1640.0], [590.0]])
    np.testing.assert_allclose(y, np.linspace(y0, y1, len(y)), atol=1e-5)
    np.testing.assert_allclose(x, k / (y - f) ** 2 + m / (y - f) + n + b * y - b_prime, atol=1e-4)


def test_only_queries_in_which_the_lane_class_wins_are_lanes() -> None:
    scene = decode((NONE, straight(0.2)), (LANE, straight(0.6)), ((1.0, 0.9, 1.1), straight(0.4)))
    assert [round(float(lane.points[0, 0])) for lane in scene.lanes] == [984]


def test_the_score_is_the_probability_of_the_lane_class() -> None:
    (lane,) = decode(((0.0, 1.0, 0.0), straight(0.5))).lanes
    assert np.isclose(lane.score, np.e / (np.e + 2))


def test_lanes_come_from_left_to_right() -> None:
    scene = decode(*((LANE, straight(x)) for x in (0.8, 0.1, 0.5)))
    assert [round(float(lane.points[-1, 0])) for lane in scene.lanes] == [164, 820, 1312]


def test_points_beside_the_input_are_dropped() -> None:
    (lane,) = decode((LANE, straight(0.0, slope=1.6))).lanes
    assert lane.points[:, 0].max() <= 1640
    assert np.isclose(lane.points[-1, 1] / 590, 1 / 1.6, atol=0.6 / 71)


def test_a_curve_that_stays_beside_the_input_is_no_lane() -> None:
    assert decode((LANE, straight(1.5))).lanes == ()


def test_a_curve_of_one_point_is_no_lane() -> None:
    # Only its upper end, at y = 0.5, lies on the left edge; everything below is beside the input.
    assert decode((LANE, (0.5, 1.0, 0.0, 0.1, 0.0, 0.5, -1.0, 0.0))).lanes == ()


def test_the_horizon_within_the_range_of_y_gives_no_wild_point() -> None:
    (lane,) = decode((LANE, (0.5, 1.0, 0.0, 0.5, 0.01, 0.5, 0.0, 0.0))).lanes
    assert np.isfinite(lane.points).all()
    assert len(lane.points) < RECIPE.decoder.points


def test_points_are_mapped_into_the_frame() -> None:
    moved = FrameGeometry((600, 1000), (200, 500), (2.0, 2.5), (0.0, 100.0))
    (lane,) = decode((LANE, straight(0.5)), geometry=moved).lanes
    np.testing.assert_allclose(lane.points[[0, -1]], [[500, 300], [500, 600]], atol=1e-3)
