from __future__ import annotations

import math

import numpy as np
import pytest

from tests.benchmarks.ranking import auc, ndcg, overlap, timed


def test_auc_by_hand() -> None:
    label = np.array([1, 1, 0, 0], np.float64)
    assert auc(label, np.float32([4, 3, 2, 1])) == 1
    assert auc(label, np.float32([1, 2, 3, 4])) == 0
    assert auc(label, np.float32([1, 1, 1, 1])) == 0.5
    # Of four pairs two are right, one is level and one is wrong.
    assert auc(label, np.float32([4, 2, 2, 3])) == pytest.approx(2.5 / 4)


def test_ndcg_is_the_mean_over_users_with_both_labels() -> None:
    users = ["a", "a", "b", "b", "c"]
    label = np.array([1, 0, 0, 1, 1], np.float64)
    assert ndcg(users, label, np.float32([2, 1, 1, 2, 0])) == 1
    second = 1 / math.log2(3)
    assert ndcg(users, label, np.float32([2, 1, 2, 1, 0])) == pytest.approx((1 + second) / 2)


def test_overlap_is_the_mean_share_of_the_first_twenty() -> None:
    scores = np.arange(100, dtype=np.float32)
    half = scores.copy()
    half[80:90] = -1
    assert overlap(scores[None], scores[None] * 3) == 1
    assert overlap(np.stack([scores, scores]), np.stack([scores, half])) == pytest.approx(0.75)


def test_calls_are_timed_in_turn() -> None:
    seen: list[str] = []
    found = timed({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, seconds=0, least=4)
    assert seen[6:] == ["a", "b"] * 4
    assert found["a"]["runs"] == 4
    assert 0 < found["b"]["p50"] <= found["b"]["p99"]
