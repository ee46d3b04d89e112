from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import DataError
from edgekit.features.encode import Encoder
from edgekit.features.hashing import fnv1a
from tests.features.shop import SHOP

ENCODER = Encoder(SHOP)


def one(field: str, *values: Any) -> Any:
    return ENCODER.encode({field: list(values)}, fields=[field])[field]


class TestHash:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)],
    )
    def test_is_the_published_one(self, text: str, expected: int) -> None:
        # Test vectors of RFC 9923.
        assert fnv1a(text) == expected

    def test_half_a_surrogate_pair_counts_as_the_replacement_character(self) -> None:
        assert fnv1a("x\ud800y") == fnv1a("x\ufffdy")

    @settings(deadline=None)
    @given(st.text())
    def test_any_text_has_one(self, text: str) -> None:
        assert 0 <= fnv1a(text) < 2**32


class TestIds:
    def test_rows_are_missing_then_buckets_then_vocabulary(self) -> None:
        encoded = one("user_id", "u1", "u2", "stranger", None, "", math.nan)
        assert encoded.ids.dtype == np.int32
        assert encoded.ids.tolist() == [4, 5, 1 + fnv1a("stranger") % 3, 0, 0, 0]

    def test_without_buckets_unseen_ids_share_a_row(self) -> None:
        assert one("hour", "0", "24", "noon").ids.tolist() == [2, 1, 1]

    @pytest.mark.parametrize("seven", ["7", 7, 7.0, np.int64(7), np.float32(7)])
    def test_a_number_is_the_text_that_it_is_written_as(self, seven: Any) -> None:
        assert one("item_id", seven).ids.tolist() == [3]

    def test_a_truth_value_is_no_number(self) -> None:
        hours = one("hour", 1, True, 1, False, 0, 1.0).ids.tolist()
        assert hours == [3, 1, 3, 1, 2, 3]

    @pytest.mark.parametrize("column", [np.array([7, 8]), np.array(["7", "8"]), np.array([7, 8], object), ("7", "8")])
    def test_any_column_will_do(self, column: Any) -> None:
        assert ENCODER.encode({"item_id": column}, fields=["item_id"])["item_id"].ids.tolist() == [3, 4]

    @pytest.mark.parametrize("value", [1.5, ["7"], {"id": 7}, object(), b"7"])
    def test_what_is_no_id_is_refused_with_its_row(self, value: Any) -> None:
        with pytest.raises(DataError, match=r"'item_id' is no id(.|\n)*in row 2"):
            one("item_id", "7", "8", value)

    def test_a_new_id_may_get_a_row_of_its_own(self) -> None:
        grown = ENCODER.with_ids({"item_id": ["77", "8", "78"], "tags": []})
        assert [grown.row("item_id", each) for each in (8, 77, 78)] == [4, 6, 7]
        assert (ENCODER.rows("item_id"), grown.rows("item_id")) == (6, 8)
        assert ENCODER.row("item_id", 77) < 3


class TestSeveralIds:
    def test_multi_keeps_the_first_and_sequence_the_last(self) -> None:
        tags = one("tags", ["a", "b", "c"], "b|a", [], None, "a||", ["b", None])
        assert tags.ids.tolist() == [[2, 3], [3, 2], [0, 0], [0, 0], [2, 0], [3, 0]]
        assert tags.lengths.tolist() == [2, 2, 1, 1, 1, 1]
        history = one("history", ["9", "7", "8", "7"], "9")
        assert history.ids.tolist() == [[2, 3, 2], [4, 0, 0]]
        assert history.lengths.tolist() == [3, 1]

    def test_a_single_number_is_no_list(self) -> None:
        with pytest.raises(DataError, match="a list of ids"):
            one("tags", 7)

    def test_an_array_is_a_list(self) -> None:
        assert one("history", np.array([7, 8])).ids.tolist() == [[2, 3]]


class TestNumbers:
    def test_are_standardised_and_clipped(self) -> None:
        price = one("price", 10, 15.0, "20", -1e9, math.inf, np.float32(5))
        assert price.values.dtype == np.float32
        assert price.values.tolist() == [0.0, 1.0, 2.0, -3.0, 3.0, -1.0]
        assert price.ids.tolist() == [1] * 6

    def test_missing_ones_are_marked(self) -> None:
        price = one("price", None, "", math.nan, 0)
        assert price.ids.tolist() == [0, 0, 0, 1]
        assert price.values.tolist() == [0.0, 0.0, 0.0, -2.0]

    @pytest.mark.parametrize("value", ["cheap", [1], 10**400])
    def test_what_is_no_number_is_refused_with_its_row(self, value: Any) -> None:
        with pytest.raises(DataError, match=r"'price' is no finite number(.|\n)*in row 1"):
            one("price", 1, value)

    def test_infinity_needs_a_clip(self) -> None:
        open_ended = SHOP.model_copy(update={"field": (SHOP.field[-1].model_copy(update={"clip": None}),)})
        with pytest.raises(DataError, match="inf"):
            Encoder(open_ended).encode({"price": np.array([1.0, math.inf])})
        with pytest.raises(DataError, match="1e\\+300"):
            Encoder(open_ended).encode({"price": [1e300]})


class TestColumns:
    def test_an_absent_column_is_missing_everywhere(self) -> None:
        encoded = ENCODER.encode({"hour": [1, 2]})
        assert list(encoded) == [field.name for field in SHOP.field]
        assert all(len(each) == 2 for each in encoded.values())
        assert encoded["tags"].ids.tolist() == [[0], [0]]
        assert encoded["item_id"].ids.tolist() == [0, 0]
        assert encoded["price"].ids.tolist() == [0, 0]

    def test_other_columns_are_left_alone(self) -> None:
        assert len(ENCODER.encode({"clicked": [1, 0, 1], "hour": [5]})["hour"]) == 1

    def test_uneven_columns_are_refused(self) -> None:
        with pytest.raises(DataError, match=r"'item_id' has 1 values where 2 are expected"):
            ENCODER.encode({"hour": [1, 2], "item_id": [7]})

    def test_no_row_is_possible(self) -> None:
        encoded = ENCODER.encode({field.name: [] for field in SHOP.field})
        assert {len(each) for each in encoded.values()} == {0}

    def test_the_number_of_rows_may_be_told(self) -> None:
        assert len(ENCODER.encode({}, rows=3)["price"]) == 3

    @settings(deadline=None)
    @given(st.lists(st.one_of(st.none(), st.text(), st.integers(), st.floats(allow_nan=True, allow_infinity=False))))
    def test_every_row_is_within_its_table(self, values: list[Any]) -> None:
        whole = [None if isinstance(value, float) and not value.is_integer() else value for value in values]
        ids = one("user_id", *whole).ids
        assert ids.shape == (len(values),)
        assert ((ids >= 0) & (ids < ENCODER.rows("user_id"))).all()
        # One at a time gives the same: what is remembered of one value is not taken for another.
        assert ids.tolist() == [ENCODER.row("user_id", value) for value in whole]
