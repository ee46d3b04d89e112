from __future__ import annotations

from edgekit.backends import Layer, TimedLayer
from edgekit.profiling.layers import side_by_side


def timed(microseconds: float, *nodes: str, precision: str = "f32", kind: str = "conv") -> TimedLayer:
    return TimedLayer(Layer("+".join(nodes) or "reorder", kind, precision, "CPU", nodes), microseconds)


def test_layers_that_compute_the_same_nodes_stand_side_by_side() -> None:
    fp = [timed(60, "conv1", "relu1"), timed(30, "conv2"), timed(10, "add")]
    int8 = [timed(20, "conv1", precision="int8"), timed(5, "relu1"), timed(25, "conv2", "add", precision="int8")]
    groups = side_by_side({"fp": fp, "int8": int8})
    assert [group.nodes for group in groups] == [("conv1", "relu1"), ("conv2", "add")]
    first, second = groups
    assert (first.parts["fp"].microseconds, first.parts["int8"].microseconds) == (60, 25)
    assert (first.parts["fp"].share, first.parts["int8"].share) == (0.6, 0.5)
    assert first.parts["int8"].precision == "int8+f32"
    assert second.parts["fp"].microseconds == 40


def test_what_no_node_stands_for_is_a_group_of_its_own() -> None:
    groups = side_by_side({"fp": [timed(5, "a")], "int8": [timed(2, "a"), timed(1, kind="reorder"), timed(3)]})
    assert groups[1].nodes == ()
    assert groups[1].parts["int8"].microseconds == 4
    assert set(groups[1].parts) == {"int8"}
    assert groups[1].parts["int8"].kinds == "reorder+conv"


def test_every_microsecond_is_in_one_group() -> None:
    layers = [timed(index, f"n{index}", f"n{index * 7 % 5}") for index in range(1, 20)]
    groups = side_by_side({"fp": layers})
    assert sum(group.parts["fp"].microseconds for group in groups) == sum(range(1, 20))
    assert sum(group.parts["fp"].share for group in groups) == 1
    nodes = [node for group in groups for node in group.nodes]
    assert len(nodes) == len(set(nodes))


def test_an_engine_that_tells_nothing_has_no_groups() -> None:
    assert side_by_side({"fp": [], "int8": []}) == ()
