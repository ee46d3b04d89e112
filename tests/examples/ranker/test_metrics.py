from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranker.metrics import auc, ece, gauc, logloss, quality


def by_pairs(scores: np.ndarray, labels: np.ndarray) -> float:
    better = [
        1.0 if one > two else 0.5 if one == two else 0.0
        for one in scores[labels == 1]
        for two in scores[labels == 0]
    ]  # fmt: skip
    return sum(better) / len(better)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in rows], np.float64)
    labels = np.array([label for _, label in rows], np.float64)
    found = auc(scores, labels)
    if labels.min() == labels.max():
        assert math.isnan(found)
    else:
        assert found == pytest.approx(by_pairs(scores, labels))


def test_gauc_leaves_out_users_with_one_kind_of_row_and_weighs_the_others_by_rows() -> None:
    users = np.array([7, 7, 3, 3, 3, 5])
    labels = np.array([1, 0, 1, 0, 0, 1.0])
    scores = np.array([1, 2, 5, 3, 4, 0.0])
    assert gauc(scores, labels, users) == pytest.approx((0 * 2 + 1 * 3) / 5)
    assert math.isnan(gauc(scores, np.ones(6), users))


def test_logloss_is_exact_for_great_logits() -> None:
    assert logloss(np.array([0.0, 800.0, -800.0]), np.array([1, 1, 0.0])) == pytest.approx(math.log(2) / 3)
    assert logloss(np.array([800.0]), np.array([0.0])) == pytest.approx(800)


def test_calibration_error_is_zero_where_chances_are_true() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 200_000)
    labels = (rng.random(len(logits)) < 1 / (1 + np.exp(-logits))).astype(np.float64)
    assert ece(logits, labels) < 0.006
    assert ece(logits + 1, labels) > 0.05


def test_quality_names_its_figures() -> None:
    found = quality(np.array([2.0, -1], np.float32), np.array([1.0, 0], np.float32), np.array([0, 0]))
    assert found.figures().keys() == {"auc", "gauc", "logloss", "ece"}
    assert found.auc == found.gauc == 1
