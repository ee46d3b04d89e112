from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.tuning.comparison import Comparisons
from edgekit.tuning.search import Found, search
from tests.tuning.planted import PlantedEngine

NODES = [f"n{index}" for index in range(14)]


def found_in(engine: PlantedEngine, seconds: float = 60.0) -> Found:
    nodes = list(engine.float_us)
    return search(nodes, dict.fromkeys(nodes, 1.0), Comparisons(engine, seconds))


def engine_with(slow: set[str], border_us: float = 0.0, noise: float = 0.002) -> PlantedEngine:
    """8 bit takes half the time, but twice the time in the slow nodes."""
    return PlantedEngine(
        dict.fromkeys(NODES, 100.0), {n: 200.0 if n in slow else 50.0 for n in NODES}, border_us, noise
    )


@pytest.mark.parametrize("slow", ["", "n3", "n0 n1", "n5 n6 n12", "n9 n10"])
def test_planted_slow_nodes_are_found_and_fast_ones_stay(slow: str) -> None:
    found = found_in(engine_with(set(slow.split())))
    assert found.kept == set(slow.split())
    assert found.complete
    assert found.placed.speedup > 1.5


def test_a_node_that_costs_more_to_reach_than_it_gains_stays_in_8_bit() -> None:
    assert found_in(engine_with({"n8"}, border_us=80.0)).kept == set()


def test_neighbours_that_pay_only_together_are_found_in_their_group() -> None:
    # Alone, n10 or n11 gains 100 and costs two borders of 60; together they gain 200 for the same borders.
    engine = engine_with({"n10", "n11"}, border_us=60.0)
    assert found_in(engine).kept == {"n10", "n11"}


def test_where_8_bit_is_slower_everywhere_nothing_is_quantized() -> None:
    found = found_in(engine_with(set(NODES)))
    assert found.kept == set(NODES)
    assert found.rules.speedup < 0.6
    assert found.placed.speedup == pytest.approx(1.0, abs=0.02)


def test_differences_below_the_noise_count_for_nothing() -> None:
    engine = engine_with(set(), noise=0.05)
    engine.int8_us = {n: 50.5 if n == "n4" else 50.0 for n in NODES}
    engine.float_us = {n: 50.0 if n == "n4" else 100.0 for n in NODES}
    assert found_in(engine).kept == set()


def test_groups_are_of_one_precision_and_hold_every_node_once() -> None:
    found = found_in(engine_with({"n5", "n6"}))
    assert [node for group in found.groups for node in group] == NODES
    assert all(len({node in found.kept for node in group}) == 1 for group in found.groups)


def test_a_search_without_time_says_so_and_is_not_slower_than_floating_point() -> None:
    engine = engine_with(set(NODES) - {"n0"})
    found = found_in(engine, seconds=-1.0)
    assert not found.complete
    assert found.kept == set(NODES)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.floats(10, 500), st.floats(10, 500)), min_size=1, max_size=8), st.floats(0, 50))
def test_whatever_the_costs_the_result_is_not_slower_than_floating_point(
    costs: list[tuple[float, float]], border_us: float
) -> None:
    nodes = [f"n{index}" for index in range(len(costs))]
    engine = PlantedEngine(
        dict(zip(nodes, (fp for fp, _ in costs), strict=True)),
        dict(zip(nodes, (int8 for _, int8 in costs), strict=True)),
        border_us,
        noise=0.001,
    )
    found = found_in(engine)
    assert engine.microseconds(found.kept) <= 1.01 * engine.microseconds(frozenset(nodes))
