from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.backends import backend_for
from edgekit.backends.precision import precision_shares
from edgekit.graph.clean import clean
from edgekit.graph.cost import node_costs
from edgekit.graph.read import read_model


@pytest.mark.parametrize("name", ["lstr-culane", "quantlanenet-tusimple"])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_all_work_of_a_lane_network_is_found_in_kernels(shared_lanes: Path, engine: str, name: str) -> None:
    backend = backend_for(engine)
    if not backend.available().version:
        pytest.skip(backend.available().reason)
    model = clean(read_model(shared_lanes / "models" / name / "model.onnx"), 21).model
    layers = backend.load({"model.onnx": model.SerializeToString()}, {}, 1).layers()
    shares = precision_shares(layers, {cost.name: cost.macs for cost in node_costs(model)})
    assert {share.precision: share.macs for share in shares if share.macs} == {"f32": pytest.approx(1.0)}
    assert len({layer.device for layer in layers}) == 1
