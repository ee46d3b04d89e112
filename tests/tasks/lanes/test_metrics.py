from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from edgekit.errors import DataError
from edgekit.tasks import Lane
from edgekit.tasks.lanes.metrics import compare_lanes, lane_iou, lateral_shift, read_lines, recall

FRAME = (590, 1640)


def lane(*points: tuple[float, float]) -> Lane:
    return Lane(np.array(points, np.float32))


def random_lanes(random: np.random.Generator, count: int, frame_size: tuple[int, int]) -> list[Lane]:
    """Bent lines, some of them partly or wholly beside the frame."""
    height, width = frame_size
    lanes = []
    for _ in range(count):
        y = np.sort(random.uniform(-0.1 * height, 1.1 * height, random.integers(2, 12)))
        x = random.uniform(-0.3, 1.3) * width + random.normal(0, 0.05 * width, len(y)).cumsum()
        lanes.append(Lane(np.stack([x, y], axis=1).astype(np.float32)))
    return lanes


def naive_iou(reference: list[Lane], candidate: list[Lane], frame_size: tuple[int, int]) -> np.ndarray:
    """Every lane on a mask of the whole frame."""

    def draw(drawn: Lane) -> np.ndarray:
        canvas = np.zeros(frame_size, np.uint8)
        cv2.polylines(canvas, [np.rint(drawn.points).astype(np.int32)], isClosed=False, color=1, thickness=30)
        return canvas.astype(bool)

    result = np.zeros((len(reference), len(candidate)))
    for i, one in enumerate(map(draw, reference)):
        for j, two in enumerate(map(draw, candidate)):
            result[i, j] = (one & two).sum() / max((one | two).sum(), 1)
    return result


@given(seed=st.integers(0, 10_000), size=st.sampled_from([(295, 410), (90, 700), (720, 100)]), count=st.integers(0, 4))
def test_overlaps_are_exactly_those_on_the_whole_frame(seed: int, size: tuple[int, int], count: int) -> None:
    random = np.random.default_rng(seed)
    reference = random_lanes(random, count, size)
    # Half of the candidates lie near a lane of the reference, so that lines do overlap.
    near = [Lane(one.points + np.float32(random.normal(0, 6))) for one in reference[: count // 2 + 1]]
    candidate = near + random_lanes(random, count // 2, size)
    np.testing.assert_array_equal(lane_iou(reference, candidate, size), naive_iou(reference, candidate, size))


@given(seed=st.integers(0, 10_000))
def test_lanes_are_matched_as_culane_matches_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    reference = random_lanes(random, 4, (295, 410))
    candidate = [Lane(one.points + np.float32(random.normal(0, 8))) for one in reference]
    overlap = naive_iou(reference, candidate, (295, 410))
    expected = int((overlap[linear_sum_assignment(overlap, maximize=True)] > 0.5).sum())
    agreement = compare_lanes(reference, candidate, (295, 410))
    assert (agreement.matched, agreement.reference_lanes, agreement.candidate_lanes) == (expected, 4, 4)


def test_equal_lanes_agree_fully() -> None:
    lanes = [lane((700, 250), (400, 590)), lane((850, 250), (1200, 590))]
    agreement = compare_lanes(lanes, lanes[::-1], FRAME)
    assert (agreement.f1, agreement.lateral_px, agreement.frames) == (1.0, 0.0, 1)
    assert agreement.shift_rows == 2 * 340


@pytest.mark.parametrize(("shift", "matched"), [(9, 1), (11, 0)])
def test_a_straight_lane_counts_up_to_a_third_of_its_width(shift: int, matched: int) -> None:
    # Of two strips of width w, s apart, the overlap is (w - s) / (w + s): a half at s = w / 3.
    agreement = compare_lanes([lane((800, 0), (800, 589))], [lane((800 + shift, 0), (800 + shift, 589))], FRAME)
    assert agreement.matched == matched
    assert agreement.lateral_px == (shift if matched else None)


def test_the_width_and_the_overlap_asked_for_are_used() -> None:
    one, two = [lane((800, 0), (800, 589))], [lane((820, 0), (820, 589))]
    assert compare_lanes(one, two, FRAME).matched == 0
    assert compare_lanes(one, two, FRAME, width_px=80).matched == 1
    assert compare_lanes(one, two, FRAME, min_iou=0.1).matched == 1


def test_one_lane_matches_one_lane_only() -> None:
    twins = [lane((800, 0), (800, 589)), lane((802, 0), (802, 589))]
    agreement = compare_lanes(twins[:1], twins, FRAME)
    assert (agreement.matched, agreement.f1) == (1, 2 / 3)
    assert agreement.lateral_px == 0.0


def test_lanes_without_an_extent_or_beside_the_frame_match_nothing() -> None:
    odd = [lane((800, 300)), Lane(np.zeros((0, 2), np.float32)), lane((-900, 0), (-900, 589))]
    agreement = compare_lanes(odd, odd, FRAME)
    assert (agreement.matched, agreement.reference_lanes) == (0, 3)


def test_the_shift_is_taken_over_the_rows_that_both_cross() -> None:
    one = lane((100, 10), (100, 200))
    two = lane((103, 150.5), (105, 160.5), (105, 400))
    shift, rows = lateral_shift(one, two, 590)
    assert rows == 50  # 151 to 200
    assert shift == pytest.approx(sum(3 + min((y - 150.5) / 5, 2) for y in range(151, 201)))


def test_rows_beside_the_frame_do_not_count() -> None:
    one, two = lane((100, -50), (100, 900)), lane((101, -60), (101, 700))
    assert lateral_shift(one, two, 590) == (590.0, 590)


def test_lanes_that_share_no_row_have_no_shift() -> None:
    assert lateral_shift(lane((0, 0), (0, 10)), lane((0, 20), (0, 30)), 590) == (0.0, 0)


def test_recall_forgives_lanes_beside_the_labelled_ones() -> None:
    labels = [lane((700, 250), (400, 590)), lane((850, 250), (1200, 590))]
    others = [lane((900, 250), (1600, 400)), *labels[:1], lane((600, 250), (10, 400))]
    assert recall(labels, others, FRAME) == (1, 2)
    assert recall([], others, FRAME) == (0, 0)


def test_label_files_are_read_from_top_to_bottom(tmp_path: Path) -> None:
    file = tmp_path / "a.lines.txt"
    file.write_text("376.484 590.0 387.21 580.0 398.677 570.0 \n\n1.5 20 3 10\n")
    first, second = read_lines(file)
    np.testing.assert_allclose(first.points, [[398.677, 570], [387.21, 580], [376.484, 590]])
    np.testing.assert_allclose(second.points, [[3, 10], [1.5, 20]])
    assert first.points.dtype == np.float32


def test_an_empty_label_file_holds_no_lane(tmp_path: Path) -> None:
    file = tmp_path / "a.lines.txt"
    file.write_text("")
    assert read_lines(file) == []


@pytest.mark.parametrize("text", ["1 2 3", "1 two"])
def test_a_damaged_label_file_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.lines.txt"
    file.write_text(text)
    with pytest.raises(DataError, match=r"a\.lines\.txt"):
        read_lines(file)


def test_a_missing_label_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.lines\.txt"):
        read_lines(tmp_path / "b.lines.txt")
