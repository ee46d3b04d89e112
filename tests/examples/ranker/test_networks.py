from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from ranker.model import Ranker, cost, set_temperature, shape_of
from ranker.networks import NETWORKS, DeepFM, Dense, FinalMLP, Mixer, Shape
from ranker.samples import Layout

from edgekit.features.schema import Field, Schema

SMALL: dict[str, Mixer | Dense] = {
    name: Mixer(kind.size.mixing, tokens=4, width=8, block=8, blocks=2, head=(8,), dropout=0, feature_dropout=0)
    if isinstance(kind.size, Mixer)
    else replace(kind.size, hidden=kind.size.hidden[:2], second=(100,), gate=8)
    for name, kind in NETWORKS.items()
}


def schema(fields: int = 4, width: int = 6, **changes: object) -> Schema:
    names = ["user", "item", *(f"field{number}" for number in range(2, fields))]
    sides = ["user", "item", *["context"] * fields]
    made = [
        Field(name=name, kind="categorical", side=side, dimension=width, vocabulary=("a", "b"))  # type: ignore[arg-type]
        for name, side in zip(names, sides, strict=False)
    ]
    return Schema(name="test", label="label", user="user", item="item", field=tuple(made), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_answers_every_task_and_learns(name: str, tasks: int) -> None:
    torch.manual_seed(0)
    model = Ranker(schema(), name, SMALL[name], tasks)
    rows = torch.randint(model.layout.rows, (64, 4))
    wanted = (rows[:, :1] % 2).float().expand(-1, tasks)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(rows), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert model(rows).shape == (64, tasks)
    assert min(cost(model)) > 0
    assert losses[-1] < losses[0] / 2
    unused = [key for key, each in model.named_parameters() if each.grad is None]
    assert unused == []


def test_cost_counts_what_a_candidate_needs() -> None:
    model = Ranker(schema(10, 10), "dnn")
    assert cost(model) == (100 * 400 + 2 * 400 * 400 + 3 * 400 + 6 * 400 + 401, 100 * 400 + 2 * 400 * 400 + 400)


def test_mixing_costs_what_the_factors_cost() -> None:
    size = Mixer(tokens=10, width=16, block=16, expansion=2, head=())
    one, two = (cost(Ranker(schema(10, 10), "unimixing-lite", replace(size, blocks=count)))[1] for count in (1, 2))
    # L = 160, B = 16: L B + L^2 / B for mixing (METHODS B.4), and three products per token.
    assert two - one == 160 * 16 + 160 * 160 // 16 + 10 * 3 * 16 * 32


def test_the_factorisation_machine_is_the_sum_over_pairs() -> None:
    network = DeepFM(Shape(3, 2), Dense(hidden=(4,)))
    for each in network.deep.parameters():
        each.data.zero_()
    cut = torch.randn(5, 3, 3)
    vectors, linear = cut[..., :2], cut[..., 2]
    pairs = sum((vectors[:, i] * vectors[:, j]).sum(1) for i in range(3) for j in range(i))
    torch.testing.assert_close(network.eval()(cut.flatten(1))[:, 0], linear.sum(1) + pairs)


def test_final_mlp_fuses_its_streams_by_heads() -> None:
    network = FinalMLP(Shape(4, 5), Dense(hidden=(10,), second=(20,), gate=6, heads=5)).eval()
    features = torch.randn(3, 20)
    cut = features.reshape(3, 4, 5)
    first, second = (
        stream(features * 2 * torch.sigmoid(gate(cut[:, side])))
        for stream, gate, side in zip(network.streams, network.gates, (0, 1), strict=True)
    )
    fused = sum(
        ((first[:, 2 * head : 2 * head + 2] @ network.bilinear[0, head]) * second[:, 4 * head : 4 * head + 4]).sum(1)
        for head in range(5)
    )
    expected = fused + network.linear[0](first)[:, 0] + network.linear[1](second)[:, 0]
    torch.testing.assert_close(network(features)[:, 0], expected)


def test_the_temperature_reaches_every_mixing_and_is_kept() -> None:
    model = Ranker(schema(), "unimixing-lite", SMALL["unimixing-lite"])
    set_temperature(model, 0.3)
    taus = [value for key, value in model.state_dict().items() if key.endswith("tau")]
    assert taus == [pytest.approx(0.3)] * 2


def test_a_schema_says_what_stands_for_user_item_and_behaviour() -> None:
    fields = schema().field
    sequence = Field(name="past", kind="sequence", side="user", dimension=6, vocabulary=("a",))
    shape = shape_of(schema().model_copy(update={"field": (*fields, sequence)}))
    assert (shape.user, shape.item, shape.sequences) == ((0,), (1,), (4,))
    elsewhere = schema().model_copy(update={"user": "account"})
    assert shape_of(elsewhere).user == (0,)


def test_embeddings_of_unequal_length_are_refused() -> None:
    longer = Field(name="more", kind="numerical", side="item", dimension=7)
    with pytest.raises(ValueError, match="embeddings of one length"):
        shape_of(schema().model_copy(update={"field": (*schema().field, longer)}))


def test_layout_counts_slots() -> None:
    several = Field(name="tags", kind="multi", side="item", dimension=6, max_length=3, vocabulary=("x",))
    number = Field(name="price", kind="numerical", side="item", dimension=6)
    layout = Layout.of(schema().model_copy(update={"field": (*schema().field, several, number)}))
    assert layout.slots == (1, 1, 1, 1, 3, 2)
    assert layout.starts[-1] + 3 == layout.rows
    assert not layout.single
    assert Layout.of(schema()).single
