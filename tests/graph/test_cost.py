from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.graph.clean import clean
from edgekit.graph.cost import node_costs
from edgekit.graph.read import read_model
from tests.graph.models import NetBuilder, batchnorm_net


def test_multiply_accumulates_by_hand() -> None:
    costs = {cost.operator: cost.macs for cost in node_costs(clean(batchnorm_net(), 17).model)}
    assert costs["Conv"] == 16 * 16 * 8 * 3 * 9
    assert costs["ConvTranspose"] == 16 * 16 * 8 * 4 * 4
    assert costs["Relu"] == 0


def test_parameters_and_bytes_by_hand() -> None:
    cost = node_costs(clean(batchnorm_net(), 17).model)[0]
    assert cost.parameters == 8 * 3 * 9 + 8
    assert cost.weight_bytes == 4 * cost.parameters
    assert cost.activation_bytes == 4 * (3 * 256 + 8 * 256)


def test_matrix_products_by_hand() -> None:
    net = NetBuilder(channels=2, size=4)
    flat = net.node("Reshape", ["image", net.constant("shape", np.array([8, 4]))], "flat")
    product = net.node("MatMul", [flat, net.weight("m", 4, 5)], "product")
    out = net.node("Gemm", [product, net.weight("g", 3, 5), net.weight("b", 3)], "out", transB=1)
    costs = {cost.name: cost.macs for cost in node_costs(clean(net.model(out), 17).model)}
    assert costs["product_node"] == 8 * 5 * 4
    assert costs["out_node"] == 8 * 3 * 5


def test_parameters_of_real_models_are_the_published_ones(shared_lanes: Path) -> None:
    published = {
        "lstr-culane": 0.77e6,
        "quantlanenet-tusimple": 0.10e6,
        "pinetq": 1.09e6,
        "twinlitenet-bdd100k": 0.44e6,
    }
    for name, parameters in published.items():
        model = clean(read_model(shared_lanes / "models" / name / "model.onnx"), 17).model
        distinct = {weight.name: int(np.prod(weight.dims)) for weight in model.graph.initializer}
        assert abs(sum(distinct.values()) - parameters) < 0.03 * parameters, name
