from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from edgekit.tasks.lanes.assignment import assign


@given(
    rows=st.integers(0, 9),
    columns=st.integers(0, 9),
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["any", "sparse", "ties", "negative"]),
)
def test_the_total_gain_is_scipys(rows: int, columns: int, seed: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    gain = random.random((rows, columns))
    if kind == "sparse":
        gain *= random.random((rows, columns)) < 0.3
    if kind == "ties":
        gain = np.round(gain * 3) / 3
    if kind == "negative":
        gain -= 0.5
    pairs = assign(gain)
    assert len(pairs) == min(rows, columns)
    assert pairs == sorted(pairs)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    ours = sum(gain[pair] for pair in pairs)
    assert ours == pytest.approx(gain[linear_sum_assignment(gain, maximize=True)].sum())


def test_the_best_pair_gives_way_to_the_best_sum() -> None:
    assert assign(np.array([[0.9, 0.8], [0.8, 0.1]])) == [(0, 1), (1, 0)]
