from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgekit.calibration.selection.groups import label_of, layer_groups

MODULES = ["/stem/conv/Conv", *(f"/body/block.{i}/conv{j}/Conv" for i in range(3) for j in range(4)), "/head/Conv"]


@given(st.lists(st.text(alphabet="ab/._", min_size=1), max_size=60), st.integers(1, 15))
def test_groups_hold_every_layer_once_and_in_order(names: list[str], most: int) -> None:
    groups = layer_groups(names, most)
    assert [name for group in groups for name in group] == names
    assert all(groups)


def test_modules_stay_whole() -> None:
    groups = layer_groups(MODULES, 5)
    assert [len(group) for group in groups] == [1, 4, 4, 4, 1]
    assert [label_of(group, groups) for group in groups] == [
        "/stem/conv/Conv",
        "/body/block.0",
        "/body/block.1",
        "/body/block.2",
        "/head/Conv",
    ]


def test_names_that_tell_nothing_are_cut_into_equal_runs() -> None:
    names = [f"Conv_{i}" for i in range(20)]
    groups = layer_groups(names, 4)
    assert [len(group) for group in groups] == [5, 5, 5, 5]
    assert label_of(groups[1], groups) == "Conv_5 .. Conv_9"


def test_parts_of_one_module_are_told_apart_by_their_children() -> None:
    names = [f"/head/head.{i}/Conv" for i in range(4)]
    groups = layer_groups(names, 2)
    assert [label_of(group, groups) for group in groups] == ["/head/head.0 .. 1", "/head/head.2 .. 3"]


def test_few_layers_are_groups_of_one() -> None:
    assert layer_groups(["a", "b"], 12) == (("a",), ("b",))
    assert layer_groups([], 12) == ()
