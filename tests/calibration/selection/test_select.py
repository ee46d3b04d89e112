from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.calibration.judging.probe import Reading
from edgekit.calibration.selection.select import Budget, Selection, select
from edgekit.calibration.selection.sensitivity import Analysis, Options, analyse
from edgekit.calibration.selection.speed import estimated_cost, macs_cost
from edgekit.graph.cost import node_costs, tensor_shapes
from edgekit.graph.placement import place
from tests.calibration.planted import ROWS, analysis_of, chain, row_net
from tests.graph.schemes import SIGNED, scheme

ROOMY = Budget(max_slowdown=100.0, min_macs_share=0.0)


def selected(analysis: Analysis, budget: Budget) -> Selection:
    cost = estimated_cost(analysis.variants.model, analysis.variants.nodes)
    return select(analysis, analyse(analysis), cost, budget)


@pytest.mark.parametrize("ruined", ["c2", "c4", "c6"])
@pytest.mark.parametrize("rules", [scheme(), scheme(activations=SIGNED)], ids=["unsigned", "signed"])
@pytest.mark.parametrize("groups", [2, 12])
def test_a_ruined_layer_is_kept_and_nothing_else(tmp_path: Path, ruined: str, rules: object, groups: int) -> None:
    options = Options(groups=groups, threads=1)
    analysis = analysis_of(chain(ruined), tmp_path, rules=rules, options=options)  # type: ignore[arg-type]
    found = selected(analysis, ROOMY)
    assert found.keep == (f"stage/{ruined}",)
    assert found.after < 0.1 * found.before
    assert found.before == analysis.everything.mean
    assert found.stopped == "nothing else lowers the distortion enough"


def test_the_selection_is_what_placement_then_deploys(tmp_path: Path) -> None:
    analysis = analysis_of(chain("c3"), tmp_path)
    found = selected(analysis, ROOMY)
    assert place(analysis.variants.model, scheme(), found.keep).nodes["stage/c3"].precision == "fp32"
    assert analysis.without(found.keep).mean == found.after
    assert set(found.why()) == set(found.keep)
    assert found.why()["stage/c3"].startswith("by selection: distortion")


def test_a_network_that_8_bit_does_not_harm_keeps_nothing(tmp_path: Path) -> None:
    analysis = analysis_of(row_net(), tmp_path, recipe=ROWS, rules=scheme(operators=("Gemm",)))
    found = selected(analysis, ROOMY)
    assert found.keep == ()
    assert found.rounds == ()
    assert found.macs_share_of_rules == 1.0


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analysis_of(chain("c5"), tmp_path_factory.mktemp("frames"), options=Options(harmless=0.0, threads=1))


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 6))
def test_budgets_are_kept(studied: Analysis, slowdown: float, share: float, rounds: int) -> None:
    budget = Budget(max_slowdown=slowdown, min_macs_share=share, min_gain=1e-4, max_rounds=rounds)
    found = selected(studied, budget)
    assert found.cost <= 1 + slowdown + 1e-9
    assert found.macs_share_of_rules >= share - 1e-9
    assert sum(one.action == "keep" for one in found.rounds) <= rounds
    assert (found.keep == ()) == (found.cost == 1.0)


@pytest.mark.parametrize(
    "budget", [Budget(max_slowdown=0.05, min_macs_share=0.0), Budget(max_slowdown=1.0, min_macs_share=0.95)]
)
def test_a_budget_too_small_for_the_ruined_layer_is_said_to_be_used_up(studied: Analysis, budget: Budget) -> None:
    found = selected(studied, budget)
    assert found.keep == ()
    assert found.stopped == "the budget is used up"
    assert found.after == found.before


def test_more_budget_is_no_worse(studied: Analysis) -> None:
    results = [selected(studied, Budget(slowdown, 0.0, min_gain=1e-3)) for slowdown in (0.0, 4.0, 12.0)]
    assert results[0].after > results[1].after >= results[2].after


def test_the_same_selection_gives_the_same_text(tmp_path: Path) -> None:
    texts = [json.dumps(selected(analysis_of(chain("c3"), tmp_path), ROOMY).to_json()) for _ in range(2)]
    assert texts[0] == texts[1]
    data = json.loads(texts[0])
    assert data["schema_version"] == 3
    assert data["keep"] == ["stage/c3"]


