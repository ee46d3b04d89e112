from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import UsageError
from edgekit.features.schema import Field, Schema, read_schema
from tests.features.shop import SHOP

TOML = """
name = "shop"
label = "clicked"
item = "item_id"

[[field]]
name = "item_id"
kind = "categorical"
side = "item"
dimension = 10
vocabulary = "items.txt"
hash_buckets = 4

[[field]]
name = "price"
kind = "numerical"
side = "item"
dimension = 2
mean = 3.5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "items.txt").write_text("7\n8\nnine lives\n", encoding="utf-8")
    (tmp_path / "shop.toml").write_text(TOML)
    return tmp_path / "shop.toml"


def test_a_schema_is_read_with_the_vocabulary_beside_it(file: Path) -> None:
    schema = read_schema(file)
    assert schema.field[0].vocabulary == ("7", "8", "nine lives")
    assert [field.rows for field in schema.field] == [1 + 4 + 3, 3]
    assert schema.width == 12
    assert schema.offsets == {"item_id": 0, "price": 10}


def test_rows_without_buckets_leave_one_for_unseen_ids() -> None:
    field = Field(name="a", kind="categorical", side="user", dimension=1, vocabulary=("x",))
    assert (field.first_known, field.rows) == (2, 3)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("hash_buckets", "hash_bucket", r"shop.toml: unknown key 'field\[0\].hash_bucket'"),
        ("mean = 3.5", "pooling = 'sum'", r"'price' is numerical, and 'pooling' belongs to multi and sequence fields"),
        ("mean = 3.5", "std = 0", r"field\[1\].std"),
        ('name = "price"', 'name = "item_id"', "two fields are named 'item_id'"),
        ('label = "clicked"', 'label = "price"', "would be told the answer"),
        ('side = "item"', 'side = "user"', "the field 'item_id' has the side 'user'"),
        ('"items.txt"', '"other.txt"', "other.txt cannot be read"),
        ('"items.txt"', '["7", "8", "7"]', "holds '7' twice"),
        ('"items.txt"', '["7", ""]', "holds an empty id"),
        ('"items.txt"', "[7, 8]", "valid string"),
        ('kind = "numerical"', 'kind = "numeric"', r"field\[1\].kind"),
        ("dimension = 2", "", r"key 'field\[1\].dimension' is missing"),
    ],
)
def test_what_is_wrong_is_named(file: Path, old: str, new: str, problem: str) -> None:
    assert old in TOML
    file.write_text(TOML.replace(old, new, 1))
    with pytest.raises(UsageError, match=problem):
        read_schema(file)


def test_an_unknown_key_names_the_known_ones(file: Path) -> None:
    file.write_text(TOML.replace("mean", "men"))
    with pytest.raises(UsageError) as caught:
        read_schema(file)
    assert "mean" in caught.value.found
    assert "Did you mean 'mean'?" in caught.value.fix


def test_a_schema_needs_a_field() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Schema(name="none", field=())


def test_fields_are_found_by_side() -> None:
    assert [field.name for field in SHOP.of_side("user", "context")] == ["user_id", "history", "hour"]


def test_a_schema_is_frozen() -> None:
    change: Any = SHOP
    with pytest.raises(ValueError, match="frozen"):
        change.name = "other"
