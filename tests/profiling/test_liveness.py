from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ArtifactError
from edgekit.profiling.liveness import Arena, _Life, _planned, arena

onnx = pytest.importorskip("onnx", reason="onnx comes with the extra 'calibrate'")
KIB = [1, 256]
"""Shape of a float32 tensor of 1 KiB."""


def model(
    nodes: list[tuple[str, list[str], list[str]]], outputs: list[str], shapes: dict[str, Any] | None = None
) -> bytes:
    helper = onnx.helper
    made = [name for _, _, names in nodes for name in names]
    shapes = {name: (1, KIB) for name in ["in", *made]} | (shapes or {})
    values = {name: helper.make_tensor_value_info(name, *shapes[name]) for name in shapes}
    graph = helper.make_graph(
        [helper.make_node(kind, given, names, name=f"{kind}:{names[0]}") for kind, given, names in nodes],
        "graph",
        [values["in"]],
        [values[name] for name in outputs],
        [helper.make_tensor(name, 1, [], [0.5]) for name in ("scale", "half")],
        value_info=[values[name] for name in made if name not in outputs],
    )
    data: bytes = helper.make_model(graph).SerializeToString()
    return data


def test_a_chain_needs_two_buffers() -> None:
    chain = [("Mul", ["in", "half"], ["a"]), ("Mul", ["a", "half"], ["b"]), ("Mul", ["b", "half"], ["c"])]
    assert arena(model(chain, ["c"])) == Arena(2048, 2048, 1024, "Mul:a")


def test_a_branch_that_is_read_late_stays() -> None:
    nodes = [
        ("Mul", ["in", "half"], ["a"]),
        ("Mul", ["a", "half"], ["b"]),
        ("Mul", ["b", "half"], ["c"]),
        ("Add", ["c", "a"], ["d"]),
    ]
    assert arena(model(nodes, ["d"])) == Arena(3072, 3072, 1024, "Mul:c")


def test_outputs_stay_to_the_end() -> None:
    nodes = [("Mul", ["in", "half"], ["a"]), ("Mul", ["a", "half"], ["b"]), ("Mul", ["b", "half"], ["c"])]
    found = arena(model(nodes, ["a", "c"]))
    assert found is not None
    assert found.live == 3072


def test_views_and_activation_functions_take_no_memory() -> None:
    nodes = [
        ("Mul", ["in", "half"], ["a"]),
        ("Relu", ["a"], ["b"]),
        ("Identity", ["b"], ["c"]),
        ("Mul", ["c", "half"], ["d"]),
    ]
    assert arena(model(nodes, ["d"])) == Arena(2048, 2048, 1024, "Mul:a")


def test_8_bit_tensors_count_as_such_and_what_engines_fuse_does_not() -> None:
    nodes = [
        ("Conv", ["in", "half"], ["a"]),
        ("Relu", ["a"], ["b"]),
        ("QuantizeLinear", ["b", "scale"], ["q"]),
        ("DequantizeLinear", ["q", "scale"], ["x"]),
        ("Conv", ["x", "half"], ["y"]),
    ]
    found = arena(model(nodes, ["y"], {"q": (2, KIB)}))
    assert found == Arena(1280, 1280, 1024, "Conv:a")


def test_weights_that_are_dequantized_are_no_activations() -> None:
    nodes = [("DequantizeLinear", ["half", "scale"], ["w"]), ("Mul", ["in", "w"], ["a"])]
    assert arena(model(nodes, ["a"], {"w": (1, [1, 100_000])})) == Arena(2048, 2048, 1024, "Mul:a")


def test_shapes_that_are_not_known_give_no_estimate() -> None:
    assert arena(model([("Mul", ["in", "half"], ["a"])], ["a"], {"a": (1, ["batch", 4])})) is None


@pytest.mark.parametrize("data", [b"", b"not a model", b"\xff" * 20])
def test_what_is_no_model_is_an_artifact_error(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        arena(data)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=25))
def test_a_plan_holds_everything_and_is_no_smaller_than_what_lives_at_once(spans: list[tuple[int, int, int]]) -> None:
    lives = [_Life(size, min(a, b), max(a, b)) for size, a, b in spans]
    live = max(sum(each.size for each in lives if each.first <= step <= each.last) for step in range(21))
    assert live <= _planned(lives) <= sum(each.size for each in lives)
