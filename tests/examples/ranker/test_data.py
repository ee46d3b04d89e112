from __future__ import annotations

import csv
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from ranker.dataset import Numbers, learn_schema, read_samples
from ranker.model import Ranker
from ranker.movielens import prepare_movielens
from ranker.networks import Mixer
from ranker.planted import generate
from ranker.samples import Layout, place
from ranker.tables import find, pieces, write_csv

from edgekit.features.encode import Encoder
from edgekit.features.schema import Schema, read_schema
from edgekit.features.tables import gather, quantize_table


@pytest.fixture(scope="module")
def schemas(root: Path) -> Path:
    return root / "examples" / "10_ranker" / "schemas"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, schemas: Path) -> tuple[Path, Schema, dict[str, float]]:
    folder = tmp_path_factory.mktemp("planted")
    best = generate(folder, 3000, users=50, items=80, seed=1)
    return folder, learn_schema(read_schema(schemas / "planted.toml"), folder / "train.csv"), best


def test_a_csv_is_read_in_pieces(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", ("a", "b", "c"), [(n, f"{n},{n}", "") for n in range(5)])
    found = list(pieces(tmp_path / "train.csv", ("c", "b", "d"), 2))
    assert [len(each["b"]) for each in found] == [2, 2, 1]
    assert found[0] == {"c": ["", ""], "b": ["0,0", "1,1"]}
    assert find(tmp_path, "train").name == "train.csv"
    with pytest.raises(FileNotFoundError, match=r"neither test\.csv nor test\.parquet"):
        find(tmp_path, "test")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    write_csv(path, ("a",), [(f"{number:030d}",) for number in range(60_000)])

    def peak(rows: int) -> int:
        tracemalloc.start()
        for _ in pieces(path, ("a",), rows):
            pass
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    assert peak(500) * 10 < peak(60_000)


def test_a_broken_row_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match=r"train\.csv, line 3 or before: 1 values under 2 names"):
        list(pieces(tmp_path / "train.csv", ("a",)))


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    table = arrow.table({"a": [1, 2, None], "b": [["x", "y"], [], None], "c": [0.5, None, 1.0]})
    parquet.write_table(table, tmp_path / "train.parquet")
    found = list(pieces(tmp_path / "train.parquet", ("a", "b", "missing"), 2))
    assert found == [{"a": [1, 2], "b": [["x", "y"], []]}, {"a": [None], "b": [None]}]


def test_running_mean_and_spread_are_those_of_all_values() -> None:
    rng = np.random.default_rng(0)
    values, numbers = rng.normal(5, 3, 1000), Numbers()
    for part in np.split(values, [10, 500]):
        numbers.add([*part.tolist(), None, "", float("nan")])
    assert numbers.mean == pytest.approx(values.mean())
    assert numbers.std == pytest.approx(values.std())
    assert Numbers().std == 1


def test_vocabularies_come_from_the_training_rows(tmp_path: Path, schemas: Path) -> None:
    rows = [("1", "0", "u1", "i1", "a|b", "3", "", "5", "phone"), ("0", "0", "u1", "i2", "a", "5", "i1|i9", "5", "")]
    columns = ("clicked", "bought", "user_id", "item_id", "tags", "price", "recent", "hour", "device")
    write_csv(tmp_path / "train.csv", columns, rows)
    learned = {
        each.name: each for each in learn_schema(read_schema(schemas / "planted.toml"), tmp_path / "train.csv").field
    }
    assert learned["user_id"].vocabulary == ("u1",)
    assert learned["tags"].vocabulary == ("a", "b")
    assert learned["recent"].vocabulary == ("i1", "i9")
    assert (learned["price"].mean, learned["price"].std) == (4, 1)
    often = learn_schema(read_schema(schemas / "planted.toml"), tmp_path / "train.csv", least=2)
    assert [each.vocabulary for each in often.field if each.name == "item_id"] == [()]


def test_a_field_without_a_column_is_refused(tmp_path: Path, schemas: Path) -> None:
    write_csv(tmp_path / "train.csv", ("label", "user"), [(1, 2)])
    with pytest.raises(ValueError, match="no column 'item', which is a field of the schema 'frappe'"):
        learn_schema(read_schema(schemas / "frappe.toml"), tmp_path / "train.csv")


