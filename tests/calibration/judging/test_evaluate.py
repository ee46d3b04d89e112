from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgekit
from edgekit.calibration.judging.evaluate import Pair, judge
from edgekit.errors import DataError, GateError
from edgekit.frames import Frame, Frames
from edgekit.graph.reference import ReferenceRun
from edgekit.recipes import Camera, Gates, load_recipe
from edgekit.reference import model_path
from edgekit.reference.road import RoadFrames
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.tasks.base import Agreement


def pair(candidate_noise: float, camera: Camera | None = None) -> Pair:
    """The reference network and the same with noise on its columns' scores."""
    recipe = load_recipe("reference-lane").model_copy(update={"camera": camera})
    run = ReferenceRun(model_path().read_bytes())
    random = np.random.default_rng(0)

    def noisy(values: np.ndarray) -> Mapping[str, np.ndarray]:
        outputs = run(values)
        return outputs | {"cls": outputs["cls"] + random.normal(0, candidate_noise, outputs["cls"].shape)}

    return Pair(run, noisy, Preprocessor(recipe.preprocessing, run.input_shape), recipe)


def test_equal_models_agree_wholly() -> None:
    result = pair(0.0).evaluate(RoadFrames(0, 4))
    assert (result.total.f1, result.total.lateral_px, result.distortion) == (1.0, 0.0, 0.0)
    assert result.worst(6) == []


def test_more_noise_is_more_distortion_and_the_worst_come_first() -> None:
    little, much = (pair(noise).evaluate(RoadFrames(0, 6)) for noise in (3.0, 8.0))
    assert 0 < little.distortion < much.distortion
    worst = [frame.distortion for frame in much.worst(3)]
    assert len(worst) == 3
    assert worst == sorted((frame.distortion for frame in much.frames), reverse=True)[:3]
    assert much.total.frames == 6


def test_a_camera_gives_centimetres_that_grow_with_the_shift() -> None:
    camera = Camera(focal_px=400, height_m=1.4, pitch_deg=0.0)
    little, much = (pair(noise, camera).evaluate(RoadFrames(0, 6)).ground_cm for noise in (3.0, 8.0))
    assert little["10"] > 0
    assert sum(little.values()) < sum(much.values())
    assert pair(3.0).evaluate(RoadFrames(0, 2)).ground_cm == {}


def test_nothing_to_look_at_is_an_error(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((36, 64, 3), np.uint8))
    none = Frames.open(tmp_path).split(2)[1]
    with pytest.raises(DataError, match="no frame to check"):
        pair(0.0).evaluate(none)


@pytest.mark.parametrize(
    ("gates", "passed"),
    [
        ({"max_lateral_px": 1.0}, False),
        ({"max_lateral_px": 3.0}, True),
        ({"min_f1": 0.8}, True),
        ({"min_f1": 0.81}, False),
        ({"min_iou": 0.5}, True),
        ({"min_iou": 0.6}, False),
        ({"min_sqnr_db": 1.0}, False),
    ],
)
def test_gates(gates: dict[str, float], passed: bool) -> None:
    total = Agreement(
        frames=1,
        matched=4,
        reference_lanes=5,
        candidate_lanes=5,
        shift_px=20.0,
        shift_rows=10,
        overlap={"lane": (50, 100), "drivable": (90, 100)},
    )
    (gate,) = judge(total, Gates.model_validate(gates))
    assert gate.passed is passed


def test_a_failed_gate_shows_the_worst_frames(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="worst"):
        edgekit.calibrate(
            data=RoadFrames(0, 8), out=tmp_path / "c", target="intel-cpu-vnni", max_lateral=0.001, effort="quick"
        )
    report = edgekit.Calibration.open(tmp_path / "c").report["agreement"]
    assert report["worst"]
    for picture, name in report["worst"].items():
        drawn = cv2.imread(str(tmp_path / "c" / picture))
        assert drawn.shape == (360, 640, 3)
        assert name in report["per_frame"]
        frame: Frame = next(frame for frame in RoadFrames(0, 8) if frame.name == name)
        # JPEG alone changes a pixel by a few grey levels; lanes and legend change some by far more.
        assert np.abs(drawn.astype(int) - frame.values).max() > 100
