"""A small ranker for tests: a network over the features of `tests.features.shop`, and requests for it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgekit.features.encode import Encoder
from edgekit.features.folder import Features, write_features
from edgekit.features.tables import gather, quantize_table
from tests.features.shop import SHOP, tables

CANDIDATES = 64
HIDDEN = 24


def network(
    candidates: int = CANDIDATES, flat: bool = False, seed: int = 0, width: int = SHOP.width
) -> onnx.ModelProto:
    """Return a network of two hidden layers: (candidates, width) -> score (candidates, 1), or (candidates) if flat."""
    rng = np.random.default_rng(seed)
    sizes = [width, HIDDEN, HIDDEN, 1]
    weights, nodes, last = [], [], "features"
    for index, (rows, columns) in enumerate(pairwise(sizes)):
        weights += [
            numpy_helper.from_array(rng.normal(0, 1.4 / rows**0.5, (rows, columns)).astype(np.float32), f"w{index}"),
            numpy_helper.from_array(rng.normal(0, 0.1, columns).astype(np.float32), f"b{index}"),
        ]
        final = index == len(sizes) - 2
        out = "score" if final and not flat else f"z{index}"
        nodes.append(helper.make_node("Gemm", [last, f"w{index}", f"b{index}"], [out], f"dense{index}"))
        if not final:
            nodes.append(helper.make_node("Relu", [out], [f"a{index}"], f"relu{index}"))
            last = f"a{index}"
    if flat:
        weights.append(numpy_helper.from_array(np.array([-1], np.int64), "shape"))
        nodes.append(helper.make_node("Reshape", [out, "shape"], ["score"], "flatten"))
    graph = helper.make_graph(
        nodes,
        "ranker",
        [helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, [candidates, width])],
        [helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, [candidates] if flat else [candidates, 1])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def columns(rng: np.random.Generator, count: int) -> dict[str, list[object]]:
    """Return the fields of one user and of so many candidates."""
    user, hour = rng.choice(["u1", "u2", "new"]), int(rng.integers(24))
    history = rng.choice(["7", "8", "9"], 2).tolist()
    return {
        "user_id": [user] * count,
        "history": [history] * count,
        "hour": [hour] * count,
        "item_id": rng.integers(5, 12, count).tolist(),
        "tags": [rng.choice(["a", "b"], int(rng.integers(3))).tolist() for _ in range(count)],
        "price": rng.normal(10, 5, count).tolist(),
    }


def requests(count: int, candidates: int = CANDIDATES, seed: int = 1) -> NDArray[np.float32]:
    """Return (requests, candidates, width) float32."""
    rng, encoder = np.random.default_rng(seed), Encoder(SHOP)
    quantized = {name: quantize_table(values, 8) for name, values in tables().items()}
    return np.stack([gather(SHOP, quantized, encoder.encode(columns(rng, candidates))) for _ in range(count)])


def write_ranker(folder: Path, count: int = 12, flat: bool = False) -> Features:
    """Write ranker.onnx, requests.npz and shop.features."""
    onnx.save(network(flat=flat), folder / "ranker.onnx")
    np.savez(folder / "requests.npz", frames=requests(count))
    return write_features(folder / "shop.features", SHOP, tables())
