from __future__ import annotations

import numpy as np
import pytest

from edgekit.profiling.trend import theil_sen


def test_the_slope_and_its_interval_are_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with the extra 'calibrate'")
    random = np.random.default_rng(0)
    x = np.sort(random.random(60))
    y = 3 * x + random.normal(scale=0.5, size=60)
    expected = stats.theilslopes(y, x, 0.95)
    trend = theil_sen(list(x), list(y))
    assert trend.slope == pytest.approx(expected.slope)
    assert trend.interval.low == pytest.approx(expected.low_slope, rel=0.02)
    assert trend.interval.high == pytest.approx(expected.high_slope, rel=0.02)


def test_outliers_do_not_move_it() -> None:
    x = np.arange(50.0)
    y = 2 * x
    y[[5, 20, 40]] += 1e6
    assert theil_sen(list(x), list(y)).slope == pytest.approx(2.0, rel=0.01)
    assert theil_sen(list(x), list(y)).direction == 1
    assert theil_sen(list(x), list(-y)).direction == -1


def test_noise_has_no_direction_in_nineteen_of_twenty_cases() -> None:
    random = np.random.default_rng(4)
    found = [theil_sen(range(40), list(random.normal(size=40))).direction for _ in range(400)]
    assert 0.02 < np.mean(np.abs(found)) < 0.09
