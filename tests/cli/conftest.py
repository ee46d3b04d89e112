from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgekit.cli import execute
from edgekit.cli.terminal import Terminal

Edgekit = Callable[..., "subprocess.CompletedProcess[str]"]


def start(folder: Path, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start a command that SIGINT ends: a shell's background jobs ignore it, and their children inherit that."""
    return subprocess.Popen(
        [sys.executable, "-m", "edgekit", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


@pytest.fixture
def edgekit(tmp_path: Path) -> Edgekit:
    """Run the command in a process of its own, in an empty folder."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgekit", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)

    return run


@pytest.fixture
def in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Edgekit:
    """Run the command as `edgekit` does, and spare the seconds in which a new process imports the engines."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        code = execute([str(argument) for argument in arguments], Terminal())
        told = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, told.out, told.err)

    return run


def network(channels: int = 3, scale: float = 0.2) -> onnx.ModelProto:
    """Two convolutions on an image of 24 x 32."""
    rng = np.random.default_rng(0)

    def weight(name: str, shape: tuple[int, ...]) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.normal(size=shape) * scale).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w1"], ["a"], name="conv1", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"], name="relu"),
            helper.make_node("Conv", ["b", "w2"], ["out"], name="conv2", pads=[1, 1, 1, 1]),
        ],
        "network",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, channels, 24, 32])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1, 4, 24, 32])],
        [weight("w1", (8, channels, 3, 3)), weight("w2", (4, 8, 3, 3))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    onnx.save(network(), path)
    return path


@pytest.fixture(scope="session")
def one_channel_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grey") / "grey.onnx"
    onnx.save(network(channels=1), path)
    return path


@pytest.fixture(scope="session")
def nan_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nan") / "nan.onnx"
    onnx.save(network(scale=float("nan")), path)
    return path


def picture(index: int) -> NDArray[np.uint8]:
    """A smooth gradient, another one for every index."""
    y, x = np.mgrid[0:48, 0:64]
    planes = [(x * (1 + index % 3) + y * plane + 20 * index) % 256 for plane in range(3)]
    return np.stack(planes, axis=-1).astype(np.uint8)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """A folder of 24 JPEG pictures."""
    import cv2

    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(24):
        cv2.imwrite(str(folder / f"{index:03d}.jpg"), picture(index))
    return folder


@pytest.fixture(scope="session")
def calibration(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network above, calibrated for this machine."""
    import edgekit

    folder = tmp_path_factory.mktemp("calibrated")
    np.savez(folder / "frames.npz", frames=np.stack([picture(index) for index in range(8)]))
    edgekit.calibrate(model, folder / "frames.npz", recipe="generic", target="host", out=folder / "net", effort="quick")
    return folder / "net"


@pytest.fixture(scope="session")
def bundle(calibration: Path) -> Path:
    """The same, compiled."""
    import edgekit

    path = calibration.parent / "net.edge"
    edgekit.compile(calibration, out=path, tune=False)
    return path
