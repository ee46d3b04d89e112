from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ranker.dataset import learn_schema, read_file
from ranker.model import Ranker
from ranker.networks import Mixer
from ranker.planted import generate
from ranker.training import evaluate
from ranker.update import extended, fitting, learn_rows, unseen_ids

from edgekit.features.schema import read_schema
from edgekit.features.tables import Bits, quantize_table, with_rows


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, root: Path) -> tuple[Path, Ranker]:
    folder = tmp_path_factory.mktemp("shop")
    generate(folder, 2000, users=20, items=40, seed=1)
    schema = read_schema(root / "examples" / "10_ranker" / "schemas" / "planted.toml")
    torch.manual_seed(0)
    model = Ranker(learn_schema(schema, folder / "train.csv"), "unimixing-lite", Mixer(tokens=7, width=8, block=8))
    model.table.data.normal_()
    return folder, model.eval()


def test_new_ids_are_found_by_how_often_they_come(shop: tuple[Path, Ranker]) -> None:
    folder, model = shop
    found = unseen_ids(model.schema, "item_id", folder / "later.csv")
    assert set(found) == {"i40", "i41"}
    assert unseen_ids(model.schema, "item_id", folder / "test.csv") == []
    with pytest.raises(ValueError, match="no categorical field 'tags'"):
        unseen_ids(model.schema, "tags", folder / "later.csv")


def test_an_extended_ranker_scores_known_ids_as_before(shop: tuple[Path, Ranker]) -> None:
    folder, model = shop
    larger = extended(model, "item_id", ("i40", "i41"))
    before = read_file(folder / "test.csv", model.schema, ("clicked",))
    after = read_file(folder / "test.csv", larger.schema, ("clicked",))
    with torch.no_grad():
        torch.testing.assert_close(larger(after.rows, after.weights), model(before.rows, before.weights))
    assert larger.layout.rows == model.layout.rows + 2


def test_only_the_new_rows_learn(shop: tuple[Path, Ranker]) -> None:
    folder, model = shop
    ids = ("i40", "i41")
    larger = extended(model, "item_id", ids)
    kept = {name: table.clone() for name, table in larger.tables().items()}
    samples = read_file(folder / "later.csv", larger.schema, ("clicked",))
    before = evaluate(larger, samples).logloss
    rows = learn_rows(larger, "item_id", ids, samples, steps=50)
    assert evaluate(larger, samples).logloss < before
    assert rows.keys() == set(ids)
    for name, table in larger.tables().items():
        old = len(table) - (2 if name == "item_id" else 0)
        assert torch.equal(table[:old], kept[name][:old]), name
    np.testing.assert_array_equal(larger.tables()["item_id"][-1].numpy(), rows["i41"])
    assert not torch.equal(larger.tables()["item_id"][-2:], kept["item_id"][-2:])
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, larger.network.state_dict()[name]), name


@pytest.mark.parametrize("bits", [8, 4])
def test_rows_are_cut_to_what_a_table_can_hold(bits: Bits) -> None:
    table = quantize_table(np.full((3, 4), 0.1, np.float32), bits)
    rows = fitting({"a": np.array([0.05, -0.05, 9, -9], np.float32)}, table)
    larger = with_rows(table, [3], np.stack(list(rows.values())))
    assert larger.rows == 4
    assert rows["a"][0] == np.float32(0.05)
    assert 0.1 <= rows["a"][2] == -rows["a"][3] < 1
    plain = quantize_table(np.full((3, 4), 0.1, np.float32), 32)
    assert fitting({"a": np.array([9], np.float32)}, plain)["a"] == 9
