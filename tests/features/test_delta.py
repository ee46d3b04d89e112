from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ArtifactError, OutputError, UsageError
from edgekit.features.delta import new_key, read_delta, write_delta
from edgekit.features.folder import Features, write_features
from edgekit.features.tables import Bits, quantize_table, with_rows
from tests.features.shop import SHOP, tables

PRIVATE, PUBLIC = bytes(range(32)), bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
ROWS = {"item_id": {"7": [0.1, -0.2, 0.3, 0.0], "new": [0.5, 0.5, -0.5, 0.25]}, "tags": {"a": [1.0, 0.0, -1.0]}}


@pytest.fixture
def features(tmp_path: Path) -> Features:
    return write_features(tmp_path / "shop.features", SHOP, tables(), update_key=PUBLIC)


@pytest.fixture
def file(tmp_path: Path, features: Features) -> Path:
    write_delta(tmp_path / "1.delta", features, ROWS, 1, PRIVATE)
    return tmp_path / "1.delta"


def test_what_is_written_is_read(features: Features, file: Path) -> None:
    delta = read_delta(file, features, applied=0)
    assert delta.number == 1
    assert {field: list(rows) for field, rows in delta.rows.items()} == {"item_id": ["7", "new"], "tags": ["a"]}
    for field, rows in ROWS.items():
        for text, values in rows.items():
            assert delta.rows[field][text].tolist() == np.float32(values).tolist()


def test_the_same_rows_give_the_same_bytes(tmp_path: Path, features: Features, file: Path) -> None:
    write_delta(tmp_path / "again.delta", features, ROWS, 1, PRIVATE)
    assert (tmp_path / "again.delta").read_bytes() == file.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        write_delta(file, features, ROWS, 1, PRIVATE)


def test_a_change_of_any_byte_is_found(features: Features, file: Path) -> None:
    whole = file.read_bytes()
    for place in [8, 12, 40, len(whole) - 100, len(whole) - 64, len(whole) - 1]:
        changed = bytearray(whole)
        changed[place] ^= 1
        file.write_bytes(changed)
        with pytest.raises(ArtifactError, match="is not signed by whoever may change these features"):
            read_delta(file, features, applied=0)


@pytest.mark.parametrize("length", [0, 5, 70, 80, 200])
def test_what_is_cut_off_is_refused(features: Features, file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ArtifactError, match=r"no delta|not signed"):
        read_delta(file, features, applied=0)


def test_a_foreign_signature_is_refused(tmp_path: Path, features: Features) -> None:
    private, public = new_key()
    others = write_features(tmp_path / "other.features", SHOP, tables(), update_key=public)
    write_delta(tmp_path / "other.delta", others, ROWS, 1, private)
    with pytest.raises(ArtifactError, match="not signed by whoever"):
        read_delta(tmp_path / "other.delta", features, applied=0)
    with pytest.raises(UsageError, match="signed with another key"):
        write_delta(tmp_path / "mine.delta", features, ROWS, 1, private)


def test_a_delta_of_other_features_is_refused(tmp_path: Path, file: Path) -> None:
    other = write_features(tmp_path / "newer.features", SHOP, tables(1), update_key=PUBLIC)
    with pytest.raises(ArtifactError, match="belongs to other features"):
        read_delta(file, other, applied=0)


def test_deltas_come_once_and_in_turn(tmp_path: Path, features: Features, file: Path) -> None:
    with pytest.raises(ArtifactError, match=r"older than what is there(.|\n)*number 1, and 1 was applied"):
        read_delta(file, features, applied=1)
    write_delta(tmp_path / "3.delta", features, ROWS, 3, PRIVATE)
    with pytest.raises(ArtifactError, match=r"not the next one(.|\n)*Apply number 2 first"):
        read_delta(tmp_path / "3.delta", features, applied=1)


def test_features_without_a_key_take_none(tmp_path: Path, file: Path) -> None:
    closed = write_features(tmp_path / "closed.features", SHOP, tables())
    with pytest.raises(ArtifactError, match="take no deltas"):
        read_delta(file, closed, applied=0)
    with pytest.raises(UsageError, match="no update key"):
        write_delta(tmp_path / "2.delta", closed, ROWS, 1, PRIVATE)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"price": {"1": [0.0, 0.0]}}, "'price' is no field with ids"),
        ({"other": {"1": [0.0]}}, "'other' is no field with ids"),
        ({"tags": {"a": [0.0, 0.0]}}, r"an array \(2,\)"),
        ({"tags": {"a": [0.0, 0.0, np.nan]}}, "not finite"),
        ({"tags": {"": [0.0, 0.0, 0.0]}}, "The row of ''"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, features: Features, rows: dict, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        write_delta(tmp_path / "bad.delta", features, rows, 1, PRIVATE)
    assert not (tmp_path / "bad.delta").exists()


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_rows_are_replaced_and_added(bits: Bits) -> None:
    values = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    table = quantize_table(values, bits)
    new = np.array([[2.0, -1.0, 0.5], [0.0, 1.0, 0.0]], np.float32)
    changed = with_rows(table, [1, 5], new)
    assert (table.rows, changed.rows) == (5, 6)
    kept = [0, 2, 3, 4]
    assert changed.dense()[kept].tolist() == table.dense()[kept].tolist()
    step = {32: 0.0, 8: 1 / 127, 4: 1 / 7}[bits]
    np.testing.assert_allclose(changed.dense()[[1, 5]], new, atol=2.0 * step * 0.54)
    assert table.dense()[1].tolist() != changed.dense()[1].tolist()


def test_a_row_may_be_up_to_four_times_as_large() -> None:
    table = quantize_table(np.ones((2, 2), np.float32), 8)
    assert with_rows(table, [0], np.full((1, 2), 3.8, np.float32)).dense()[0, 0] == pytest.approx(3.8, rel=0.01)
    with pytest.raises(UsageError, match="too large for its table"):
        with_rows(table, [0], np.full((1, 2), 100, np.float32))
