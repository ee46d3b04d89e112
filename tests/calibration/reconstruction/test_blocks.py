from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.calibration.reconstruction.blocks import blocks_of
from edgekit.graph.execute import TorchGraph
from edgekit.graph.placement import place
from tests.graph.models import joining_net, residual_net
from tests.graph.schemes import scheme


@pytest.mark.parametrize(("build", "most", "count"), [(residual_net, 9, 4), (residual_net, 2, 2), (joining_net, 9, 4)])
def test_blocks_one_after_another_are_the_network(build: object, most: int, count: int) -> None:
    model = build()  # type: ignore[operator]
    blocks = blocks_of(model, place(model, scheme()), most)
    assert len(blocks) == count
    values = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32))
    whole = TorchGraph(model)(values)
    results: dict[str, torch.Tensor] = {}
    for block in blocks:
        results |= TorchGraph(block.model)(values)
        values = results[block.outputs[0]]
    for name, tensor in whole.items():
        torch.testing.assert_close(results[name], tensor)


def test_every_node_and_weight_is_in_one_block() -> None:
    model = residual_net()
    placement = place(model, scheme())
    blocks = blocks_of(model, placement, 9)
    assert sorted(name for block in blocks for name in block.nodes) == sorted(node.name for node in model.graph.node)
    assert [name for block in blocks for name in block.weights] == [weight.tensor for weight in placement.weights]


def test_a_residual_block_is_not_cut() -> None:
    model = residual_net()
    blocks = blocks_of(model, place(model, scheme()), 9)
    (inner,) = (block for block in blocks if "first_node" in block.nodes)
    assert {"first_node", "second_node", "added_node"} <= inner.nodes


def test_one_block_is_the_whole_network() -> None:
    model = joining_net()
    (block,) = blocks_of(model, place(model, scheme()), 1)
    assert set(block.outputs) == {value.name for value in model.graph.output}
