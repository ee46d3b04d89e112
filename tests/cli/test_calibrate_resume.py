"""A calibration that is broken off while it learns, and taken up again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from edgekit.cli import INTERRUPTED

from .conftest import picture, start

RECIPE = """extends = "generic"

[[step]]
step = "observe"

[[step]]
step = "scale"
activations = "min-max"

[[step]]
step = "reconstruct"
steps = 300
"""


Bytes = dict[str, bytes]


@pytest.fixture(scope="module")
def arguments(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("resume")
    (folder / "recipe.toml").write_text(RECIPE)
    np.savez(folder / "frames.npz", frames=np.stack([picture(index) for index in range(16)]))
    source = ["calibrate", str(model), "--data", str(folder / "frames.npz"), "--recipe", str(folder / "recipe.toml")]
    return [*source, "--target", "jetson-orin", "--effort", "standard"]


@pytest.fixture(scope="module")
def left_alone(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Bytes:
    folder = tmp_path_factory.mktemp("left-alone")
    finish(folder, *arguments, "-o", "out")
    return results(folder / "out")


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return start(folder, *arguments, env=os.environ | {"OMP_NUM_THREADS": "1"})


def finish(folder: Path, *arguments: str) -> str:
    running = started(folder, *arguments)
    _, told = running.communicate(timeout=120)
    assert running.returncode == 0, told
    return told


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_resumed_it_ends_with_the_bytes_of_a_run_that_was_left_alone(
    arguments: list[str], left_alone: Bytes, tmp_path: Path, number: signal.Signals
) -> None:
    checkpoint = tmp_path / "out.checkpoint"
    running = started(tmp_path, *arguments, "-o", "out")
    while running.poll() is None and not checkpoint.is_file():
        time.sleep(0.01)
    running.send_signal(number)
    _, told = running.communicate(timeout=60)
    assert checkpoint.is_file(), told
    assert not (tmp_path / "out").exists()
    if number == signal.SIGINT:
        assert running.returncode == INTERRUPTED, told
        assert "The same command with --resume" in told
        assert "Traceback" not in told
        assert hidden(tmp_path) == []
    else:
        assert running.returncode == -signal.SIGKILL, told

    finish(tmp_path, *arguments, "-o", "out", "--resume")
    assert results(tmp_path / "out") == left_alone
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def results(folder: Path) -> Bytes:
    return {name: (folder / name).read_bytes() for name in ("model.qdq.onnx", "scales.json")}


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]
