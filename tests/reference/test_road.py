from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from edgekit.frames import Frame, FrameSource
from edgekit.reference.road import SLOTS, RoadFrame, RoadFrames, render

MANY = 40


@pytest.fixture(scope="module")
def drive() -> list[RoadFrame]:
    return [render(11, index) for index in range(MANY)]


def test_the_same_frame_has_the_same_bytes_in_another_process() -> None:
    program = (
        "import hashlib; from edgekit.reference.road import render; "
        "print(hashlib.sha256(render(3, 4).pixels.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert hashlib.sha256(render(3, 4).pixels.tobytes()).hexdigest() == other


def test_seed_and_index_each_make_another_frame() -> None:
    frames = [render(3, 4), render(3, 5), render(4, 4)]
    assert len({frame.pixels.tobytes() for frame in frames}) == 3


def test_frames_are_pictures_with_two_to_four_lines(drive: list[RoadFrame]) -> None:
    counts = {len(frame.lanes) for frame in drive}
    assert counts <= {2, 3, 4}
    assert len(counts) == 3
    for frame in drive:
        assert frame.pixels.shape == (360, 640, 3)
        assert frame.pixels.dtype == np.uint8
        assert frame.pixels.std() > 5


def test_lines_run_from_top_to_bottom_inside_the_frame(drive: list[RoadFrame]) -> None:
    for frame in drive:
        for lane in frame.lanes:
            x, y = lane.points.T
            assert lane.points.dtype == np.float32
            assert np.all(np.diff(y) > 0)
            assert x.min() >= 0
            assert x.max() <= 639
            assert y.min() >= 0
            assert y.max() <= 359


def test_slots_count_from_the_camera(drive: list[RoadFrame]) -> None:
    for frame in drive:
        assert list(frame.slots) == sorted(set(frame.slots))
        assert set(frame.slots) <= set(range(len(SLOTS)))
        left = frame.lanes[frame.slots.index(1)].points
        right = frame.lanes[frame.slots.index(2)].points
        row = min(left[-1, 1], right[-1, 1])
        assert np.interp(row, left[:, 1], left[:, 0]) < np.interp(row, right[:, 1], right[:, 0])


def test_the_ground_truth_lies_on_the_paint(drive: list[RoadFrame]) -> None:
    """Paint is brighter than what is on both sides of it: most so exactly at the labels."""
    contrast = {shift: np.mean([_contrast(frame, shift) for frame in drive]) for shift in (-8, -4, 0, 4, 8)}
    assert max(contrast, key=lambda shift: contrast[shift]) == 0
    assert contrast[0] > 8


def _contrast(frame: RoadFrame, shift: int) -> float:
    """Return how much brighter the near part of all lines, moved by `shift` px, is than what is 14 px beside it."""
    grey = frame.pixels.astype(np.float64).max(axis=2)
    points = np.concatenate([lane.points for lane in frame.lanes])
    points = points[(points[:, 1] > 230) & (points[:, 0] > 24) & (points[:, 0] < 615)].round().astype(int)
    x, y = points[:, 0] + shift, points[:, 1]
    return float(np.mean(grey[y, x] - (grey[y, x - 14] + grey[y, x + 14]) / 2))


def test_a_larger_frame_shows_the_same_scene() -> None:
    small, large = render(5, 6), render(5, 6, size=(720, 1280))
    assert large.pixels.shape == (720, 1280, 3)
    assert small.slots == large.slots
    for one, two in zip(small.lanes, large.lanes, strict=True):
        rows = np.linspace(one.points[5, 1], one.points[-5, 1], 20)
        x = np.interp(rows * 2, two.points[:, 1], two.points[:, 0]) / 2
        np.testing.assert_allclose(x, np.interp(rows, one.points[:, 1], one.points[:, 0]), atol=0.5)


def test_road_frames_come_in_order_again_and_again() -> None:
    frames = RoadFrames(seed=2, count=3)
    names = [frame.name for frame in frames]
    assert names == [frame.name for frame in frames] == ["road-2-00000", "road-2-00001", "road-2-00002"]
    assert len(frames) == 3
    assert frames.skipped == []
    np.testing.assert_array_equal(next(iter(frames)).values, render(2, 0).pixels)


def test_spread_takes_frames_from_the_whole_drive() -> None:
    chosen = RoadFrames(seed=2, count=100).spread(4)
    assert [frame.name for frame in chosen] == [f"road-2-{index:05d}" for index in (0, 25, 50, 75)]
    assert [frame.name for frame in chosen.spread(2)] == ["road-2-00000", "road-2-00050"]
    assert len(RoadFrames(seed=2, count=3).spread(10)) == 3


def test_split_holds_out_every_so_many_frames() -> None:
    rest, held_out = RoadFrames(seed=2, count=5).split(2)
    assert [frame.name for frame in rest] == ["road-2-00000", "road-2-00002", "road-2-00004"]
    assert [frame.name for frame in held_out] == ["road-2-00001", "road-2-00003"]


def test_they_stand_in_for_recorded_frames() -> None:
    source: FrameSource = RoadFrames(seed=2, count=1)
    assert isinstance(next(iter(source)), Frame)


def test_the_digest_tells_drives_apart() -> None:
    assert RoadFrames(2, 3).digest() == RoadFrames(2, 3).digest()
    others = [RoadFrames(2, 3), RoadFrames(3, 3), RoadFrames(2, 2), RoadFrames(2, 6).spread(3)]
    assert len({frames.digest() for frames in others}) == 4


def test_importing_the_generator_loads_no_opencv() -> None:
    program = "import sys, edgekit.reference.road; assert 'cv2' not in sys.modules, 'cv2 was imported'"
    subprocess.run([sys.executable, "-c", program], check=True)
