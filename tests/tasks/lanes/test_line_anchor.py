from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.recipes import Head, load_recipe
from edgekit.tasks import FrameGeometry, task_for

RECIPE = load_recipe("lane-line-anchor")
SPLIT = RECIPE.model_copy(
    update={"heads": {"scores": Head(role="confidence"), "lines": Head(role="geometry", confidence="scores")}}
)
GEOMETRY = FrameGeometry((590, 1640), (360, 640), (1640 / 640, 590 / 360), (0.0, 0.0))
HEIGHT, WIDTH = GEOMETRY.input_size
ROWS = 72
Y = HEIGHT * (1 - np.arange(ROWS) / (ROWS - 1))


def proposal(x: np.ndarray | float, *, start: int = 0, length: int = ROWS, logit: float = 4.0) -> np.ndarray:
    """Write one line, x in input px at every row from the bottom, as LaneATT does."""
    values = np.zeros(5 + ROWS, np.float32)
    values[:5] = (-logit, logit, start / (ROWS - 1), 0.5, length)
    values[5:] = x
    return values


def decode(*proposals: np.ndarray) -> tuple:
    return task_for(RECIPE).decode({"proposals": np.stack(proposals)[None]}, GEOMETRY).lanes


@given(seed=st.integers(0, 10_000), start=st.integers(0, 40), length=st.integers(2, 32), noise=st.floats(-0.49, 0.49))
def test_a_lane_survives_encoding_and_decoding(seed: int, start: int, length: int, noise: float) -> None:
    x = np.random.default_rng(seed).uniform(0, WIDTH, ROWS)
    # Beside the input right below its start, so that it is not carried on downwards.
    x[max(0, start - 1) : start] = -5
    line = proposal(x, start=start, length=length)
    line[4] += noise
    (lane,) = decode(line)
    rows = slice(start, start + length)
    expected = np.stack([x[rows], Y[rows]], axis=1)[::-1] * (1640 / 640, 590 / 360)
    assert lane.points.dtype == np.float32
    np.testing.assert_allclose(lane.points, expected, atol=1e-2)


def test_two_heads_say_the_same_as_one() -> None:
    lines = np.stack([proposal(100 + 100 * i, start=i, length=30 + i, logit=3 - i) for i in range(5)])[None]
    one = task_for(RECIPE).decode({"proposals": lines}, GEOMETRY).lanes
    two = task_for(SPLIT).decode({"scores": lines[..., :2], "lines": lines[..., 2:]}, GEOMETRY).lanes
    assert len(one) == len(two) == 3
    for ours, theirs in zip(one, two, strict=True):
        np.testing.assert_array_equal(ours.points, theirs.points)
        assert ours.score == theirs.score


def test_the_score_is_the_probability_of_a_lane() -> None:
    (lane,) = decode(proposal(300, logit=1.0))
    assert np.isclose(lane.score, 1 / (1 + np.exp(-2)))


def test_an_even_score_is_no_lane() -> None:
    assert decode(proposal(300, logit=0.0)) == ()


def test_of_lines_too_near_the_best_is_kept() -> None:
    lanes = decode(proposal(300, logit=2.0), proposal(320, logit=3.0), proposal(349, logit=1.0), proposal(371, logit=1))
    assert [round(lane.points[0, 0] / 1640 * 640) for lane in lanes] == [320, 371]


def test_lines_at_just_the_distance_are_two() -> None:
    assert len(decode(proposal(300), proposal(350))) == 2
    assert len(decode(proposal(300), proposal(349.9))) == 1


def test_a_line_that_was_suppressed_suppresses_nothing() -> None:
    lanes = decode(proposal(300, logit=3), proposal(340, logit=2), proposal(380, logit=1))
    assert [round(lane.points[0, 0] / 1640 * 640) for lane in lanes] == [300, 380]


def test_only_the_rows_that_both_cover_count() -> None:
    left_above = np.where(np.arange(ROWS) < 36, 300.0, 0.0)
    right_above = np.where(np.arange(ROWS) < 36, 300.0, 600.0)
    assert len(decode(proposal(left_above), proposal(right_above))) == 2
    assert len(decode(proposal(left_above, length=36), proposal(right_above))) == 1
    assert len(decode(proposal(left_above, length=36), proposal(right_above, start=36, length=36))) == 2


def test_at_most_the_best_lanes_are_kept() -> None:
    lanes = decode(*(proposal(60 * i, logit=1 + i / 10) for i in range(10)))
    assert [round(lane.points[0, 0] / 1640 * 640) for lane in lanes] == [360, 420, 480, 540]


def test_a_lane_is_carried_on_below_its_start_until_it_leaves_the_input() -> None:
    x = np.linspace(-200, 500, ROWS)
    (lane,) = decode(proposal(x, start=50, length=10))
    inside = np.flatnonzero((x >= 0) & (np.arange(ROWS) < 60))
    np.testing.assert_allclose(lane.points[:, 1], Y[inside][::-1] * 590 / 360, atol=1e-3)


def test_a_lane_is_not_carried_on_over_a_gap() -> None:
    x = np.full(ROWS, 300.0)
    x[20] = 700
    (lane,) = decode(proposal(x, start=50, length=10))
    np.testing.assert_allclose(lane.points[:, 1], Y[21:60][::-1] * 590 / 360, atol=1e-3)


def test_a_lane_of_one_point_is_none() -> None:
    x = np.full(ROWS, -1.0)
    x[30] = 100
    assert decode(proposal(x)) == ()


@given(seed=st.integers(0, 10_000), count=st.integers(1, 30))
def test_suppression_keeps_what_a_plain_loop_keeps(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    x = random.uniform(0, WIDTH, (count, 1)) + random.normal(0, 10, (count, ROWS))
    start = random.integers(0, 40, count)
    length = random.integers(1, 60, count)
    logit = random.permutation(count) / count + 0.1
    best_first = np.argsort(-logit)
    kept: list[int] = []
    for one in best_first:
        rows = {
            two: range(max(start[one], start[two]), min(start[one] + length[one], start[two] + length[two], ROWS))
            for two in kept
        }
        near = [two for two in kept if len(rows[two]) and np.mean([abs(x[one, r] - x[two, r]) for r in rows[two]]) < 50]
        if not near:
            kept.append(int(one))
    lines = [proposal(x[i], start=start[i], length=length[i], logit=logit[i]) for i in range(count)]
    scene = task_for(RECIPE.model_copy(update={"decoder": RECIPE.decoder.model_copy(update={"max_lanes": 30})})).decode(
        {"proposals": np.stack(lines)[None]}, GEOMETRY
    )
    scores = {round(lane.score, 5) for lane in scene.lanes}
    long_enough = {round(float(1 / (1 + np.exp(-2 * np.float32(logit[i])))), 5) for i in kept}
    # A line whose points all lie beside the input is kept by the suppression and dropped after it.
    assert scores <= long_enough
    inside = [i for i in kept if length[i] > 3 and 100 < x[i].mean() < WIDTH - 100]
    assert {round(float(1 / (1 + np.exp(-2 * np.float32(logit[i])))), 5) for i in inside} <= scores
