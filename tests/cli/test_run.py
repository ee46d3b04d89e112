from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgekit
from edgekit.reference.road import RoadFrames

from .conftest import Edgekit


@pytest.fixture(scope="module")
def lane_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in lane model, compiled for this machine."""
    folder = tmp_path_factory.mktemp("lane")
    calibration = edgekit.calibrate(data=RoadFrames(0, 12), target="host", out=folder / "lane", effort="quick")
    return edgekit.compile(calibration, out=folder / "lane.edge", tune=False).path


def test_every_frame_is_a_row(in_process: Edgekit, bundle: Path, frames: Path) -> None:
    done = in_process("run", bundle, "--data", frames)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["frame", *(f"{i:03d}.jpg" for i in range(24))]


def test_the_built_in_model_finds_lanes_on_generated_roads(in_process: Edgekit, lane_bundle: Path) -> None:
    told = json.loads(in_process("run", lane_bundle, "--limit", "6", "--json").stdout)
    assert (told["schema_version"], len(told["frames"])) == (1, 6)
    lanes = [lane for frame in told["frames"] for lane in frame["lanes"]]
    assert len(lanes) >= 6
    height, width = told["frames"][0]["size"]
    points = np.concatenate([lane["points"] for lane in lanes])
    assert points.shape[1] == 2
    assert (points >= 0).all()
    assert (points < [width, height]).all()


def test_a_folder_gets_a_picture_for_every_frame(
    in_process: Edgekit, lane_bundle: Path, frames: Path, tmp_path: Path
) -> None:
    done = in_process("run", lane_bundle, "--data", frames, "-o", "overlay", "--limit", "3")
    assert done.returncode == 0, done.stderr
    drawn = sorted((tmp_path / "overlay").glob("*.jpg"))
    assert [path.name for path in drawn] == ["000.jpg", "001.jpg", "002.jpg"]
    picture, frame = cv2.imread(str(drawn[0])), cv2.imread(str(frames / "000.jpg"))
    assert picture.shape == frame.shape
    assert np.abs(picture.astype(int) - frame).max() > 50


def test_an_mp4_gets_every_frame_at_the_rate_of_the_source(
    in_process: Edgekit, bundle: Path, frames: Path, tmp_path: Path
) -> None:
    assert in_process("run", bundle, "--data", frames, "-o", "first.mp4", "--limit", "7").returncode == 0
    first = cv2.VideoCapture(str(tmp_path / "first.mp4"))
    assert (first.get(cv2.CAP_PROP_FRAME_COUNT), first.get(cv2.CAP_PROP_FPS)) == (7, 10)
    source = cv2.VideoWriter(str(tmp_path / "source.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (64, 48))
    for path in sorted(frames.iterdir())[:5]:
        source.write(cv2.imread(str(path)))
    source.release()
    assert in_process("run", bundle, "--data", "source.mp4", "-o", "second.mp4").returncode == 0
    second = cv2.VideoCapture(str(tmp_path / "second.mp4"))
    assert (second.get(cv2.CAP_PROP_FRAME_COUNT), second.get(cv2.CAP_PROP_FPS)) == (5, 25)


def test_a_video_of_frames_of_two_sizes_is_refused(
    in_process: Edgekit, bundle: Path, frames: Path, tmp_path: Path
) -> None:
    cv2.imwrite(str(frames / "001.jpg"), np.zeros((20, 20, 3), np.uint8))
    done = in_process("run", bundle, "--data", frames, "-o", "overlay.mp4")
    assert done.returncode == 2
    assert "001.jpg is 20 x 20 px, the first 64 x 48 px" in done.stderr
    assert list(tmp_path.glob("*.mp4")) == []
    assert in_process("run", bundle, "--data", frames, "-o", "overlay").returncode == 0


def test_frames_from_elsewhere_are_drawn_inside_the_folder(
    in_process: Edgekit, bundle: Path, frames: Path, tmp_path: Path
) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "list.txt").write_text(f"../frames/000.jpg\n{frames / '001.jpg'}\n")
    before = sorted(tmp_path.rglob("*.jpg"))
    assert in_process("run", bundle, "--data", "lists/list.txt", "-o", "overlay").returncode == 0
    drawn = [path for path in sorted(tmp_path.rglob("*.jpg")) if path not in before]
    assert len(drawn) == 2
    assert all(path.is_relative_to(tmp_path / "overlay") for path in drawn)


def test_npz_frames_become_jpegs(in_process: Edgekit, bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "clip.npz", frames=np.zeros((2, 24, 32, 3), np.uint8))
    assert in_process("run", bundle, "--data", "clip.npz", "-o", "overlay").returncode == 0
    assert sorted(path.name for path in (tmp_path / "overlay").glob("*.jpg")) == ["clip.npz[0].jpg", "clip.npz[1].jpg"]


def test_an_unreadable_frame_is_named_and_left_out(in_process: Edgekit, bundle: Path, frames: Path) -> None:
    (frames / "005.jpg").write_bytes(b"no picture")
    done = in_process("run", bundle, "--data", frames, "--json")
    assert done.returncode == 0, done.stderr
    assert "warning: 005.jpg cannot be read" in done.stderr
    told = json.loads(done.stdout)
    assert told["skipped"] == ["005.jpg"]
    assert len(told["frames"]) == 23


@pytest.mark.parametrize("out", ["overlay", "overlay.mp4"])
def test_nothing_is_left_of_a_run_that_fails(
    in_process: Edgekit, bundle: Path, frames: Path, tmp_path: Path, out: str
) -> None:
    for path in sorted(frames.iterdir())[10:]:
        path.write_bytes(b"no picture")
    done = in_process("run", bundle, "--data", frames, "-o", f"results/{out}")
    assert done.returncode == 2
    assert "frames cannot be read" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("out", ["overlay", "overlay.mp4"])
def test_what_is_there_is_kept(in_process: Edgekit, bundle: Path, frames: Path, tmp_path: Path, out: str) -> None:
    (tmp_path / out).write_text("mine")
    done = in_process("run", bundle, "--data", frames, "-o", out)
    assert done.returncode == 2
    assert (tmp_path / out).read_text() == "mine"


def test_a_picture_is_not_a_place_for_many(in_process: Edgekit, bundle: Path, frames: Path) -> None:
    done = in_process("run", bundle, "--data", frames, "-o", "overlay.jpg")
    assert done.returncode == 2
    assert ".mp4" in done.stderr


def test_a_model_of_ones_own_needs_data(in_process: Edgekit, bundle: Path) -> None:
    done = in_process("run", bundle)
    assert done.returncode == 2
    assert "--data" in done.stderr
