"""To the device: the network as ONNX, the tables as a features folder, and requests to calibrate with."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.features.folder import write_features
from edgekit.features.order import in_order
from edgekit.features.tables import Bits

from .deploy import deployed
from .model import Ranker
from .samples import Samples

MODEL, FEATURES, REQUESTS = "ranker.onnx", "ranker.features", "requests.npz"


class _Scores(nn.Module):
    """Features to the first task's logits, (N): a rank needs no probability."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        return self.network(features)[:, 0]


def export(
    model: Ranker,
    samples: Samples,
    folder: Path,
    candidates: int = 250,
    requests: int = 64,
    bits: Bits = 8,
    update_key: bytes = b"",
    seed: int = 0,
) -> None:
    """Write what `edgekit calibrate --recipe ranker` takes: ranker.onnx, ranker.features and requests.npz.

    Args:
        model: A trained ranker.
        samples: Rows that the requests are made of, best those of training.
        folder: Where to.
        candidates: How many the network scores in one call; the runtime cuts longer lists and fills up shorter ones.
        requests: How many to write.
        bits: Of an embedding value on the device.
        update_key: Public key of whoever may send new rows of the tables later.
        seed: Chooses the requests.

    Raises:
        ValueError: The network reads more than the fields' vectors (DeepFM's linear part).
    """
    if model.network.first_order:
        message = f"{model.name} reads a weight beside every vector, which a table of the device does not hold"
        raise ValueError(message)
    folder.mkdir(parents=True, exist_ok=True)
    model = copy.deepcopy(model).cpu().eval()
    schema, rows = in_order(model.schema)
    tables = {name: table.numpy()[rows[name]] for name, table in model.tables().items()}
    features = write_features(folder / FEATURES, schema, tables, bits, update_key, overwrite=True)
    # The requests are what the device will feed: vectors from the rounded rows.
    with torch.no_grad():
        for name, table in model.tables().items():
            table[torch.from_numpy(rows[name])] = torch.from_numpy(features.tables[name].dense())
    made = make_requests(model, samples, candidates, requests, seed)
    np.savez(folder / REQUESTS, frames=made)
    write_onnx(model.network, folder / MODEL, made[0].shape)


def write_onnx(network: nn.Module, path: Path, shape: tuple[int, ...]) -> None:
    """Write a network as ONNX, opset 17: input `features` of this shape (N, width), output `score` (N) logits."""
    scores = _Scores(deployed(copy.deepcopy(network))).eval()
    with warnings.catch_warnings():
        # The exporter that replaces this one writes newer opsets only.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            scores,
            (torch.zeros(shape),),
            path,
            dynamo=False,
            opset_version=17,
            input_names=["features"],
            output_names=["score"],
        )


def make_requests(
    model: Ranker, samples: Samples, candidates: int, requests: int, seed: int = 0
) -> NDArray[np.float32]:
    """Return features (requests, candidates, width): one row's user and context with the items of many rows."""
    rng = np.random.default_rng(seed)
    slots = torch.tensor(model.layout.slots)
    theirs = torch.repeat_interleave(torch.tensor([each.side == "item" for each in model.schema.field]), slots)
    made = []
    for asking in rng.integers(len(samples), size=requests):
        items = torch.from_numpy(rng.integers(len(samples), size=candidates))
        rows = torch.where(theirs, samples.rows[items], samples.rows[asking])
        weights = None
        if samples.weights is not None:
            weights = torch.where(theirs, samples.weights[items], samples.weights[asking])
        with torch.no_grad():
            made.append(model.features(rows, weights).numpy())
    return np.stack(made)
