"""Public networks on road frames: decoded lanes must lie where people, or another network, see them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.frames import Frames
from edgekit.tasks import Agreement
from edgekit.tasks.lanes.metrics import compare_lanes, read_lines, recall

if TYPE_CHECKING:
    from conftest import RealModel


def test_lstr_finds_the_labelled_ego_lanes_of_culane(shared_lanes: Path, lstr: RealModel) -> None:
    folder = shared_lanes / "frames" / "culane"
    found = labelled = 0
    for frame in Frames.open(folder).spread(25):
        labels = read_lines((folder / frame.name).with_suffix(".lines.txt"))
        counted = recall(labels, lstr.scene(frame.values).lanes, frame.values.shape[:2])
        found, labelled = found + counted[0], labelled + counted[1]
    assert labelled > 30
    # 152 of 166 over all hundred frames.
    assert found / labelled > 0.85


def test_quantlanenet_agrees_with_the_labels_of_tusimple(shared_lanes: Path, quantlanenet: RealModel) -> None:
    folder = shared_lanes / "frames" / "tusimple"
    total = Agreement()
    for frame in Frames.open(folder):
        labels = read_lines((folder / frame.name).with_suffix(".lines.txt"))
        total += compare_lanes(labels, quantlanenet.scene(frame.values).lanes, frame.values.shape[:2])
    assert total.f1 is not None
    assert total.f1 > 0.8
    assert total.lateral_px is not None
    assert total.lateral_px < 8


def test_quantlanenet_keeps_its_lanes_through_a_clip(shared_lanes: Path, quantlanenet: RealModel) -> None:
    frames = Frames.open(shared_lanes / "frames" / "tusimple-clip")
    scenes = [quantlanenet.scene(frame.values) for frame in frames]
    assert {len(scene.lanes) for scene in scenes} <= {3, 4}
    ego = [[lane for lane in scene.lanes if len(lane.points) > 15] for scene in scenes]
    assert np.mean([len(lanes) >= 2 for lanes in ego]) > 0.9


def test_pinet_and_twinlitenet_see_the_same_lanes(shared_lanes: Path, pinet: RealModel, twinlitenet: RealModel) -> None:
    total = Agreement()
    for frame in Frames.open(shared_lanes / "frames" / "us123").spread(12):
        lines = twinlitenet.scene(frame.values).lanes
        total += compare_lanes(lines, pinet.scene(frame.values).lanes, frame.values.shape[:2])
    # Two networks, two families, two crops of the frame: a decoder that were off would show here.
    assert total.f1 is not None
    assert total.f1 > 0.65
    assert total.lateral_px is not None
    assert total.lateral_px < 5


def test_twinlitenet_sees_a_drivable_road_below_the_horizon(shared_lanes: Path, twinlitenet: RealModel) -> None:
    for frame in Frames.open(shared_lanes / "frames" / "us123").spread(3):
        drivable = twinlitenet.scene(frame.values).masks["drivable"]
        assert drivable[: drivable.shape[0] // 3].mean() < 0.01
        assert drivable[2 * drivable.shape[0] // 3 :].mean() > 0.3
