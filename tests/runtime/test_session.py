from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.backends import backend_for
from edgekit.errors import DataError, UsageError
from edgekit.frames import Frames
from edgekit.recipes import load_recipe
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.runtime.session import Session, heads_of
from edgekit.tasks import task_for
from tests.backends import models


def generic_session() -> Session:
    recipe = load_recipe("generic")
    engine = backend_for("onnxruntime").load({"model.onnx": models.conv_relu()}, {}, 1)
    heads = heads_of(recipe, [spec.name for spec in engine.outputs])
    return Session(engine, "image", Preprocessor(recipe.preprocessing, models.SHAPE), heads, task_for(recipe))


@pytest.fixture(scope="module")
def frame(shared_lanes: Path) -> NDArray[np.uint8]:
    return next(iter(Frames.open(shared_lanes / "frames/tusimple-clip"))).values


@pytest.fixture(scope="module")
def lane_session(shared_lanes: Path) -> Session:
    recipe = load_recipe("lane-row-anchor")
    model = (shared_lanes / "models/quantlanenet-tusimple/model.onnx").read_bytes()
    engine = backend_for("onnxruntime").load({"model.onnx": model}, {}, 1)
    heads = heads_of(recipe, [spec.name for spec in engine.outputs])
    preprocessor = Preprocessor(recipe.preprocessing, (1, 3, 256, 512))
    return Session(engine, "image", preprocessor, heads, task_for(recipe))


def test_lanes_of_a_real_frame_lie_on_the_road(lane_session: Session, frame: NDArray[np.uint8]) -> None:
    lanes = lane_session(frame)
    height, width = frame.shape[:2]
    assert 2 <= len(lanes) <= 4
    bottoms = []
    for lane in lanes:
        assert (lane.points[:, 1] > height / 4).all()
        assert (lane.points[:, 1] < height).all()
        bottoms.append(lane.points[-1, 0])
    assert min(bottoms) < width / 2 < max(bottoms), "the car drives between two lanes"


def test_frames_of_any_size_show_the_same_lanes(lane_session: Session, frame: NDArray[np.uint8]) -> None:
    half = np.ascontiguousarray(frame.reshape(360, 2, 640, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8))
    small, large = lane_session(half), lane_session(frame)
    assert len(small) == len(large)
    for one, two in zip(small, large, strict=True):
        rows = np.intersect1d(np.round(one.points[:, 1] * 2), np.round(two.points[:, 1]))
        assert len(rows) > 5
        x = [
            np.interp(rows, lane.points[:, 1] * scale, lane.points[:, 0] * scale)
            for lane, scale in ((one, 2), (two, 1))
        ]
        assert np.median(np.abs(x[0] - x[1])) < 8


def test_a_call_is_its_parts_in_a_row(lane_session: Session, frame: NDArray[np.uint8]) -> None:
    outputs = lane_session.infer(lane_session.preprocessor(frame))
    by_hand = lane_session.decode(outputs, frame.shape[:2]).lanes
    for one, two, three in zip(by_hand, lane_session(frame), lane_session.scene(frame).lanes, strict=True):
        np.testing.assert_array_equal(one.points, two.points)
        np.testing.assert_array_equal(one.points, three.points)


@pytest.mark.parametrize("wrong", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), "frame.png"])
def test_what_is_no_frame_is_refused(wrong: NDArray[np.uint8]) -> None:
    with generic_session() as session, pytest.raises(DataError, match="uint8"):
        session(wrong)


def test_generic_session_keeps_the_tensors_and_has_no_lanes() -> None:
    with generic_session() as session:
        scene = session.scene(np.zeros((30, 40, 3), np.uint8))
        assert set(scene.tensors) == {"features", "copy", "anchors", "seen"}
        assert session(np.zeros((30, 40, 3), np.uint8)) == []


def test_closed_session_does_not_run() -> None:
    with generic_session() as session:
        pass
    with pytest.raises(UsageError, match="closed"):
        session.infer(models.sample())


class TestHeads:
    def test_every_head_finds_its_output(self) -> None:
        assert heads_of(load_recipe("lane-row-anchor"), ["offset", "cls", "vertical", "extra"]) == {
            "cls": "cls",
            "vertical": "vertical",
            "offset": "offset",
        }

    def test_renamed_output_is_found_by_its_name(self) -> None:
        recipe = load_recipe("lane-row-anchor")
        heads = {**recipe.heads, "cls": recipe.heads["cls"].model_copy(update={"output": "logits"})}
        renamed = recipe.model_copy(update={"heads": heads})
        assert heads_of(renamed, ["logits", "vertical", "offset"])["cls"] == "logits"

    def test_recipe_without_heads_takes_every_output(self) -> None:
        assert heads_of(load_recipe("generic"), ["a", "b"]) == {"a": "a", "b": "b"}

    def test_missing_output_is_named_with_those_that_are_there(self) -> None:
        with pytest.raises(UsageError, match="'vertical'") as refusal:
            heads_of(load_recipe("lane-row-anchor"), ["cls", "offset"])
        assert "cls, offset" in refusal.value.found
