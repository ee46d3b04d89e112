from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgekit
from edgekit.calibration.artifact import FILES, FP_MODEL, QDQ_MODEL, SCALES
from edgekit.calibration.requantize import requantize
from edgekit.errors import ArtifactError, DataError, GateError, UsageError
from edgekit.frames import Frame, Frames
from edgekit.reference.road import RoadFrames
from edgekit.targets import load_target
from tests.graph.models import joining_net

REAL = {
    "lstr-culane": ("lane-curve", "culane"),
    "quantlanenet-tusimple": ("lane-row-anchor", "tusimple"),
    "pinetq": ("lane-keypoint", "bdd100k"),
    "twinlitenet-bdd100k": ("lane-segmentation", "bdd100k"),
}


def calibrate(out: Path, **changes: object) -> edgekit.Calibration:
    return edgekit.calibrate(
        data=RoadFrames(0, 8), out=out, **({"target": "intel-cpu-vnni", "effort": "quick"} | changes)
    )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def built_in(tmp_path_factory: pytest.TempPathFactory) -> edgekit.Calibration:
    return calibrate(tmp_path_factory.mktemp("calibration") / "built-in")


def test_twice_with_the_same_seed_gives_the_same_bytes(built_in: edgekit.Calibration, tmp_path: Path) -> None:
    again = calibrate(tmp_path / "again")
    for name in (SCALES, QDQ_MODEL, FP_MODEL, "observations.npz", "golden.npz"):
        assert (again.folder / name).read_bytes() == (built_in.folder / name).read_bytes(), name


def test_other_frames_give_other_scales_and_say_so(built_in: edgekit.Calibration, tmp_path: Path) -> None:
    other = edgekit.calibrate(
        data=RoadFrames(7, 8), out=tmp_path / "other", target="intel-cpu-vnni", seed=7, effort="quick"
    )
    assert other.scales.tensors != built_in.scales.tensors
    assert built_in.scales.provenance.changed(other.scales.provenance) == ["frames_sha256", "seed"]


def test_the_report_says_what_was_measured_and_on_what(built_in: edgekit.Calibration) -> None:
    report = built_in.report
    assert report["agreement"]["origin"] == "measured"
    assert report["agreement"]["held_out"] is True
    assert report["agreement"]["frames"] == 2
    assert report["agreement"]["figures"]["f1"] > 0.9
    assert report["frames"]["calibrated_on"] == 6
    assert report["quantized"]["macs_share"] == 1.0
    assert set(report["seconds"]) == {"clean", "calibrate", "check"}
    assert [one["step"] for one in report["steps"]] == [one.step for one in built_in.recipe.step]
    assert 0 < sum(one["seconds"] for one in report["steps"]) <= report["seconds"]["calibrate"] + 0.1


def test_a_device_that_torch_does_not_have_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no device 'warp'(.|\n)*--device"):
        calibrate(tmp_path / "warp", device="warp")
    assert not list(tmp_path.iterdir())


def test_a_calibration_opens_as_it_was_written(built_in: edgekit.Calibration) -> None:
    opened = edgekit.Calibration.open(built_in.folder)
    assert opened == built_in
    assert [golden.frame_size for golden in opened.golden()] == [(360, 640)] * 2
    assert all(golden.input.shape == (1, 3, 160, 320) for golden in opened.golden())


def test_the_quantized_model_is_valid_onnx_at_the_targets_opset(built_in: edgekit.Calibration) -> None:
    onnx.checker.check_model(str(built_in.qdq_model), full_check=True)
    assert onnx.load(built_in.qdq_model).opset_import[0].version == 21
    assert onnx.load(built_in.fp_model).opset_import[0].version == 17


def test_another_target_is_served_from_the_same_observations(built_in: edgekit.Calibration, tmp_path: Path) -> None:
    for name in ("jetson-orin", "arm-cortex-a76", "intel-cpu-avx2"):
        target = load_target(name)
        direct = calibrate(tmp_path / name, target=name)
        model, scales = requantize(built_in, target)
        assert model == direct.qdq_model.read_bytes(), name
        assert scales == direct.scales, name


def test_a_failed_gate_keeps_the_folder(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"lateral_px is .* the gate is 0\.001"):
        calibrate(tmp_path / "strict", max_lateral=0.001)
    assert edgekit.Calibration.open(tmp_path / "strict").report["gates"][0]["passed"] is False


def test_few_frames_serve_for_both_and_the_report_says_so(tmp_path: Path) -> None:
    few = edgekit.calibrate(data=RoadFrames(0, 3), out=tmp_path / "few", target="intel-cpu-vnni", effort="quick")
    assert few.report["agreement"]["held_out"] is False
    assert few.report["frames"]["calibrated_on"] == few.report["agreement"]["frames"] == 3


