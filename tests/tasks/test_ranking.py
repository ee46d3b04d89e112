from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edgekit.calibration.distortion import distortion_for, unit_of
from edgekit.calibration.focus import FocusOptions, focus_weights, foreground
from edgekit.calibration.judging.evaluate import judge
from edgekit.errors import ArtifactError, UsageError
from edgekit.recipes import Gates, load_recipe
from edgekit.tasks import FrameGeometry, Scene, task_for
from edgekit.tasks.base import Agreement
from edgekit.tasks.ranking import auc_of_head, ndcg, order_change, order_of, places_of, top_overlap

RECIPE = load_recipe("ranker")
GEOMETRY = FrameGeometry((4, 2), (4, 2), (1.0, 1.0), (0.0, 0.0))
SCORES = arrays(np.float32, st.integers(1, 40), elements=st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]))
PAIRS = st.integers(1, 40).flatmap(
    lambda count: st.tuples(
        *(arrays(np.float32, count, elements=st.floats(-4, 4, width=32).map(lambda x: round(x, 1))) for _ in "ab")
    )
)


def scores(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def scene(values: NDArray[np.float32]) -> Scene:
    return task_for(RECIPE).decode({"score": values}, GEOMETRY)


def slow_order_change(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> float:
    """The definition, pair by pair."""
    order = order_of(reference).tolist()
    changed = total = 0.0
    for p, q in combinations(range(len(order)), 2):
        if reference[order[p]] == reference[order[q]]:
            continue
        weight = 1 / (p + 1) + 1 / (q + 1)
        total += weight
        lead = candidate[order[p]] - candidate[order[q]]
        changed += weight * (1.0 if lead < 0 else 0.5 if lead == 0 else 0.0)
    return changed / total if total else 0.0


class TestDecode:
    @pytest.mark.parametrize("shape", [(4,), (4, 1), (1, 4), (1, 4, 1)])
    def test_one_score_per_candidate_in_any_shape(self, shape: tuple[int, ...]) -> None:
        found = scene(scores(3, 1, 2, 0).reshape(shape)).scores
        assert found is not None
        assert found.tolist() == [3, 1, 2, 0]

    @pytest.mark.parametrize("shape", [(2, 2), (0,), (4, 2)])
    def test_other_shapes_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(UsageError, match="not one score per candidate"):
            scene(np.zeros(shape, np.float32))

    def test_what_is_not_finite_is_no_score(self) -> None:
        with pytest.raises(ArtifactError, match="not finite"):
            scene(scores(1, math.nan))

    def test_a_missing_head_is_named(self) -> None:
        with pytest.raises(UsageError, match="no output for the head 'score'"):
            task_for(RECIPE).decode({"logit": scores(1)}, GEOMETRY)


class TestFigures:
    def test_equal_scores_stand_as_they_were_given(self) -> None:
        assert order_of(scores(1, 2, 2, 0, 2)).tolist() == [1, 2, 4, 0, 3]
        assert places_of(scores(1, 2, 2, 0, 2)).tolist() == [3, 0, 1, 4, 2]

    @settings(deadline=None)
    @given(PAIRS)
    def test_order_change_is_what_it_is_defined_as(self, pair: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
        assert order_change(*pair) == pytest.approx(slow_order_change(*pair), abs=1e-9)

    def test_order_change_of_more_candidates_than_a_block(self) -> None:
        rng = np.random.default_rng(0)
        one = rng.normal(size=600).astype(np.float32)
        two = (one + rng.normal(0, 0.1, 600)).astype(np.float32)
        assert order_change(one, two) == pytest.approx(slow_order_change(one, two), rel=1e-9)

    @settings(deadline=None)
    @given(SCORES)
    def test_a_list_does_not_differ_from_itself(self, values: NDArray[np.float32]) -> None:
        assert order_change(values, values) == 0
        assert ndcg(values, values, 10) == pytest.approx(1)
        assert top_overlap(values, values, 5) == 1

    @settings(deadline=None)
    @given(SCORES)
    def test_only_the_order_counts(self, values: NDArray[np.float32]) -> None:
        moved = values * 2 + 5
        assert order_change(values, moved) == 0
        assert order_change(moved, values) == 0

    def test_a_reversed_list_differs_in_all_pairs(self) -> None:
        values = np.arange(50, dtype=np.float32)
        assert order_change(values, -values) == 1
        assert auc_of_head(values, -values, 10) == 0
        assert top_overlap(values, -values, 10) == 0

    def test_a_swap_at_the_head_costs_more(self) -> None:
        values = -np.arange(30, dtype=np.float32)
        first, last = values.copy(), values.copy()
        first[[0, 1]] = first[[1, 0]]
        last[[28, 29]] = last[[29, 28]]
        assert order_change(values, first) > 10 * order_change(values, last) > 0
        assert ndcg(values, first, 10) < ndcg(values, last, 10) == pytest.approx(1)

    def test_scores_that_all_became_equal_are_half_wrong(self) -> None:
        values = np.arange(30, dtype=np.float32)
        assert order_change(values, np.zeros_like(values)) == pytest.approx(0.5)
        assert auc_of_head(values, np.zeros_like(values), 10) == pytest.approx(0.5)

    def test_ndcg_by_hand(self) -> None:
        worth = [1 / math.log2(place + 2) for place in range(3)]
        expected = (worth[1] * worth[0] + worth[0] * worth[1]) / (worth[0] ** 2 + worth[1] ** 2)
        assert ndcg(scores(3, 2, 1), scores(2, 3, 1), 2) == pytest.approx(expected)

    def test_auc_needs_candidates_behind_the_head(self) -> None:
        assert auc_of_head(scores(1, 2), scores(1, 2), 2) is None
        assert "auc" not in task_for(RECIPE).compare(scene(scores(1, 2)), scene(scores(1, 2))).figures()

    def test_auc_by_hand(self) -> None:
        # The head of the reference are the first two; of its four pairs with the others one is wrong and one is level.
        assert auc_of_head(scores(4, 3, 2, 1), scores(4, 2, 3, 2), 2) == pytest.approx(2.5 / 4)

    @settings(deadline=None)
    @given(PAIRS, st.integers(1, 30))
    def test_all_figures_are_shares(self, pair: tuple[NDArray[np.float32], NDArray[np.float32]], top: int) -> None:
        found = [order_change(*pair), ndcg(*pair, top), top_overlap(*pair, top), auc_of_head(*pair, top) or 0.0]
        assert all(0 <= value <= 1 + 1e-9 for value in found)


class TestAgreement:
    def test_requests_are_averaged(self) -> None:
        task = task_for(RECIPE)
        same = task.compare(scene(scores(3, 2, 1)), scene(scores(3, 2, 1)))
        other = task.compare(scene(scores(3, 2, 1)), scene(scores(1, 2, 3)))
        total = same + other + Agreement()
        assert total.frames == 2
        assert total.figures()["order_change"] == pytest.approx(0.5)
        assert set(total.figures()) == {"order_change", "ndcg", "top_overlap"}

    def test_lists_of_different_length_cannot_be_compared(self) -> None:
        with pytest.raises(ArtifactError, match="different length"):
            task_for(RECIPE).compare(scene(scores(3, 2, 1)), scene(scores(3, 2)))

    def test_the_distortion_is_in_percent(self) -> None:
        distortion = distortion_for(RECIPE)
        assert unit_of("ranking") == "%"
        assert distortion(scene(scores(3, 2, 1)), scene(scores(1, 2, 3))) == pytest.approx(100)
        with pytest.raises(ArtifactError, match="no ranking"):
            distortion(Scene((), GEOMETRY), scene(scores(1)))

    def test_gates_are_held_in_these_figures(self) -> None:
        found = Agreement(means={"ndcg": (0.98, 1), "order_change": (0.01, 1), "top_overlap": (1.9, 2)})
        gates = judge(found, Gates(min_ndcg=0.99, max_order_change=0.02, min_top_overlap=0.95, min_auc=0.9))
        assert {gate.name: gate.passed for gate in gates} == {
            "ndcg": False,
            "order_change": True,
            "top_overlap": True,
            "auc": False,
        }
        assert next(gate for gate in gates if gate.name == "auc").value is None


class TestFocus:
    def test_the_head_of_the_list_counts_most(self) -> None:
        values = np.random.default_rng(0).permutation(200).astype(np.float32)[:, None]
        weights = focus_weights(RECIPE, {"score": values}, FocusOptions())["score"]
        assert weights.shape == values.shape
        assert weights.mean() == pytest.approx(1, rel=1e-5)
        by_place = weights[np.argsort(-values[:, 0]), 0]
        assert (np.diff(by_place) < 0).all()
        assert by_place[0] > 5 * by_place[100]
        assert by_place[-1] > 0

    def test_the_head_is_what_is_read(self) -> None:
        values = np.arange(100, dtype=np.float32)
        assert foreground(RECIPE, {"score": values})["score"].tolist() == [False] * 80 + [True] * 20
