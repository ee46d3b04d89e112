from __future__ import annotations

from pathlib import Path

import pytest

import edgekit
from edgekit.calibration.artifact import Calibration
from edgekit.errors import UsageError


def test_a_calibration_and_its_bundle_have_the_same_estimate(small_calibration: Calibration, tmp_path: Path) -> None:
    bundle = edgekit.compile(small_calibration, out=tmp_path / "small.edge", tune=False)
    found = [edgekit.estimate(each, "jetson-orin-nano-jp6") for each in (small_calibration, bundle, bundle.path)]
    assert len({(each.fp, each.int8, each.layers) for each in found}) == 1


def test_what_a_calibration_kept_in_floating_point_stays_there_for_its_own_target(
    small_calibration: Calibration,
) -> None:
    own = edgekit.estimate(small_calibration)
    in_8_bit = {name for name, node in small_calibration.scales.nodes.items() if node.precision == "int8"}
    assert {layer.work.name for layer in own.layers if layer.work.integer} == in_8_bit
    assert own.fp is not None
    assert 0 < own.fp.low < own.fp.high


def test_a_model_needs_a_target(small_calibration: Calibration) -> None:
    with pytest.raises(UsageError, match="For which board"):
        edgekit.estimate(small_calibration.fp_model)
    assert edgekit.estimate(small_calibration.fp_model, "jetson-orin").origin == "estimated"


def test_nothing_cannot_be_estimated(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is nothing at"):
        edgekit.estimate(tmp_path / "none.onnx", "jetson-orin")
