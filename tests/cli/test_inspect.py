from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Edgekit


@pytest.mark.parametrize("kind", ["model", "calibration", "bundle"])
def test_it_tells_what_a_path_is(in_process: Edgekit, request: pytest.FixtureRequest, kind: str) -> None:
    path = request.getfixturevalue(kind)
    done = in_process("inspect", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"kind: {kind}\n")
    told = json.loads(in_process("inspect", path, "--json").stdout)
    assert (told["schema_version"], told["kind"]) == (1, kind)


def test_a_models_nodes_are_shown_with_their_cost(in_process: Edgekit, model: Path) -> None:
    # 3 x 3 x 3 x 8 multiplications for each of 24 x 32 pixels.
    lines = in_process("inspect", model).stdout.splitlines()
    conv = next(line for line in lines if line.startswith("conv1")).split()
    assert conv[:5] == ["conv1", "Conv", "165,888", "216", "864"]


def test_a_calibrations_layers_are_shown_with_their_precision(in_process: Edgekit, calibration: Path) -> None:
    lines = in_process("inspect", calibration).stdout.splitlines()
    assert any(line.startswith("conv1 ") and "int8" in line for line in lines)


@pytest.mark.parametrize(("name", "code"), [("nowhere", 2), ("text.onnx", 5), ("text.edge", 2)])
def test_what_it_is_not(in_process: Edgekit, tmp_path: Path, name: str, code: int) -> None:
    if name != "nowhere":
        (tmp_path / name).write_text("This is a text.\n" * 20)
    done = in_process("inspect", name)
    assert done.returncode == code
    assert name in done.stderr
