from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgekit.bundle import open_bundle
from edgekit.cli.compile import _explained

from .conftest import Edgekit


def test_it_writes_a_bundle_and_says_what_is_in_it(in_process: Edgekit, calibration: Path, tmp_path: Path) -> None:
    done = in_process("compile", calibration, "-o", "net.edge")
    assert done.returncode == 0, done.stderr
    assert "built here" in done.stdout
    assert "% of the MACs (" in done.stdout
    assert "next: edgekit profile net.edge" in done.stderr
    assert open_bundle(tmp_path / "net.edge").manifest.recipe.name == "generic"


def test_json_names_bundle_engine_and_agreement(in_process: Edgekit, calibration: Path, tmp_path: Path) -> None:
    told = json.loads(in_process("compile", calibration, "-o", "net.edge", "--json").stdout)
    assert (told["schema_version"], told["bundle"]) == (1, "net.edge")
    assert told["bytes"] == (tmp_path / "net.edge").stat().st_size
    assert told["engine"]["built"] == "here"
    assert told["agreement"]["engine_to_reference"]["sqnr_db"] > 20


def test_for_a_jetson_it_prints_the_commands_for_the_device(in_process: Edgekit, calibration: Path) -> None:
    done = in_process("compile", calibration, "--target", "jetson-orin", "-o", "net.edge")
    assert done.returncode == 0, done.stderr
    assert "to be built on the device" in done.stdout
    assert "unzip -p net.edge engine/model.onnx" in done.stderr
    assert "trtexec" in done.stderr


def test_a_dry_run_shows_the_plan_and_writes_nothing(in_process: Edgekit, calibration: Path, tmp_path: Path) -> None:
    done = in_process("compile", calibration, "--target", "jetson-orin", "-o", "net.edge", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)["plan"]
    assert plan["target"] == "jetson-agx-orin-jp6"
    assert plan["engine"] == "tensorrt, built on-device"
    assert plan["writes"] == ["net.edge"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_calibration(in_process: Edgekit, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    done = in_process("compile", "folder", "-o", "net.edge")
    assert done.returncode == 2
    assert "folder is not a calibration" in done.stderr
    assert not (tmp_path / "net.edge").exists()


def test_a_calibration_that_lost_a_file(in_process: Edgekit, calibration: Path, tmp_path: Path) -> None:
    shutil.copytree(calibration, tmp_path / "cal")
    (tmp_path / "cal" / "scales.json").write_text("{}")
    done = in_process("compile", "cal", "-o", "net.edge")
    assert done.returncode == 2
    assert "scales.json" in done.stderr
    assert not (tmp_path / "net.edge").exists()


def test_an_unknown_target(in_process: Edgekit, calibration: Path) -> None:
    done = in_process("compile", calibration, "--target", "intel-cpu", "-o", "net.edge")
    assert done.returncode == 2
    assert "Did you mean 'intel-" in done.stderr


def test_a_bundle_that_exists(in_process: Edgekit, calibration: Path, tmp_path: Path) -> None:
    (tmp_path / "net.edge").write_text("mine")
    done = in_process("compile", calibration, "-o", "net.edge")
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert (tmp_path / "net.edge").read_text() == "mine"
    assert in_process("compile", calibration, "-o", "net.edge", "--overwrite").returncode == 0
    assert open_bundle(tmp_path / "net.edge")


def test_without_out_it_is_a_usage_error(in_process: Edgekit, calibration: Path) -> None:
    done = in_process("compile", calibration)
    assert done.returncode == 2
    assert "--out" in done.stderr


def test_a_bundle_is_built_in_place_for_its_own_target(in_process: Edgekit, calibration: Path, tmp_path: Path) -> None:
    assert in_process("compile", calibration, "--target", "jetson-orin", "-o", "net.edge").returncode == 0
    before = (tmp_path / "net.edge").read_bytes()
    plan = json.loads(in_process("compile", "net.edge", "--dry-run", "--json").stdout)["plan"]
    assert plan == {"bundle": "net.edge", "engine": "tensorrt", "built_for": {}, "writes": ["net.edge"]}
    refused = in_process("compile", "net.edge", "--target", "host")
    assert (refused.returncode, "built in place" in refused.stderr) == (2, True)
    elsewhere = in_process("compile", "net.edge")
    assert elsewhere.returncode == 4
    assert "tensorrt" in elsewhere.stderr
    assert (tmp_path / "net.edge").read_bytes() == before


def test_a_board_that_is_not_there_ends_with_4_and_writes_nothing(
    in_process: Edgekit, calibration: Path, tmp_path: Path
) -> None:
    pytest.importorskip("asyncssh", reason="asyncssh comes with the extra 'remote'")
    done = in_process("compile", calibration, "-o", "net.edge", "--host", "ssh://somebody@127.0.0.1:1")
    assert done.returncode == 4
    assert "cannot be reached" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_board_for_an_engine_that_is_built_there_ends_with_2(in_process: Edgekit, calibration: Path) -> None:
    flags = ("--target", "jetson-orin", "--host", "ssh://somebody@127.0.0.1:1")
    done = in_process("compile", calibration, "-o", "net.edge", *flags)
    assert done.returncode == 2
    assert "cannot be measured over ssh" in done.stderr


def test_a_bundle_s_engine_is_not_built_over_ssh(in_process: Edgekit, bundle: Path) -> None:
    done = in_process("compile", bundle, "--host", "ssh://somebody@board")
    assert done.returncode == 2
    assert "built where this command runs" in done.stderr


def test_a_dry_run_names_the_board_and_asks_it_nothing(in_process: Edgekit, calibration: Path) -> None:
    flags = ("--host", "ssh://somebody@127.0.0.1:1", "--dry-run", "--json")
    done = in_process("compile", calibration, "-o", "net.edge", *flags)
    assert json.loads(done.stdout)["plan"]["measured on"] == "ssh://somebody@127.0.0.1:1"


def test_the_search_for_the_placement_says_how_it_is_shortened() -> None:
    told: list[tuple[str, int, int]] = []
    progress = _explained(lambda *step: told.append(step))
    progress("place", 20, 90)
    progress("compile", 1, 3)
    (search, *numbers), following = told
    assert "--tune-seconds" in search and "--no-tune" in search and numbers == [20, 90]
    assert following == ("compile", 1, 3)
