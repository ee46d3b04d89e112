from __future__ import annotations

import json
from pathlib import Path

import pytest

import edgekit
from edgekit.errors import ModelError, UsageError
from edgekit.reference import model_path
from edgekit.reference.road import RoadFrames


def test_a_model_is_counted_node_by_node() -> None:
    found = edgekit.inspect(model_path())
    assert found["kind"] == "model"
    assert found["inputs"] == {"image": [1, 3, 160, 320]}
    assert found["macs"] == sum(node["macs"] for node in found["nodes"]) > 1e8
    assert found["operators"]["Conv"] == sum(node["operator"] == "Conv" for node in found["nodes"])
    json.dumps(found)


def test_a_calibration_and_its_bundle_are_described(tmp_path: Path) -> None:
    calibration = edgekit.calibrate(data=RoadFrames(0, 3), out=tmp_path / "c", target="arm-cortex-a76", effort="quick")
    bundle = edgekit.compile(calibration, out=tmp_path / "c.edge", tune=False)
    described = edgekit.inspect(calibration.folder)
    assert (described["kind"], described["target"]) == ("calibration", "arm-cortex-a76")
    assert described["provenance"]["frames"] == 3
    packed = edgekit.inspect(bundle.path)
    assert packed["kind"] == "bundle"
    assert packed["manifest"]["target"]["name"] == "arm-cortex-a76"
    json.dumps([described, packed])


def test_nothing_there_and_no_model_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing at"):
        edgekit.inspect(tmp_path / "gone")
    (tmp_path / "x.onnx").write_text("text")
    with pytest.raises(ModelError):
        edgekit.inspect(tmp_path / "x.onnx")
