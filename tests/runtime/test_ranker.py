from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit.errors import ArtifactError, DataError, UsageError
from edgekit.features.delta import write_delta
from edgekit.features.encode import Encoder
from edgekit.features.folder import Features, write_features
from edgekit.features.tables import gather
from edgekit.recipes import load_recipe
from edgekit.runtime.prepare import RowPreprocessor
from edgekit.runtime.ranker import Ranker, best_of
from edgekit.tasks import task_for
from tests.features.shop import SHOP, tables
from tests.features.test_delta import PRIVATE, PUBLIC
from tests.rankers import columns

BATCH = 8
WEIGHTS = np.random.default_rng(5).normal(size=SHOP.width).astype(np.float32)
USER = {"user_id": "u1", "history": ["7", "9"], "hour": 3}


class Linear:
    """An engine whose score is a weighted sum of the row."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        rows = inputs["features"]
        assert rows.shape == (BATCH, SHOP.width)
        assert np.isfinite(rows).all()
        self.runs += 1
        return {"score": (rows @ WEIGHTS)[:, None]}

    def close(self) -> None:
        pass


@pytest.fixture
def features(tmp_path: Path) -> Features:
    return write_features(tmp_path / "shop.features", SHOP, tables(), update_key=PUBLIC)


@pytest.fixture
def ranker(features: Features) -> Ranker:
    recipe = load_recipe("ranker")
    prepare = RowPreprocessor((BATCH, SHOP.width))
    return Ranker(Linear(), "features", prepare, {"score": "score"}, task_for(recipe), "score", features)


def items(count: int, seed: int = 0) -> dict[str, list[Any]]:
    """Columns of candidates, each with another id."""
    made: dict[str, list[Any]] = columns(np.random.default_rng(seed), count)
    return {"item_id": [f"i{index}" for index in range(count)], "tags": made["tags"], "price": made["price"]}


def rows_of(given: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)]


def expected(features: Features, user: Mapping[str, Any], given: Mapping[str, list[Any]]) -> NDArray[np.float32]:
    count = len(next(iter(given.values())))
    every = {name: [value] * count for name, value in user.items()} | dict(given)
    return gather(SHOP, features.tables, Encoder(SHOP).encode(every)) @ WEIGHTS


class TestOrder:
    @settings(deadline=None)
    @given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=0, max_size=30), st.integers(1, 40))
    def test_the_best_are_those_of_a_full_stable_sort(self, values: list[float], count: int) -> None:
        scores = np.array(values, np.float32)
        assert best_of(scores, count).tolist() == np.argsort(-scores, kind="stable")[:count].tolist()

    @pytest.mark.parametrize("count", [1, BATCH - 1, BATCH, BATCH + 1, 5 * BATCH + 3])
    def test_scores_are_those_of_every_row_by_itself(self, ranker: Ranker, features: Features, count: int) -> None:
        given = items(count)
        wanted = expected(features, USER, given)
        found = ranker.rank(USER, given, k=count)
        assert found.places == np.argsort(-wanted, kind="stable").tolist()
        np.testing.assert_allclose(found.scores, wanted[found.places], rtol=1e-5, atol=1e-6)
        assert found.ids == [f"i{place}" for place in found.places]

    def test_rows_columns_and_catalogues_rank_alike(self, ranker: Ranker) -> None:
        given = items(20)
        wanted = ranker.rank(USER, given, k=7)
        catalogue = ranker.catalogue(given)
        assert len(wanted) == 7
        assert ranker.rank(USER, rows_of(given), k=7) == wanted
        assert ranker.rank(USER, catalogue, k=7) == wanted
        assert ranker.rank(USER, {name: np.array(values, object) for name, values in given.items()}, k=7) == wanted
        assert ranker.rank(USER, catalogue.only(wanted.ids[:3])).ids == wanted.ids[:3]

    def test_the_user_is_encoded_once(self, ranker: Ranker, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[tuple[str, ...]] = []
        encode = Encoder.encode

        def counted(self: Encoder, values: Any, fields: Any = None, rows: int | None = None) -> Any:
            seen.append(tuple(fields))
            return encode(self, values, fields, rows)

        monkeypatch.setattr(Encoder, "encode", counted)
        ranker.rank(USER, items(5 * BATCH))
        assert seen.count(("user_id", "history", "hour")) == 1
        assert seen.count(("item_id", "tags", "price")) == 5


class TestEdges:
    def test_no_candidates_give_an_empty_list(self, ranker: Ranker) -> None:
        for empty in ([], {}, {"item_id": []}, ranker.catalogue([])):
            found = ranker.rank(USER, empty, explain=True)
            assert (found.ids, found.places, found.scores, found.drop_without) == ([], [], [], [])

    def test_more_than_there_are_gives_all(self, ranker: Ranker) -> None:
        assert len(ranker.rank(USER, items(3), k=1000)) == 3

    def test_of_candidates_with_one_id_the_first_is_ranked(self, ranker: Ranker) -> None:
        given = {"item_id": ["7", "8", "7", None, None, 7], "price": [1, 2, 3, 4, 5, 6]}
        found = ranker.rank(USER, given)
        assert sorted(found.places) == [0, 1, 3, 4, 5]
        # The text "7" and the number 7 are one row of the table, and two ids to the app.
        assert found.ids.count("7") == found.ids.count(7) == 1

    def test_equal_scores_stand_as_they_were_given(self, ranker: Ranker) -> None:
        found = ranker.rank(USER, {"item_id": [f"x{index}" for index in range(40)], "price": [None] * 40}, k=40)
        order = [(-score, place) for score, place in zip(found.scores, found.places, strict=True)]
        assert order == sorted(order)
        assert len(set(found.scores)) <= 2  # two hash buckets

    def test_what_is_unknown_or_missing_has_rows_of_its_own(self, ranker: Ranker, features: Features) -> None:
        for user in ({}, {"user_id": None}, {"user_id": "stranger", "history": [], "hour": float("nan")}):
            for few in ({"item_id": ["never seen"]}, {"price": [float("nan")]}, {"tags": [None]}):
                wanted = expected(features, user, few)
                assert ranker.rank(user, few).scores == pytest.approx(wanted.tolist(), rel=1e-5, abs=1e-6)

    def test_candidates_without_the_item_column_are_named_by_place(self, ranker: Ranker) -> None:
        found = ranker.rank(USER, {"price": [1, 2, 3]})
        assert found.ids == found.places

    @pytest.mark.parametrize("k", [0, -1, 1.5, True, "3", None])
    def test_k_is_a_number_above_0(self, ranker: Ranker, k: Any) -> None:
        with pytest.raises(UsageError, match="So many candidates cannot be returned"):
            ranker.rank(USER, items(3), k=k)

    @pytest.mark.parametrize(
        ("user", "candidates", "problem"),
        [
            (None, [], "The user is no mapping"),
            (["u1"], [], "The user is no mapping"),
            ({"user": "u1"}, [], r"'user' is no field of the user(.|\n)*Did you mean 'user_id'\?"),
            ({"price": 3}, [], r"'price' does not tell of the user(.|\n)*Give it with the candidates"),
            ({}, [{"hour": 3}], r"'hour' does not tell of the candidates(.|\n)*Give it with the user"),
            ({}, {"prize": [3]}, r"'prize' is no field of the candidates(.|\n)*Did you mean 'price'\?"),
            ({}, ["7", "8"], r"A candidate is no mapping(.|\n)*'7' \(str\) at place 0"),
            ({}, "78", "These are no candidates"),
            ({}, None, "These are no candidates"),
            ({}, {"price": [1, 2], "item_id": [7]}, "not of the same length"),
            ({}, [{"price": 1}, {"price": "cheap"}], "'price' is no finite number"),
            ({}, [{"item_id": 1.5}], "'item_id' is no id"),
            ({}, [{"item_id": [1]}], "A candidate's id is none"),
            ({"hour": [1, 2]}, [], "'hour' is no id"),
        ],
    )
    def test_wrong_kinds_are_refused(self, ranker: Ranker, user: Any, candidates: Any, problem: str) -> None:
        with pytest.raises(DataError, match=problem):
            ranker.rank(user, candidates)

    def test_a_score_that_is_not_finite_is_no_ranking(self, ranker: Ranker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Linear, "run", lambda self, inputs: {"score": np.full((BATCH, 1), np.nan, np.float32)})
        with pytest.raises(ArtifactError, match="not finite"):
            ranker.rank(USER, items(3))

    def test_it_sees_no_lanes(self, ranker: Ranker) -> None:
        with pytest.raises(UsageError, match="ranks candidates"):
            ranker(np.zeros((4, 4, 3), np.uint8))

    def test_memory_does_not_grow_with_the_candidates_beyond_their_scores(self, ranker: Ranker) -> None:
        catalogue = ranker.catalogue({"price": np.linspace(0, 20, 100_000)})
        ranker.rank(USER, catalogue)
        tracemalloc.start()
        found = ranker.rank(USER, catalogue)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(found) == 20
        # The rows of all candidates would take 80 bytes each.
        assert peak < 40 * 100_000


class TestExplain:
    def test_a_drop_is_the_score_less_the_score_without_the_field(self, ranker: Ranker, features: Features) -> None:
        given = items(2 * BATCH + 1)
        found = ranker.rank(USER, given, k=2 * BATCH + 1, explain=True)
        assert found.drop_without is not None
        missing: dict[str, Any] = {name: None for name in ("user_id", "history", "hour")}
        for place, score, drops in zip(found.places, found.scores, found.drop_without, strict=True):
            assert list(drops) == [field.name for field in SHOP.field]
            one = {name: [values[place]] for name, values in given.items()}
            for field in SHOP.field:
                user = USER | {name: missing[name] for name in missing if name == field.name}
                changed = one | ({field.name: [None]} if field.name in one else {})
                without = expected(features, user, changed)[0]
                assert drops[field.name] == pytest.approx(score - without, abs=1e-5)

    def test_it_is_told_only_on_request(self, ranker: Ranker) -> None:
        assert ranker.rank(USER, items(3)).drop_without is None


class TestUpdates:
    NEW = np.float32([0.25, -0.5, 0.125, 0.5])

    def delta(self, folder: Path, features: Features, number: int, rows: dict[str, Any]) -> Path:
        path = folder / f"{number}.delta"
        write_delta(path, features, {"item_id": rows}, number, PRIVATE)
        return path

    def test_rows_change_without_a_new_bundle(self, tmp_path: Path, ranker: Ranker, features: Features) -> None:
        given = {"item_id": ["7", "brand new", "8"]}
        before = dict(zip(*[getattr(ranker.rank(USER, given), name) for name in ("ids", "scores")], strict=True))
        ranker.update(self.delta(tmp_path, features, 1, {"brand new": self.NEW * 2, "7": self.NEW}))
        after = dict(zip(*[getattr(ranker.rank(USER, given), name) for name in ("ids", "scores")], strict=True))
        assert ranker.updates == 1
        assert after["8"] == before["8"]
        start = SHOP.offsets["item_id"]
        weights = WEIGHTS[start : start + 4]
        old = features.tables["item_id"].dense()
        # Within what 8 bit make of the new rows.
        wanted = before["7"] + (self.NEW - old[Encoder(SHOP).row("item_id", "7")]) @ weights
        assert after["7"] == pytest.approx(wanted, abs=0.02)
        unseen = old[Encoder(SHOP).row("item_id", "brand new")]
        assert after["brand new"] == pytest.approx(before["brand new"] + (2 * self.NEW - unseen) @ weights, abs=0.04)

    def test_updates_come_in_turn(self, tmp_path: Path, ranker: Ranker, features: Features) -> None:
        first = self.delta(tmp_path, features, 1, {"a": self.NEW})
        second = self.delta(tmp_path, features, 2, {"b": self.NEW, "a": -self.NEW})
        with pytest.raises(ArtifactError, match="Apply number 1 first"):
            ranker.update(second)
        ranker.update(first)
        ranker.update(second)
        with pytest.raises(ArtifactError, match="older than what is there"):
            ranker.update(first)
        assert ranker.updates == 2

    def test_a_refused_update_changes_nothing(self, tmp_path: Path, ranker: Ranker, features: Features) -> None:
        given = {"item_id": ["7", "a"]}
        before = ranker.rank(USER, given)
        large = self.delta(tmp_path, features, 1, {"a": self.NEW, "7": np.full(4, 1e6, np.float32)})
        with pytest.raises(UsageError, match="too large for its table"):
            ranker.update(large)
        assert ranker.rank(USER, given) == before
        assert ranker.updates == 0

    def test_a_catalogue_is_made_again_after_one(self, tmp_path: Path, ranker: Ranker, features: Features) -> None:
        catalogue = ranker.catalogue(items(5))
        ranker.update(self.delta(tmp_path, features, 1, {"i3": self.NEW}))
        with pytest.raises(UsageError, match="older than the ranker's last update"):
            ranker.rank(USER, catalogue)
        ranker.rank(USER, ranker.catalogue(items(5)))

    def test_a_catalogue_lacks_what_it_was_not_made_of(self, ranker: Ranker) -> None:
        with pytest.raises(DataError, match=r"lacks a candidate(.|\n)*'i9'"):
            ranker.catalogue(items(5)).only(["i1", "i9"])
