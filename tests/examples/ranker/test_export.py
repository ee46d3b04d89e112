from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from ranker.blocks import BatchScale
from ranker.dataset import learn_schema, read_samples
from ranker.deploy import deployed
from ranker.export import export, make_requests, write_onnx
from ranker.model import Ranker, set_temperature
from ranker.networks import NETWORKS, Mixer, MixerNetwork
from ranker.planted import generate
from ranker.samples import Samples

from edgekit.features.folder import read_features
from edgekit.features.schema import Schema, read_schema

SIZES = {
    "unimixing-lite": Mixer(tokens=7, width=8, block=8, blocks=2, expansion=2, head=(64,)),
    "other-blocks": Mixer(tokens=6, width=8, block=12, blocks=2, norm="post", whole=False, head=(8,), head_norm=False),
    "unimixer": Mixer("full", tokens=7, width=8, block=4, shared=True),
    "rankmixer": Mixer("token", tokens=6, width=12),
    "dnn": None,
    "dcnv2": None,
    "finalmlp": None,
    "infnet": Mixer("none", width=8),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, root: Path) -> tuple[Schema, Samples]:
    folder = tmp_path_factory.mktemp("shop")
    generate(folder, 600, users=20, items=40, seed=1)
    schema = learn_schema(
        read_schema(root / "examples" / "10_ranker" / "schemas" / "planted.toml"), folder / "train.csv"
    )
    return schema, read_samples(folder, "train", schema, ("clicked",))


def trained(schema: Schema, name: str) -> Ranker:
    """Return a network that has left its start: no statistic, scale or matrix is trivial any more."""
    torch.manual_seed(0)
    model = Ranker(schema, name if name in NETWORKS else "unimixing-lite", SIZES.get(name))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, BatchScale):
            module.square.fill_(0.3)
    for key, value in model.named_parameters():
        if value.dim() == 1 or "mixing" in key:
            value.data += torch.randn_like(value) * 0.3
    model.table.data.normal_()
    set_temperature(model, 0.2)
    return model.eval()


@pytest.mark.parametrize("name", SIZES)
def test_the_exported_network_scores_as_torch_does(name: str, shop: tuple[Schema, Samples], tmp_path: Path) -> None:
    schema, _ = shop
    model = trained(schema, name)
    features = torch.randn(30, schema.width)
    with torch.no_grad():
        expected = model.network(features)[:, 0].numpy()
    path = tmp_path / "ranker.onnx"
    write_onnx(model.network, path, tuple(features.shape))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (score,) = session.run(["score"], {"features": features.numpy()})
    assert score.shape == (30,)
    np.testing.assert_allclose(score, expected, atol=2e-5)


def test_mixing_is_constant_in_the_exported_network(shop: tuple[Schema, Samples], tmp_path: Path) -> None:
    schema, _ = shop
    model = trained(schema, "unimixing-lite")
    write_onnx(model.network, tmp_path / "ranker.onnx", (30, schema.width))
    graph = onnx.load(tmp_path / "ranker.onnx").graph
    shapes = {each.name: tuple(each.dims) for each in graph.initializer}
    products = [shapes[node.input[1]] for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    # The projection, then per block: within, across, up, gate, down; then the head.
    block = [(56, 8, 1, 1), (7, 7, 1, 1), (112, 8, 1, 1), (112, 8, 1, 1), (56, 16, 1, 1)]
    assert products == [(56, 8, 1, 1), *block, *block, (64, 56, 1, 1), (1, 64, 1, 1)]
    assert not {"Exp", "ReduceLogSumExp", "Softmax", "BatchNormalization"} & {node.op_type for node in graph.node}


def test_the_deployed_matrices_are_those_of_the_model(shop: tuple[Schema, Samples]) -> None:
    network = trained(shop[0], "unimixing-lite").network
    assert isinstance(network, MixerNetwork)
    made = deployed(network)
    across, within = network.stack.blocks[0].mixing.matrices()
    torch.testing.assert_close(made.blocks[0].mixing.across.weight[:, :, 0, 0], across)
    torch.testing.assert_close(made.blocks[0].mixing.within.weight.reshape(7, 8, 8), within.transpose(1, 2))


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_what_is_exported_fits_together(bits: int, shop: tuple[Schema, Samples], tmp_path: Path) -> None:
    schema, samples = shop
    model = trained(schema, "unimixing-lite")
    export(model, samples, tmp_path, candidates=20, requests=3, bits=bits)  # type: ignore[arg-type]
    features = read_features(tmp_path / "ranker.features")
    assert features.schema.width == schema.width
    requests = np.load(tmp_path / "requests.npz")["frames"]
    assert requests.shape == (3, 20, schema.width)
    assert requests.dtype == np.float32
    # All candidates of a request are one user's: what tells of the user is the same for all.
    start = schema.offsets["user_id"]
    assert np.ptp(requests[:, :, start : start + 8], axis=1).max() == 0
    assert np.ptp(requests[:, :, schema.offsets["item_id"]], axis=1).min() > 0
    plain = make_requests(model, samples, 20, 3)
    off = np.abs(requests - plain).max()
    assert off == 0 if bits == 32 else 0 < off < {8: 0.05, 4: 0.5}[bits]
    session = onnxruntime.InferenceSession(tmp_path / "ranker.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [20, schema.width]


def test_a_network_with_weights_beside_the_vectors_is_refused(shop: tuple[Schema, Samples], tmp_path: Path) -> None:
    schema, samples = shop
    with pytest.raises(ValueError, match="deepfm reads a weight beside every vector"):
        export(Ranker(schema, "deepfm"), samples, tmp_path)
