from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.backends.onnxruntime import OnnxRuntimeBackend
from edgekit.calibration.selection.speed import engine_builder, macs_cost, measured_cost
from edgekit.graph.cost import node_costs
from edgekit.targets import load_target
from tests.calibration.planted import chain, frames, variants_of
from tests.graph.schemes import scheme

IMAGE = {"image": np.zeros((1, 3, 16, 16), np.float32)}


class Counting:
    """An engine that counts its runs and whether it was closed."""

    def __init__(self) -> None:
        self.inputs = self.outputs = ()
        self.runs = 0
        self.closed = False

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        self.runs += 1
        return {}

    def close(self) -> None:
        self.closed = True


def test_both_models_run_in_turn_and_each_choice_is_measured_once() -> None:
    built: dict[frozenset[str], Counting] = {}

    def build(kept: frozenset[str]) -> Counting:
        built[kept] = Counting()
        return built[kept]

    cost = measured_cost(build, IMAGE, rounds=5, calls=2)
    kept = frozenset({"c1"})
    assert cost(frozenset()) == 1.0
    first = cost(kept)
    assert first > 0
    assert cost(kept) == first
    # A warm-up and five rounds of two calls each.
    assert {name: engine.runs for name, engine in built.items()} == {frozenset(): 12, kept: 12}
    assert built[kept].closed
    assert not built[frozenset()].closed


def test_work_alone_is_the_share_of_the_macs() -> None:
    model = chain()
    macs = {one.name: one.macs for one in node_costs(model)}
    cost = macs_cost(model)
    assert cost(frozenset()) == 1.0
    name = next(iter(macs))
    assert cost(frozenset({name})) == 1 + macs[name] / sum(macs.values())
    assert cost(frozenset(macs)) == pytest.approx(2.0)


def test_variants_are_measured_in_a_real_engine(tmp_path: Path) -> None:
    variants = variants_of(chain(), frames(tmp_path), scheme())
    build = engine_builder(OnnxRuntimeBackend(), load_target("arm-cortex-a76"), variants)
    cost = measured_cost(build, IMAGE, rounds=3)
    assert cost(frozenset({"stage/c2"})) > 0
