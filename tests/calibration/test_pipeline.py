from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import onnx
import pytest

import edgekit
from edgekit.calibration.artifact import FP_MODEL, QDQ_MODEL, SCALES
from edgekit.calibration.restore import restore
from edgekit.errors import UsageError
from edgekit.graph.view import GraphView
from edgekit.reference.road import RoadFrames
from tests.graph.models import joining_net

STEPS = {
    "observe": '[[step]]\nstep = "observe"\n',
    "scale": '[[step]]\nstep = "scale"\nactivations = "min-max"\n',
    "select": '[[step]]\nstep = "select"\nframes = 4\nmax_slowdown = 2.0\nmin_macs_share = 0.7\nmax_rounds = 2\n',
    "reconstruct": '[[step]]\nstep = "reconstruct"\nsteps = 12\nframes = 12\n',
}


def calibrate(
    folder: Path, *steps: str, target: str = "jetson-orin", bits: Literal["w8a8", "w4a4"] = "w8a8"
) -> edgekit.Calibration:
    recipe = folder / "mine.toml"
    recipe.write_text('extends = "reference-lane"\nname = "mine"\n' + "".join(STEPS[step] for step in steps))
    return edgekit.calibrate(
        data=RoadFrames(0, 12), recipe=recipe, target=target, bits=bits, effort="standard", out=folder / "out"
    )


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (("observe",), "chooses no scales"),
        (("scale",), "needs observations"),
        (("observe", "select"), "needs scales"),
        (("observe", "reconstruct"), "needs scales"),
    ],
)
def test_steps_in_a_wrong_order_say_what_is_missing(tmp_path: Path, steps: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        calibrate(tmp_path, *steps)
    assert not (tmp_path / "out").exists()


def test_selected_nodes_stay_in_floating_point_and_say_why(tmp_path: Path) -> None:
    result = calibrate(tmp_path, "observe", "scale", "select")
    selection = result.report["selection"]
    assert selection["keep"]
    assert selection["after"] <= selection["before"]
    assert selection["macs_share_of_rules"] >= 0.7
    assert selection["cost"] <= 3.0
    view = GraphView(onnx.load(result.qdq_model))
    for name in selection["keep"]:
        assert result.scales.nodes[name].precision == "fp16"
        assert result.scales.nodes[name].why.startswith("kept: ")
        assert view.is_constant(view.nodes[name].input[1])
    assert result.report["quantized"]["macs_share"] < 1.0
    assert {group["name"] for group in result.report["sensitivity"]["groups"]}
    assert cv2.imread(str(result.folder / "sensitivity.png")).shape[1] == 1200


def test_of_4_bit_selected_nodes_have_8_and_say_why(tmp_path: Path) -> None:
    result = calibrate(tmp_path, "observe", "scale", "select", target="intel-cpu-vnni", bits="w4a4")
    selection = result.report["selection"]
    assert (selection["precision"], selection["unit"]) == ("4 bit", "macs")
    assert result.report["sensitivity"]["precision"] == "4 bit"
    assert selection["keep"]
    assert selection["after"] < selection["before"]
    assert selection["macs_share_of_rules"] >= 0.7
    nodes = result.scales.nodes
    for name in selection["keep"]:
        assert nodes[name].precision == "int8"
        assert nodes[name].why.startswith("kept: ")
    assert "int4" in {node.precision for node in nodes.values()}
    assert restore(result).qdq() == onnx.load(result.qdq_model)


def test_all_steps_give_the_same_bytes_for_the_same_input(tmp_path: Path) -> None:
    onnx.save(joining_net(), tmp_path / "net.onnx")
    frames = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)
    np.savez(tmp_path / "frames.npz", frames=frames)
    recipe = tmp_path / "mine.toml"
    recipe.write_text('extends = "generic"\nname = "mine"\n' + "".join(STEPS.values()))
    results = [
        edgekit.calibrate(
            tmp_path / "net.onnx",
            tmp_path / "frames.npz",
            recipe=recipe,
            target="jetson-orin",
            effort="standard",
            # At 8 bit there is next to nothing to learn from noise.
            bits="w4a4",
            out=tmp_path / name,
        )
        for name in ("a", "b")
    ]
    assert results[0].report["reconstruction"]["after"] < results[0].report["reconstruction"]["before"]
    for name in (QDQ_MODEL, SCALES, FP_MODEL, "observations.npz", "golden.npz"):
        assert (results[0].folder / name).read_bytes() == (results[1].folder / name).read_bytes(), name


def test_reconstruction_never_distorts_more_and_is_written(tmp_path: Path) -> None:
    plain = calibrate(tmp_path, "observe", "scale")
    (tmp_path / "learned").mkdir()
    learned = calibrate(tmp_path / "learned", "observe", "scale", "reconstruct")
    record = learned.report["reconstruction"]
    assert record["after"] <= record["before"]
    assert record["history"][0]["distortion"] == record["before"]
    onnx.checker.check_model(str(learned.qdq_model), full_check=True)
    changed = [
        name for name, scale in learned.scales.tensors.items() if scale.scale != plain.scales.tensors[name].scale
    ]
    assert all("learned" in learned.scales.tensors[name].method for name in changed)
    assert not (tmp_path / "learned" / "out.checkpoint").exists()
    stored = {
        weight.name: onnx.numpy_helper.to_array(weight) for weight in onnx.load(learned.qdq_model).graph.initializer
    }
    for name, scale in learned.scales.tensors.items():
        assert stored[f"{name}_scale"].reshape(-1).tolist() == list(scale.scale)