def test_what_costs_nothing_is_kept_for_a_small_gain(studied: Analysis) -> None:
    sensitivity = analyse(studied)
    demanding = Budget(max_slowdown=0.0, min_macs_share=0.0, min_gain=0.004)
    assert len(select(studied, sensitivity, lambda kept: 1.0, demanding).keep) > 1
    dear = Budget(max_slowdown=9.0, min_macs_share=0.0, min_gain=0.004)
    assert select(studied, sensitivity, lambda kept: 1.0 + len(kept), dear).keep == ("stage/c5",)


class Scripted(Analysis):
    """Answers from a table, for interactions that a network does not show to order; all else costs 10."""

    table: ClassVar = {("stage/c1",): 6.0, ("stage/c2",): 1.0, ("stage/c1", "stage/c2"): 1.0}

    def without(self, keep: Collection[str]) -> Reading:
        return Reading((self.table.get(tuple(sorted(keep)), 10.0),))

    def expected(self, reading: Reading) -> float:
        return reading.mean


def test_what_a_later_round_makes_needless_goes_back(tmp_path: Path) -> None:
    # c1 is cheap, so it comes first; with c2 kept as well, it does nothing any more.
    real = analysis_of(chain("c2"), tmp_path, options=Options(harmless=0.0, threads=1))
    sensitivity = analyse(real)
    units = tuple(replace(unit, only=5.0, only_expected=5.0) for unit in sensitivity.groups)
    scripted = Scripted(real.probe, real.variants, real.options)
    scripted.everything = Reading((10.0,))
    price = {"stage/c1": 0.002}
    found = select(
        scripted,
        replace(sensitivity, groups=units),
        lambda kept: 1.0 + sum(price.get(node, 0.5) for node in kept),
        Budget(max_slowdown=0.8, min_macs_share=0.0, width=9),
    )
    assert [(one.action, one.name) for one in found.rounds] == [
        ("keep", "stage/c1"),
        ("keep", "stage/c2"),
        ("return", "stage/c1"),
    ]
    assert found.keep == ("stage/c2",)
    assert set(found.why()) == {"stage/c2"}
    assert found.cost == 1.5


def test_every_round_is_told(tmp_path: Path) -> None:
    analysis = analysis_of(chain("c4"), tmp_path)
    steps: list[tuple[str, int, int]] = []
    cost = estimated_cost(analysis.variants.model, analysis.variants.nodes)
    select(analysis, analyse(analysis), cost, ROOMY, lambda *step: steps.append(step))
    assert steps == [("select", 1, ROOMY.max_rounds)]


def test_cost_by_work() -> None:
    model = chain()
    nodes = tuple(f"stage/c{i}" for i in range(1, 7))
    cost = estimated_cost(model, nodes, ratio=3.0, per_value=0.0)
    assert cost(frozenset()) == 1.0
    assert cost(frozenset(nodes)) == pytest.approx(3.0)
    assert cost(frozenset(nodes[2:3])) > cost(frozenset(nodes[:1])) > 1.0
    assert estimated_cost(onnx.ModelProto(), ())(frozenset()) == 1.0


def test_cost_by_values_that_are_carried() -> None:
    model = chain()
    nodes = tuple(f"stage/c{i}" for i in range(1, 7))
    shapes = tensor_shapes(model)
    kept = next(node for node in model.graph.node if node.name == nodes[2])
    values = sum(math.prod(shapes[name]) for name in (kept.input[0], kept.output[0]))
    work = sum(cost.macs for cost in node_costs(model))
    cost = estimated_cost(model, nodes, ratio=1.0, per_value=7.0)
    assert cost(frozenset({kept.name})) == pytest.approx(1.0 + 7.0 * values / work)


def test_reasons_name_what_the_cost_counts(studied: Analysis) -> None:
    model = studied.variants.model
    found = select(studied, analyse(studied), macs_cost(model), Budget(1.0, 0.0, min_gain=1e-4), unit="macs")
    assert found.unit == "macs"
    assert found.cost == pytest.approx(2 - found.macs_share)
    assert all("of the multiply-accumulates" in reason for reason in found.why().values())
    assert found.why()
