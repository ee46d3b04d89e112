"""What acts together counts together: curve points and leads of classes rather than parameters and logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.calibration.focus import FocusOptions, focus_weights
from edgekit.calibration.readout import (
    LANE_WIDTH,
    PLACES,
    Readout,
    focus_on,
    margins,
    mean_error,
    points_of_curves,
)
from edgekit.calibration.reconstruction.objective import errors, powers, stored_focus
from edgekit.calibration.reconstruction.samples import SampleFile
from edgekit.recipes import load_recipe

LANE = np.array([0.95, 0.45, 0.01, 0.3, -0.05, 0.4, 0.2, 0.1], np.float32)
"""y0, y1, k, f, m, n, b, b'."""


def x_of(parameters: np.ndarray) -> np.ndarray:
    _, _, k, f, m, n, b, b_prime = parameters.astype(np.float64)
    y = LANE[0] + (LANE[1] - LANE[0]) * (np.arange(PLACES) + 0.5) / PLACES
    return np.asarray(k / (y - f) ** 2 + m / (y - f) + n + b * y - b_prime)


def read(readout: Readout, delta: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("...rp,...p->...r", readout.rows, np.moveaxis(delta, readout.axis, -1)))


def curve_rows() -> Readout:
    return points_of_curves(LANE[None, None], np.ones((1, 1, 8), np.float32))


@settings(deadline=None)
@given(direction=st.lists(st.floats(-1, 1), min_size=6, max_size=6))
def test_points_move_as_the_curve_does(direction: list[float]) -> None:
    delta = np.array([0, 0, *direction]) * 1e-4
    moved = x_of(LANE + delta) - x_of(LANE)
    predicted = read(curve_rows(), delta[None, None])[0, 0, :PLACES] * LANE_WIDTH
    np.testing.assert_allclose(predicted, moved, atol=2e-5)


def test_parameters_that_cancel_cost_nothing_and_raw_errors_do_not_see_that() -> None:
    delta = np.zeros((1, 1, 8))
    delta[..., 5] = delta[..., 7] = 0.5
    assert mean_error(delta, curve_rows()) == pytest.approx(0.0, abs=1e-9)
    assert mean_error(delta, np.ones((1, 1, 8), np.float32)) > 0.06


def test_an_end_costs_a_lane_width_for_every_point_that_comes_or_goes() -> None:
    delta = np.zeros((1, 1, 8))
    delta[..., 0] = 0.01
    # A fiftieth of a lane that is half of the image high: as much as if all of its points were so much of a width off.
    moved = np.zeros((1, 1, 8))
    moved[..., 5] = LANE_WIDTH * 0.01 / (LANE[0] - LANE[1])
    assert mean_error(delta, curve_rows()) == pytest.approx(mean_error(moved, curve_rows()), rel=1e-2)


def test_beyond_what_can_matter_more_error_costs_hardly_more() -> None:
    def cost(widths: float) -> float:
        delta = np.zeros((1, 1, 8))
        delta[..., 5] = LANE_WIDTH * widths
        return mean_error(delta, curve_rows())

    assert cost(0.02) == pytest.approx(4 * cost(0.01), rel=1e-2)
    assert cost(20) < 2 * cost(10)


def test_rows_near_the_horizon_stay_finite() -> None:
    lane = LANE.copy()
    lane[3] = 0.45
    rows = points_of_curves(lane[None, None], np.ones((1, 1, 8), np.float32)).rows
    assert np.isfinite(rows).all() and np.abs(rows).max() < 1e3 / LANE_WIDTH


@pytest.mark.parametrize("axis", [1, 2])
def test_what_all_classes_share_decides_nothing(axis: int) -> None:
    logits = np.random.default_rng(0).normal(size=(1, 3, 3)).astype(np.float32)
    readout = margins(logits, axis, np.ones_like(logits))
    shared = np.broadcast_to(np.moveaxis(np.arange(3.0)[None, :, None], 2, axis), logits.shape)
    assert mean_error(np.array(shared), readout) == pytest.approx(0.0, abs=1e-9)
    assert mean_error(np.array(np.moveaxis(shared, 1, 2)), readout) > 0.01


def test_classes_that_are_near_count_and_those_far_behind_do_not() -> None:
    logits = np.array([[[5.0, 4.0, -20.0]]], np.float32)
    readout = margins(logits, 2, np.ones_like(logits))
    near, far = (mean_error(np.eye(3)[index][None, None], readout) for index in (1, 2))
    assert near > 50 * far > 0


@pytest.mark.parametrize(
    ("recipe", "shapes", "together"),
    [
        ("lane-curve", {"logits": (1, 7, 3), "curves": (1, 7, 8)}, {"logits": (1, 7, 2, 3), "curves": (1, 7, 26, 8)}),
        (
            "lane-segmentation",
            {"da_logits": (1, 2, 12, 16), "ll_logits": (1, 2, 12, 16)},
            {"da_logits": (1, 12, 16, 1, 2), "ll_logits": (1, 12, 16, 1, 2)},
        ),
        ("lane-keypoint", {"confidence": (1, 1, 6, 7), "offset": (1, 2, 6, 7), "instance": (1, 4, 6, 7)}, {}),
    ],
)
def test_each_family_has_what_its_post_processing_reads(
    tmp_path: Path, recipe: str, shapes: dict[str, tuple[int, ...]], together: dict[str, tuple[int, ...]]
) -> None:
    random = np.random.default_rng(1)
    heads = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    focus = focus_on(
        load_recipe(recipe), {name: torch.from_numpy(head) for name, head in heads.items()}, FocusOptions()
    )
    assert {name: one.rows.shape for name, one in focus.items() if isinstance(one, Readout)} == together
    weights = focus_weights(load_recipe(recipe), heads, FocusOptions())
    for name in shapes.keys() - together.keys():
        np.testing.assert_array_equal(focus[name], weights[name])
    # The objective measures what the probe measures.
    file = SampleFile(tmp_path / "samples")
    targets = {f"target/{name}": head for name, head in heads.items()}
    for name, one in focus.items():
        targets |= stored_focus(name, one)
    file.append(targets)
    noisy = {
        name: torch.from_numpy(head + random.normal(size=head.shape).astype(np.float32)) for name, head in heads.items()
    }
    power = powers(file, tuple(heads))
    found = errors(file.read(0), noisy, power)
    for name, head in heads.items():
        wanted = mean_error(noisy[name].numpy() - head, focus[name])
        assert float(found[name]) * power[name] == pytest.approx(wanted, rel=1e-4)
        assert power[name] == pytest.approx(1.0 if name in together else mean_error(head, focus[name]), rel=1e-4)
