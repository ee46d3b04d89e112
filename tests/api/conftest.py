from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.calibration.artifact import Calibration

INPUT = (1, 3, 24, 32)


def small_model() -> onnx.ModelProto:
    """Three convolutions with a residual branch, two outputs."""
    random = np.random.default_rng(3)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(scale=0.2, size=shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["features"], name="add"),
        helper.make_node("Conv", ["features", "w3"], ["scores"], name="conv3"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, INPUT)],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, 2, *INPUT[2:])),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, (1, 8, *INPUT[2:])),
        ],
        [weight("w1", 8, 3, 3, 3), weight("b1", 8), weight("w2", 8, 8, 3, 3), weight("w3", 2, 8, 1, 1)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="session")
def small_calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """A calibration of a small network that was really calibrated, for this machine's own target."""
    folder = tmp_path_factory.mktemp("small")
    onnx.save(small_model(), folder / "small.onnx")
    frames = np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8)
    np.savez(folder / "frames.npz", frames=frames)
    return edgekit.calibrate(
        folder / "small.onnx",
        data=folder / "frames.npz",
        recipe="generic",
        target="host",
        out=folder / "calibration",
        effort="quick",
    )


@pytest.fixture
def copy(small_calibration: Calibration, tmp_path: Path) -> Path:
    """A calibration folder of one's own, without placements that other tests measured."""
    folder = tmp_path / "calibration"
    return Path(shutil.copytree(small_calibration.folder, folder, ignore=shutil.ignore_patterns("placement")))


@pytest.fixture(scope="session")
def lane_calibration(shared_lanes: Path, tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """QuantLaneNet, calibrated for this machine's own target on a few real frames."""
    return edgekit.calibrate(
        shared_lanes / "models/quantlanenet-tusimple/model.onnx",
        data=edgekit.Frames.open(shared_lanes / "frames/tusimple-clip").spread(8),
        recipe="lane-row-anchor",
        target="host",
        out=tmp_path_factory.mktemp("lane") / "calibration",
        min_f1=0.5,
        effort="quick",
    )
