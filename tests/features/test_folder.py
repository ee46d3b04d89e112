from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ArtifactError, OutputError, UsageError
from edgekit.features.folder import DESCRIPTION, MEMBERS, TABLES, VOCABULARIES, read_features, write_features
from edgekit.features.tables import Bits, quantize_table
from tests.features.shop import SHOP, tables


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_what_is_written_is_read(tmp_path: Path, bits: Bits) -> None:
    written = write_features(tmp_path / "shop.features", SHOP, tables(), bits=bits, update_key=bytes(range(32)))
    read = read_features(tmp_path / "shop.features")
    assert read.schema == SHOP
    assert read.identity == written.identity
    assert read.update_key == bytes(range(32))
    for name, values in tables().items():
        assert read.tables[name].bits == bits
        assert read.tables[name].dense().tolist() == quantize_table(values, bits).dense().tolist()


def test_every_table_may_have_its_own_bits(tmp_path: Path) -> None:
    bits: dict[str, Bits] = {name: 8 for name in tables()} | {"user_id": 4, "price": 32}
    read = write_features(tmp_path / "shop.features", SHOP, tables(), bits=bits)
    assert {name: table.bits for name, table in read.tables.items()} == bits


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_features(tmp_path / name, SHOP, tables())
    assert [(tmp_path / "a" / name).read_bytes() for name in MEMBERS] == [
        (tmp_path / "b" / name).read_bytes() for name in MEMBERS
    ]
    assert write_features(tmp_path / "c", SHOP, tables(1)).identity != read_features(tmp_path / "a").identity


def test_an_older_folder_stays_unless_told(tmp_path: Path) -> None:
    first = write_features(tmp_path / "a", SHOP, tables())
    with pytest.raises(OutputError, match="exists already"):
        write_features(tmp_path / "a", SHOP, tables(1))
    assert read_features(tmp_path / "a").identity == first.identity
    write_features(tmp_path / "a", SHOP, tables(1), overwrite=True)
    assert read_features(tmp_path / "a").identity != first.identity


def test_tables_must_fit_the_schema(tmp_path: Path) -> None:
    short = tables() | {"hour": np.zeros((3, 3), np.float32)}
    with pytest.raises(
        UsageError, match=r"'hour' is not of its field's shape(.|\n)*3 x 3; the schema says 26 rows of 3"
    ):
        write_features(tmp_path / "a", SHOP, short)
    with pytest.raises(UsageError, match="no table for the field 'hour'"):
        write_features(tmp_path / "a", SHOP, {name: each for name, each in tables().items() if name != "hour"})
    with pytest.raises(UsageError, match="a table for no field: 'other'"):
        write_features(tmp_path / "a", SHOP, tables() | {"other": np.zeros((3, 3), np.float32)})
    with pytest.raises(UsageError, match="no Ed25519 public key"):
        write_features(tmp_path / "a", SHOP, tables(), update_key=b"short")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", MEMBERS)
def test_damage_is_told(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a"
    write_features(folder, SHOP, tables())
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="damaged"):
        read_features(folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"holds no features(.|\n)*{name}"):
        read_features(folder)


def test_contradictions_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    write_features(folder, SHOP, tables(), bits=32)
    text = (folder / DESCRIPTION).read_text()
    for old, new, found in [
        ('"schema_version":1', '"schema_version":2', "newer EdgeKit"),
        ('"rows":3,', '"rows":2,', "damaged"),
        ('"side":"context"', '"side":"moment"', "schema.json"),
        ('"update_key":""', '"update_key":"xy"', "damaged"),
    ]:
        assert old in text
        (folder / DESCRIPTION).write_text(text.replace(old, new))
        with pytest.raises(ArtifactError, match=found):
            read_features(folder)
    (folder / DESCRIPTION).write_text(text)
    (folder / TABLES).write_bytes(np.full(len((folder / TABLES).read_bytes()) // 4, np.nan, "<f4").tobytes())
    with pytest.raises(ArtifactError, match="not finite"):
        read_features(folder)


def test_vocabularies_are_small_and_no_part_of_the_description(tmp_path: Path) -> None:
    write_features(tmp_path / "a", SHOP, tables())
    description = json.loads((tmp_path / "a" / DESCRIPTION).read_bytes())
    assert "vocabulary" not in json.dumps(description)
    assert (tmp_path / "a" / VOCABULARIES).stat().st_size < 120