def test_the_recipe_is_found_by_the_models_heads(shared_lanes: Path, tmp_path: Path) -> None:
    model = shared_lanes / "models" / "quantlanenet-tusimple" / "model.onnx"
    frames = Frames.open(shared_lanes / "frames" / "tusimple").spread(2)
    found = edgekit.calibrate(
        model, frames, target="intel-cpu-vnni", out=tmp_path / "found", min_f1=0.1, effort="quick"
    )
    assert found.recipe.name == "lane-row-anchor"


def test_a_model_without_a_recipe_is_told_its_outputs(tmp_path: Path) -> None:
    onnx.save(joining_net(), tmp_path / "net.onnx")
    with pytest.raises(UsageError, match=r"outputs offsets, scores(.|\n)*generic"):
        edgekit.calibrate(tmp_path / "net.onnx", RoadFrames(0, 2), out=tmp_path / "x")


def test_a_model_of_ones_own_needs_frames(tmp_path: Path) -> None:
    onnx.save(joining_net(), tmp_path / "net.onnx")
    with pytest.raises(DataError, match="Random numbers would not do"):
        edgekit.calibrate(tmp_path / "net.onnx", recipe="generic", out=tmp_path / "x")


def test_the_generic_recipe_takes_any_model(tmp_path: Path) -> None:
    onnx.save(joining_net(), tmp_path / "net.onnx")
    result = edgekit.calibrate(
        tmp_path / "net.onnx", RoadFrames(0, 4), recipe="generic", target="intel-cpu-vnni", out=tmp_path / "x"
    )
    assert result.report["agreement"]["figures"]["sqnr_db"] > 20


class UntouchedFrames(RoadFrames):
    """Frames that must not be looked at."""

    def __iter__(self) -> Iterator[Frame]:
        raise AssertionError


def test_a_head_that_the_model_lacks_is_named_before_any_frame_is_read(tmp_path: Path) -> None:
    onnx.save(joining_net(), tmp_path / "net.onnx")
    (tmp_path / "net.toml").write_text(
        'extends = "lane-curve"\nname = "mine"\n[heads.logits]\nrole = "confidence"\noutput = "scores"\n'
        '[heads.curves]\nrole = "geometry"\nconfidence = "logits"\noutput = "polynomials"\n'
    )
    with pytest.raises(UsageError) as caught:
        edgekit.calibrate(
            tmp_path / "net.onnx", UntouchedFrames(0, 4), recipe=tmp_path / "net.toml", out=tmp_path / "x"
        )
    assert caught.value.problem == "The model has no output 'polynomials', which the recipe 'mine' reads as 'curves'."
    assert caught.value.found == "outputs: scores, offsets; missing: polynomials"
    assert "output = '...' under [heads.curves]" in caught.value.fix
    assert not (tmp_path / "x").exists()


def test_a_role_that_the_decoder_misses_is_named_before_any_frame_is_read(tmp_path: Path) -> None:
    onnx.save(joining_net(), tmp_path / "net.onnx")
    (tmp_path / "net.toml").write_text('extends = "lane-curve"\nname = "mine"\n[heads.scores]\nrole = "confidence"\n')
    with pytest.raises(UsageError, match="needs a head with the role 'geometry'"):
        edgekit.calibrate(
            tmp_path / "net.onnx", UntouchedFrames(0, 4), recipe=tmp_path / "net.toml", out=tmp_path / "x"
        )


@pytest.mark.parametrize("name", REAL)
def test_real_models_keep_their_lanes(shared_lanes: Path, tmp_path: Path, name: str) -> None:
    recipe, folder = REAL[name]
    frames = Frames.open(shared_lanes / "frames" / folder).spread(6)
    model = shared_lanes / "models" / name / "model.onnx"
    result = edgekit.calibrate(
        model, frames, recipe=recipe, target="arm-cortex-a76", out=tmp_path / name, min_f1=0.5, effort="quick"
    )
    figures = result.report["agreement"]["figures"]
    assert figures["f1"] > 0.85
    assert figures.get("iou_lane", 1.0) > 0.85
    assert np.isfinite(list(figures.values())).all()


@pytest.mark.parametrize("missing", [SCALES, QDQ_MODEL, "golden.npz"])
def test_a_folder_that_lacks_a_file_is_refused(built_in: edgekit.Calibration, tmp_path: Path, missing: str) -> None:
    for name in FILES:
        if name != missing:
            (tmp_path / name).write_bytes((built_in.folder / name).read_bytes())
    with pytest.raises(ArtifactError, match=f"no {missing}"):
        edgekit.Calibration.open(tmp_path)
