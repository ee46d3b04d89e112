from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekit.calibration.reconstruction.objective import (
    FOCUS,
    TARGET,
    errors,
    interpolated,
    powers,
    total,
    weights_from,
)
from edgekit.calibration.reconstruction.samples import SampleFile

sensitivities = st.dictionaries(st.sampled_from("abcde"), st.floats(0, 1e3), min_size=1)


@given(found=sensitivities, floor=st.floats(0.01, 1.0))
def test_head_weights_have_the_mean_1_and_keep_their_floor(found: dict[str, float], floor: float) -> None:
    weights = weights_from(found, floor)
    assert np.mean(list(weights.values())) == pytest.approx(1.0)
    assert min(weights.values()) >= floor - 1e-9
    order = sorted(found, key=lambda name: found[name])
    assert [weights[name] for name in order] == sorted(weights.values())


def test_weights_move_from_one_estimate_to_the_next_over_a_period() -> None:
    estimates = [{"a": 2.0, "b": 0.0}, {"a": 1.0, "b": 1.0}]
    assert interpolated(estimates[:1], 0.7) == {"a": 2.0, "b": 0.0}
    assert interpolated(estimates, 0.0) == {"a": 2.0, "b": 0.0}
    assert interpolated(estimates, 0.25) == {"a": 1.75, "b": 0.25}
    assert interpolated(estimates, 1.5) == {"a": 1.0, "b": 1.0}


def test_errors_are_shares_of_the_power_so_that_units_do_not_matter(tmp_path: Path) -> None:
    file = SampleFile(tmp_path / "samples")
    head = np.random.default_rng(0).normal(size=(1, 4, 5)).astype(np.float32)
    for scale in (1.0, 2.0):
        file.append({TARGET + "m": head * scale, TARGET + "mm": head * scale * 1000})
    power = powers(file, ("m", "mm"))
    sample = file.read(0)
    found = errors(sample, {name: 1.1 * sample[TARGET + name] for name in power}, power)
    assert float(found["m"]) == pytest.approx(float(found["mm"]), rel=1e-4)
    # 0.1 of the amplitude is 0.01 of this sample's power, which is 2 / 5 of the sum over both.
    assert float(found["m"]) == pytest.approx(0.01 / 2.5, rel=1e-4)
    assert float(total(found, {"m": 1.0, "mm": 3.0})) == pytest.approx(2 * 0.01 / 2.5, rel=1e-4)


def test_the_focus_says_where_an_error_counts(tmp_path: Path) -> None:
    file = SampleFile(tmp_path / "samples")
    focus = np.array([[2.0, 0.0]], np.float32)
    file.append({TARGET + "a": np.ones((1, 2), np.float32), FOCUS + "a": focus})
    power = powers(file, ("a",))
    assert power["a"] == pytest.approx(1.0)
    sample = file.read(0)
    assert float(errors(sample, {"a": torch.tensor([[1.0, 9.0]])}, power)["a"]) == 0.0
    assert float(errors(sample, {"a": torch.tensor([[9.0, 1.0]])}, power)["a"]) == pytest.approx(64.0)


def test_a_silent_head_does_not_divide_by_zero(tmp_path: Path) -> None:
    file = SampleFile(tmp_path / "samples")
    file.append({TARGET + "a": np.zeros((1, 2), np.float32)})
    assert np.isfinite(float(errors(file.read(0), {"a": torch.ones(1, 2)}, powers(file, ("a",)))["a"]))
