from __future__ import annotations

import numpy as np
import pytest

from edgekit.calibration.ranges.histogram import Grid, Histogram
from edgekit.calibration.ranges.observe import load_observations, save_observations
from edgekit.calibration.ranges.pixels import pixel_grids, pixel_step, with_grids
from edgekit.calibration.scales import exact_zero_point
from edgekit.graph.shift import shiftable, shifted
from edgekit.recipes import Preprocessing
from edgekit.targets import TensorScheme
from tests.graph.models import NetBuilder, residual_net
from tests.graph.schemes import SIGNED, UNSIGNED, WEIGHTS


def test_pixels_lie_on_a_grid_unless_mean_or_std_move_them() -> None:
    assert pixel_step(Preprocessing(divide_by=127.5)) == pytest.approx(1 / 127.5)
    assert pixel_step(Preprocessing(mean=(0.0, 0.0, 0.1))) is None
    assert pixel_step(Preprocessing(std=(1.0, 2.0, 1.0))) is None


def test_grids_follow_the_shift() -> None:
    model = shifted(residual_net(), 128 / 255, shiftable(residual_net()))
    found = pixel_grids(model, Preprocessing())
    assert {name: (grid.first, grid.last) for name, grid in found.items()} == {
        "image": (0, 255),
        "image/pad_1_1_1_1": (0, 255),
        "image/pad_1_1_1_1/shifted": (-128, 127),
    }
    assert pixel_grids(model, Preprocessing(mean=(0.5, 0.5, 0.5))) == {}


def test_a_shift_between_two_levels_leaves_the_grid() -> None:
    net = NetBuilder()
    half = net.node("Sub", ["image", net.constant("half", np.float32([0.5 / 255]))], "half_off")
    assert set(pixel_grids(net.model(net.conv(half, (3, 2), "out")), Preprocessing())) == {"image"}


@pytest.mark.parametrize(
    ("grid", "scheme", "zero_point"),
    [
        (Grid(1.0, 0, 255), UNSIGNED, 0),
        (Grid(1.0, -128, 127), UNSIGNED, 128),
        (Grid(1.0, -128, 127), SIGNED, 0),
        (Grid(1.0, 0, 255), SIGNED, None),
        (Grid(1.0, -128, 127), WEIGHTS, None),
        (Grid(1.0, 0, 256), UNSIGNED, None),
        (Grid(1.0, 0, 255), UNSIGNED.model_copy(update={"reduce_range": True}), None),
        (Grid(1.0, 0, 255), TensorScheme(dtype="uint16", symmetric=False, granularity="tensor"), 0),
    ],
)
def test_the_zero_point_holds_every_level_or_there_is_none(
    grid: Grid, scheme: TensorScheme, zero_point: int | None
) -> None:
    assert exact_zero_point(grid, scheme) == zero_point


def test_grids_are_stored_with_the_histograms(tmp_path) -> None:  # type: ignore[no-untyped-def]
    seen = {name: Histogram.empty().add(np.float32([0, 0.5])) for name in ("a", "b")}
    known = with_grids(seen, {"a": Grid(1 / 255, -128, 127), "c": Grid(1.0, 0, 1)})
    save_observations(known, tmp_path / "seen.npz")
    loaded = load_observations(tmp_path / "seen.npz")
    assert loaded["a"].grid == Grid(1 / 255, -128, 127)
    assert loaded["b"].grid is None
    assert loaded["a"].merge(loaded["b"]).grid is None
    assert loaded["a"].merge(loaded["a"]).grid == loaded["a"].grid
    assert loaded["a"].add(np.float32([1])).grid == loaded["a"].grid