def test_labels_are_zero_or_one(planted: tuple[Path, Schema, dict[str, float]]) -> None:
    folder, schema, _ = planted
    with pytest.raises(ValueError, match="no column 'liked' for the label"):
        read_samples(folder, "train", schema, ("liked",))
    with pytest.raises(ValueError, match="'hour' is neither 0 nor 1"):
        read_samples(folder, "train", schema, ("hour",))


def test_features_are_those_that_the_device_gathers(planted: tuple[Path, Schema, dict[str, float]]) -> None:
    folder, schema, _ = planted
    model = Ranker(schema, "unimixing-lite", Mixer(tokens=7, width=8, block=8))
    model.table.data.normal_()
    samples = read_samples(folder, "test", schema, ("clicked",))
    columns = next(pieces(folder / "test.csv", [each.name for each in schema.field], 300))
    tables = {name: quantize_table(table.numpy(), 32) for name, table in model.tables().items()}
    expected = gather(schema, tables, Encoder(schema).encode(columns))
    with torch.no_grad():
        found = model.features(samples.rows, samples.weights)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_missing_and_unseen_values_have_rows_of_their_own(planted: tuple[Path, Schema, dict[str, float]]) -> None:
    _, schema, _ = planted
    columns: dict[str, list[object]] = {each.name: [None] for each in schema.field}
    layout = Layout.of(schema)
    rows, weights = place(schema, layout, Encoder(schema).encode(columns))
    assert weights is not None
    starts = np.repeat(layout.starts, layout.slots)
    assert (rows[0] == starts).all()
    # A missing number reads row 0 once, an empty list as well.
    counts = np.add.reduceat(weights[0], np.r_[0, np.cumsum(layout.slots)[:-1]])
    assert counts.tolist() == [1] * len(schema.field)
    unseen, _ = place(schema, layout, Encoder(schema).encode(columns | {"user_id": ["nobody"]}))
    assert 1 <= unseen[0, 0] <= 16


def test_the_planted_chances_bound_the_auc(planted: tuple[Path, Schema, dict[str, float]], tmp_path: Path) -> None:
    folder, _, best = planted
    assert 0.8 < best["test.clicked"] < 0.95
    again = generate(tmp_path, 3000, users=50, items=80, seed=1)
    assert again == best
    assert (tmp_path / "train.csv").read_bytes() == (folder / "train.csv").read_bytes()
    assert generate(tmp_path, 3000, users=50, items=80, seed=2) != best


def test_movielens_is_split_by_each_users_time(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    ratings = [(user, movie, 4.0 if movie % 2 else 3.5, 1000 + movie * 60) for user in (1, 2) for movie in range(10)]
    write_csv(source / "ratings.csv", ("userId", "movieId", "rating", "timestamp"), ratings[::-1])
    movies = [(movie, f"Film ({1990 + movie})", "Drama|War" if movie else "(no genres listed)") for movie in range(10)]
    write_csv(source / "movies.csv", ("movieId", "title", "genres"), movies)
    assert prepare_movielens(source, tmp_path / "out") == {"train": 14, "valid": 2, "test": 4}
    with (tmp_path / "out" / "test.csv").open() as stream:
        last = list(csv.DictReader(stream))[1]
    assert last["movie_id"] == "9"
    assert last["label"] == "1"
    assert last["year"] == "1999"
    # Only what was liked before, and in that order.
    assert last["liked"] == "1|3|5|7"
    assert last["seen"] == "4"
    with (tmp_path / "out" / "train.csv").open() as stream:
        first = next(csv.DictReader(stream))
    assert (first["genres"], first["liked"]) == ("", "")


def test_real_movielens_has_the_split_that_is_documented(root: Path, tmp_path: Path) -> None:
    source = root.parent / "shared" / "ranker" / "ml-latest-small"
    if not source.is_dir():
        pytest.skip("MovieLens (../shared/ranker/ml-latest-small) is not here")
    counts = prepare_movielens(source, tmp_path)
    # GroupLens' file has 100,836 ratings; some copies have a line more.
    assert sum(counts.values()) in (100_836, 100_837)
    assert counts["test"] == pytest.approx(0.2 * 100_836, rel=0.01)
