from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.calibration.distortion import distortion_for
from edgekit.calibration.judging.probe import Probe, Reading, expected
from edgekit.errors import DataError
from edgekit.graph.reference import ReferenceRun
from edgekit.runtime.preprocessing import Preprocessor
from tests.calibration.planted import GENERIC, chain, frames

squares = st.lists(st.floats(1e-6, 1e3), min_size=3, max_size=3).map(tuple)
EVERYTHING = Reading((1.0, 2.0, 3.0), {"a": (1.0, 2.0, 3.0), "b": (4.0, 4.0, 4.0)})


@given(squares, squares, st.floats(0.01, 1), st.floats(0.01, 1))
def test_everything_is_expected_to_cost_what_it_costs(
    a: tuple[float, ...], b: tuple[float, ...], one: float, two: float
) -> None:
    everything = Reading((1.0, 2.0, 3.0), {"a": a, "b": b})
    assert expected(everything, everything, {"a": one, "b": two}) == pytest.approx(2.0)


@pytest.mark.parametrize(("quiet", "cost"), [("a", 1.25), ("b", 1.75)])
def test_half_the_noise_at_a_head_is_expected_to_cost_half_its_share(quiet: str, cost: float) -> None:
    noise = {name: tuple(v / 4 if name == quiet else v for v in values) for name, values in EVERYTHING.noise.items()}
    assert expected(Reading((9.0, 9.0, 9.0), noise), EVERYTHING, {"a": 3.0, "b": 1.0}) == pytest.approx(cost)


def test_a_part_is_held_against_the_same_samples() -> None:
    assert expected(EVERYTHING.first(1), EVERYTHING, {"a": 1.0, "b": 1.0}) == pytest.approx(1.0)


def test_where_no_head_matters_the_measured_distortion_stands() -> None:
    assert expected(EVERYTHING, EVERYTHING, {"a": 0.0, "b": 0.0}) == 2.0


def test_readings_add_up(tmp_path: Path) -> None:
    reference = ReferenceRun(chain(), 1)
    prepare = Preprocessor(GENERIC.preprocessing, (1, 3, 16, 16))
    probe = Probe(reference, frames(tmp_path), prepare, GENERIC, distortion_for(GENERIC))

    def louder(values: np.ndarray) -> dict[str, np.ndarray]:
        return {name: array * np.float32(1.1) for name, array in reference(values).items()}

    whole = probe.read(louder)
    assert probe.read(louder, 0, 3) + probe.read(louder, 3) == whole
    assert whole.first(3) == probe.read(louder, 0, 3)
    assert whole.mean == pytest.approx(0.1 / np.sqrt((1 + 1.21) / 2), rel=1e-5)
    assert probe.read(reference).mean == 0.0


def test_no_frame_is_an_error(tmp_path: Path) -> None:
    prepare = Preprocessor(GENERIC.preprocessing, (1, 3, 16, 16))
    with pytest.raises(DataError, match="no frame"):
        Probe(ReferenceRun(chain(), 1), [], prepare, GENERIC, distortion_for(GENERIC))  # type: ignore[arg-type]
