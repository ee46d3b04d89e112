"""Where there is no lane in any frame, nothing is lost and nothing is known: no figure is made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.errors import GateError
from edgekit.recipes import Effort
from tests.calibration.families import EMPTY_ROADS, SIZE, STEPS, write


def grey(count: int, size: tuple[int, int]) -> np.ndarray:
    """Frames of one grey each, from black to white."""
    return np.stack([np.full((*size, 3), level, np.uint8) for level in np.linspace(0, 255, count)])


def strict(path: Path) -> dict[str, Any]:
    """Read JSON that holds neither NaN nor Infinity, which are none."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read: dict[str, Any] = json.loads(path.read_text(), parse_constant=refuse)
    return read


@pytest.mark.parametrize("effort", ["quick", "standard"])
@pytest.mark.parametrize("family", EMPTY_ROADS)
def test_nothing_is_lost_and_what_is_unknown_keeps_no_gate(tmp_path: Path, family: str, effort: Effort) -> None:
    model, recipe = write(tmp_path, family)
    noise = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3)).astype(np.uint8)
    np.savez(tmp_path / "frames.npz", frames=np.concatenate([noise, grey(4, (SIZE, SIZE))]))
    with pytest.raises(GateError) as caught:
        edgekit.calibrate(model, tmp_path / "frames.npz", recipe=recipe, out=tmp_path / "out", effort=effort)
    assert caught.value.problem == "The calibrated model could not be held to a gate."
    assert "is unknown, the gate is" in caught.value.found
    assert "frames in which the floating-point model finds lanes" in caught.value.fix
    report = strict(tmp_path / "out" / "report.json")
    agreement = report["agreement"]
    assert agreement["figures"] == {}
    assert agreement["distortion"] == 0.0
    assert agreement["worst"] == {}
    assert [gate["value"] for gate in report["gates"]] == [None]
    if effort == "standard":
        assert report["selection"]["keep"] == []
        assert report["selection"]["before"] == report["selection"]["after"] == 0.0
        assert report["reconstruction"]["before"] == report["reconstruction"]["after"] == 0.0
    scales = edgekit.Calibration.open(tmp_path / "out").scales.tensors
    assert all(np.isfinite(one.scale).all() and min(one.scale) > 0 for one in scales.values())


@pytest.mark.parametrize("effort", ["quick", "standard"])
def test_frames_of_one_grey_each_give_scales_and_figures_that_are_numbers(tmp_path: Path, effort: Effort) -> None:
    np.savez(tmp_path / "frames.npz", frames=grey(8, (90, 160)))
    recipe = tmp_path / "short.toml"
    recipe.write_text('extends = "reference-lane"\nname = "short"\n' + STEPS)
    result = edgekit.calibrate(
        data=tmp_path / "frames.npz", recipe=recipe, out=tmp_path / "out", effort=effort, min_f1=0.01
    )
    assert all(np.isfinite(one.scale).all() and min(one.scale) > 0 for one in result.scales.tensors.values())
    agreement = strict(tmp_path / "out" / "report.json")["agreement"]
    assert 0 <= agreement["figures"]["f1"] <= 1
    assert np.isfinite(agreement["distortion"])
