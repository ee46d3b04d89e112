from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgekit.tuning.groups import halves, split_by, work_groups

works = st.lists(st.floats(0.1, 100), min_size=1, max_size=30)


def named(values: list[float]) -> dict[str, float]:
    return {f"n{index}": value for index, value in enumerate(values)}


@given(works, st.integers(1, 12))
def test_groups_are_runs_of_at_most_a_share_or_single_nodes(values: list[float], most: int) -> None:
    work = named(values)
    groups = work_groups(list(work), work, most)
    assert [node for group in groups for node in group] == list(work)
    share = sum(values) / most
    assert all(len(group) == 1 or sum(work[n] for n in group) <= share * (1 + 1e-9) for group in groups)


@given(works)
def test_halving_ends_at_single_nodes(values: list[float]) -> None:
    work = named(values)
    groups: tuple[tuple[str, ...], ...] = (tuple(work),)
    for _ in range(6):
        groups = halves(groups, work, least=0.0)
    assert groups == tuple((node,) for node in work)


def test_what_is_little_work_is_not_halved() -> None:
    work = {"a": 98.0, "b": 1.0, "c": 1.0}
    assert halves([("a",), ("b", "c")], work, least=0.05) == (("a",), ("b", "c"))


@given(works, st.sets(st.integers(0, 29)))
def test_splitting_keeps_order_and_separates_precisions(values: list[float], kept: set[int]) -> None:
    names = list(named(values))
    floating = {f"n{index}" for index in kept}
    groups = split_by([tuple(names)], floating)
    assert [node for group in groups for node in group] == names
    assert all(len({node in floating for node in group}) == 1 for group in groups)
