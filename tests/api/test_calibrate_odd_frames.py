"""Frames of other sizes than the network's input, of several sizes, and one that the network cannot take."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

import edgekit
from edgekit.errors import ArtifactError, EdgekitError, GateError, ModelError
from edgekit.reference.road import RoadFrames
from tests.graph.models import NetBuilder

STEPS = """
[[step]]
step = "observe"
frames = {observed}

[[step]]
step = "scale"
activations = "min-max"

[[step]]
step = "{last}"
"""


def calibrated(out: Path, frames: Path) -> dict[str, dict[str, float]]:
    """Calibrate the built-in network; returns the figures of each frame, whatever the gates say."""
    recipe = out.with_suffix(".toml")
    recipe.write_text('extends = "reference-lane"\nname = "nearest"\n[preprocessing]\ninterpolation = "nearest"\n')
    with pytest.raises(GateError):
        edgekit.calibrate(data=frames, recipe=recipe, out=out, max_lateral=1e-6, effort="quick")
    calibration = edgekit.Calibration.open(out)
    assert {golden.frame_size for golden in calibration.golden()} <= {(360, 640), (720, 1280), (180, 900)}
    per_frame: dict[str, dict[str, float]] = calibration.report["agreement"]["per_frame"]
    return per_frame


def test_the_distortion_is_in_px_of_each_frame_where_sizes_are_mixed(tmp_path: Path) -> None:
    """A frame of which every pixel is doubled gives the same input, and every shift in it is twice as many px."""
    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(RoadFrames(0, 3)):
        doubled = frame.values.repeat(2, axis=0).repeat(2, axis=1)
        cv2.imwrite(str(tmp_path / "frames" / f"{index}-large.png"), doubled)
        cv2.imwrite(str(tmp_path / "frames" / f"{index}-small.png"), frame.values)
    figures = calibrated(tmp_path / "out", tmp_path / "frames")
    assert len(figures) == 6
    for index in range(3):
        large, small = figures[f"{index}-large.png"], figures[f"{index}-small.png"]
        assert small["distortion"] > 0
        assert large["distortion"] == pytest.approx(2 * small["distortion"], rel=1e-5)
        assert large["lateral_px"] == pytest.approx(2 * small["lateral_px"], rel=0.02)


def test_frames_of_another_shape_are_taken(tmp_path: Path) -> None:
    frames = np.stack([frame.values for frame in RoadFrames(0, 4, (180, 900))])
    np.savez(tmp_path / "frames.npz", frames=frames)
    figures = calibrated(tmp_path / "out", tmp_path / "frames.npz")
    assert all(0 <= one["distortion"] <= 2 * 30 / 1640 * 900 for one in figures.values())


def dividing_net() -> onnx.ModelProto:
    """A convolution of the image over its mean: 0 / 0 on a black frame, and sound on any other."""
    net = NetBuilder()
    mean = net.node("ReduceMean", ["image"], "brightness", axes=[1, 2, 3])
    even = net.node("Div", ["image", mean], "even")
    hidden = net.node("Relu", [net.conv(even, (3, 8), "first")], "hidden")
    return net.model(net.conv(hidden, (8, 2), "scores", kernel=1))


def frames_with_a_black_one(folder: Path, at: int, count: int) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(count):
        pixels = random.integers(1, 256, (16, 16, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{index:02d}.png"), np.zeros_like(pixels) if index == at else pixels)
    return folder


def refused(folder: Path, *, at: int, count: int, observed: int = 256, last: str = "select") -> EdgekitError:
    recipe = folder / "net.toml"
    recipe.write_text('extends = "generic"\nname = "net"\n' + STEPS.format(observed=observed, last=last))
    onnx.save(dividing_net(), folder / "net.onnx")
    frames = frames_with_a_black_one(folder / "frames", at, count)
    with pytest.raises(EdgekitError) as caught:
        edgekit.calibrate(folder / "net.onnx", frames, recipe=recipe, out=folder / "out", effort="standard")
    assert not (folder / "out").exists()
    return caught.value


def test_nan_on_a_frame_that_is_observed_names_tensor_and_frame(tmp_path: Path) -> None:
    error = refused(tmp_path, at=2, count=6)
    assert isinstance(error, ModelError)
    assert "'even' is not finite" in error.problem
    assert "768 NaN or infinite values on 02.png" in error.found
    assert "leave it out" in error.fix


@pytest.mark.parametrize("last", ["select", "reconstruct"])
def test_nan_on_a_frame_that_only_a_later_step_sees_names_it_too(tmp_path: Path, last: str) -> None:
    """Observed are 00.png and 03.png alone."""
    error = refused(tmp_path, at=2, count=6, observed=2, last=last)
    assert "not finite" in error.problem
    assert "02.png" in error.found
    assert "Leave" in error.fix


def test_nan_on_a_frame_that_only_the_check_sees_names_it_too(tmp_path: Path) -> None:
    """Of 8 frames, 03.png and 07.png are held out."""
    error = refused(tmp_path, at=3, count=8)
    assert isinstance(error, ArtifactError)
    assert "'scores' is not finite" in error.problem
    assert "02.png" not in error.found
    assert "on the frame 03.png" in error.found


def test_a_network_that_random_numbers_break_is_no_fault_of_cleaning(tmp_path: Path) -> None:
    """The square root of a negative number is NaN before and after cleaning; frames are not negative."""
    net = NetBuilder()
    root = net.node("Sqrt", ["image"], "root")
    onnx.save(net.model(net.conv(root, (3, 4), "out")), tmp_path / "net.onnx")
    frames = frames_with_a_black_one(tmp_path / "frames", -1, 4)
    result = edgekit.calibrate(tmp_path / "net.onnx", frames, recipe="generic", out=tmp_path / "out", effort="quick")
    assert result.report["model"]["largest_difference"] == 0.0
    assert result.report["agreement"]["figures"]["sqnr_db"] > 20
