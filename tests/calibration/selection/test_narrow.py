"""Which layers have 8 bit where 4 are simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.calibration.bits import Grids, grids_of
from edgekit.calibration.distortion import distortion_for
from edgekit.calibration.judging.probe import Probe
from edgekit.calibration.reconstruction.simulation import QuantizedModel
from edgekit.calibration.selection.narrow import select_in_8_bit
from edgekit.calibration.selection.select import Selection
from edgekit.graph.reference import ReferenceRun
from edgekit.recipes import SelectStep
from edgekit.runtime.preprocessing import Preprocessor
from tests.calibration.planted import GENERIC, chain, frames, variants_of
from tests.graph.schemes import scheme

LAYER_SHARE = 1 / 5
"""Of c1 .. c6, those between the ends are c2 .. c5; c1 reads three channels and not eight."""


def ruined_by_4_bit(layer: str) -> onnx.ModelProto:
    """Return a chain in which one layer's weights on a channel of zeros leave the others two levels of 4 bit."""
    model = chain()
    for weight in model.graph.initializer:
        if weight.name == f"{layer}_w":
            values = numpy_helper.to_array(weight).copy()
            values[1:, 0] = 7 * np.abs(values).max()
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return model


def selected(folder: Path, least_narrow: float) -> tuple[Selection, Grids, Grids]:
    """Return the selection, the grids of before, and those of after."""
    model, rules, source = ruined_by_4_bit("c3"), scheme(), frames(folder)
    variants = variants_of(model, source, rules)
    grids = grids_of(model, variants.full, rules, "w4a4")
    parameters = variants.parameters(variants.full, grids)
    start = QuantizedModel(model, variants.full, rules, dict(parameters), grids=grids)
    prepare = Preprocessor(GENERIC.preprocessing, (1, 3, 16, 16))
    probe = Probe(ReferenceRun(model, 1), source, prepare, GENERIC, distortion_for(GENERIC))
    step = SelectStep(step="select", min_macs_share=least_narrow)
    found, _, left = select_in_8_bit(start, variants.parameters, probe, step, threads=1)
    return found, grids, left


def test_the_layer_that_4_bit_ruins_has_8(tmp_path: Path) -> None:
    found, before, after = selected(tmp_path, least_narrow=1 - 1.5 * LAYER_SHARE)
    assert found.keep == ("stage/c3",)
    assert found.after < found.before
    assert (found.precision, found.unit) == ("4 bit", "macs")
    assert set(before) - set(after) == {"c3_w", "c2_relu"}
    assert found.cost == pytest.approx(1 + LAYER_SHARE, abs=0.03)


def test_nothing_has_8_bit_where_all_must_have_4(tmp_path: Path) -> None:
    found, before, after = selected(tmp_path, least_narrow=1.0)
    assert found.keep == ()
    assert after == before
    assert found.stopped == "the budget is used up"
