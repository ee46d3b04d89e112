from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import ArtifactError
from edgekit.features.encode import Encoder
from edgekit.features.folder import VOCABULARIES, pack_features, read_features, unpack_features, write_features
from edgekit.features.order import as_integers, in_order
from edgekit.features.schema import Field, Schema
from edgekit.features.tables import quantize_table
from tests.features.shop import SHOP, tables

PLAIN = st.integers(-(2**53) + 1, 2**53 - 1).map(str)
IDS = st.one_of(PLAIN, st.text(min_size=1), st.sampled_from(["007", "-0", "+1"]))


def schema_of(vocabulary: tuple[str, ...]) -> Schema:
    field = Field(name="a", kind="categorical", side="item", dimension=1, vocabulary=vocabulary, hash_buckets=2)
    return Schema(name="one", field=(field,))


def rows(schema: Schema) -> dict[str, np.ndarray]:
    return {field.name: np.arange(field.rows, dtype=np.float32)[:, None] for field in schema.field}


@settings(deadline=None)
@given(st.lists(IDS, unique=True, max_size=20).map(tuple))
def test_any_vocabulary_comes_back(vocabulary: tuple[str, ...]) -> None:
    schema = schema_of(vocabulary)
    packed = pack_features(schema, {name: quantize_table(each, 32) for name, each in rows(schema).items()})
    assert unpack_features(packed, "here").schema == schema


@settings(deadline=None)
@given(st.lists(IDS, unique=True, max_size=20).map(tuple))
def test_every_id_keeps_its_row_in_another_place(vocabulary: tuple[str, ...]) -> None:
    schema = schema_of(vocabulary)
    ordered, order = in_order(schema)
    moved = rows(schema)["a"][order["a"]]
    for each in (*vocabulary, "unseen", None):
        before, after = Encoder(schema).row("a", each), Encoder(ordered).row("a", each)
        assert moved[after, 0] == before
    assert in_order(ordered)[0] == ordered


def test_integers_are_ordered_as_numbers_and_others_as_texts() -> None:
    assert in_order(schema_of(("10", "9", "-3")))[0].field[0].vocabulary == ("-3", "9", "10")
    assert in_order(schema_of(("10", "9", "x")))[0].field[0].vocabulary == ("10", "9", "x")
    assert as_integers(("1", "01")) is None
    assert as_integers((str(2**53),)) is None


def test_fields_without_a_vocabulary_stay() -> None:
    ordered, order = in_order(SHOP)
    assert [field.name for field in ordered.field] == [field.name for field in SHOP.field]
    assert order["price"].tolist() == [0, 1, 2]
    moved = {name: values[order[name]] for name, values in tables().items()}
    assert [moved[field.name].shape for field in ordered.field] == [(f.rows, f.dimension) for f in ordered.field]


def test_numbers_in_order_take_next_to_no_space(tmp_path: Path) -> None:
    schema = schema_of(tuple(map(str, range(1000, 5000))))
    write_features(tmp_path / "a", schema, rows(schema))
    assert (tmp_path / "a" / VOCABULARIES).stat().st_size < 100
    assert read_features(tmp_path / "a").schema == schema


@pytest.mark.parametrize("packed", ['[{"steps":[1,"2"]}]', '[{"steps":1}]', "[3]", '[{"steps":[1,0]}]', "[[1]]"])
def test_a_vocabulary_that_is_none_is_refused(packed: str) -> None:
    import zlib

    schema = schema_of(("x", "y"))
    members = pack_features(schema, {name: quantize_table(each, 32) for name, each in rows(schema).items()})
    with pytest.raises(ArtifactError):
        unpack_features(members | {VOCABULARIES: zlib.compress(packed.encode())}, "here")
