from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.bundle import ENGINE_FOLDER, open_bundle, write_bundle

from .conftest import Edgekit


def test_a_whole_bundle_passes(in_process: Edgekit, bundle: Path) -> None:
    done = in_process("verify", bundle)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("passed:") == 2


def test_json_has_every_vector(in_process: Edgekit, bundle: Path) -> None:
    told = json.loads(in_process("verify", bundle, "--json").stdout)
    assert (told["schema_version"], told["passed"], len(told["vectors"])) == (1, True, 2)


def test_a_bundle_that_computes_something_else_ends_with_3(in_process: Edgekit, bundle: Path, tmp_path: Path) -> None:
    """The golden outputs are another network's, with hashes that are right."""
    opened = open_bundle(bundle)
    members = {name: opened.read(name) for name in opened.manifest.members}
    record = opened.manifest.golden.vectors[0]
    values = next(opened.golden()).outputs["out"]
    with (tmp_path / "other.npz").open("wb") as stream:
        np.savez(stream, values + 1.0)
    members[record.outputs] = (tmp_path / "other.npz").read_bytes()
    write_bundle(tmp_path / "other.edge", opened.manifest, members)
    done = in_process("verify", "other.edge", "--json")
    assert done.returncode == 3
    error = json.loads(done.stdout)["error"]
    assert error["type"] == "GateError"
    assert "out differs by" in error["found"]


def damaged(bundle: Path, damage: str, folder: Path) -> Path:
    path = folder / "damaged.edge"
    whole = bundle.read_bytes()
    if damage == "cut in half":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "text":
        path.write_text("This is a bundle.\n" * 10)
    elif damage == "one bit of the model":
        offset = whole.index(zipfile.ZipFile(bundle).read(f"{ENGINE_FOLDER}model.onnx")) + 200
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
    return path


@pytest.mark.parametrize("damage", ["missing", "cut in half", "text", "one bit of the model"])
@pytest.mark.parametrize("command", ["verify", "run", "profile", "inspect"])
def test_a_damaged_bundle_is_refused(
    in_process: Edgekit, bundle: Path, tmp_path: Path, command: str, damage: str
) -> None:
    done = in_process(command, damaged(bundle, damage, tmp_path))
    assert done.returncode == 2
    assert "damaged.edge" in done.stderr
    assert "fix:" in done.stderr
    assert done.stdout == ""


def test_a_bundle_for_a_jetson_ends_with_4_and_says_where_it_runs(
    in_process: Edgekit, calibration: Path, tmp_path: Path
) -> None:
    edgekit.compile(calibration, target="jetson-orin", out=tmp_path / "jetson.edge", tune=False)
    for command in ("verify", "profile"):
        done = in_process(command, "jetson.edge")
        assert done.returncode == 4
        assert "trtexec" in done.stderr


def test_the_matrix_is_shown_and_drawn(in_process: Edgekit, calibration: Path, tmp_path: Path) -> None:
    done = in_process("verify", calibration, "--matrix", "-o", "matrix.png")
    assert done.returncode == 0, done.stderr
    assert "Above the diagonal: SQNR in dB" in done.stdout
    assert "Not here" in done.stdout
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_the_matrix_as_json_holds_every_distance(in_process: Edgekit, bundle: Path) -> None:
    told = json.loads(in_process("verify", bundle, "--matrix", "--json").stdout)
    assert told["agrees"]
    assert len(told["distances"]) == len(told["replays"]) * (len(told["replays"]) - 1) // 2


def test_a_matrix_with_an_engine_that_disagrees_ends_with_3(
    in_process: Edgekit, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = edgekit.agreement_matrix(bundle)
    broken = dataclasses.replace(found, disagreeing={1: "out differs"})
    monkeypatch.setattr(edgekit, "agreement_matrix", lambda *_, **__: broken)
    done = in_process("verify", bundle, "--matrix")
    assert done.returncode == 3
    assert "DISAGREES" not in done.stderr
    assert "out differs" in done.stderr


def test_heat_maps_without_a_matrix_are_a_mistake(in_process: Edgekit, bundle: Path) -> None:
    done = in_process("verify", bundle, "-o", "matrix.png")
    assert done.returncode == 2
    assert "Add --matrix" in done.stderr
