from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from edgekit.cli.profile import is_current
from edgekit.profiling.document import Documents
from edgekit.targets import host_target_name

from .conftest import Edgekit, start

QUICK = ("--seconds", "0.2")


def test_it_measures_both_models_and_says_so(in_process: Edgekit, bundle: Path, tmp_path: Path) -> None:
    done = in_process("profile", bundle, *QUICK, "-o", "profile.json", "--html", "page.html")
    assert done.returncode == 0, done.stderr
    assert "measured" in done.stdout
    assert "\x1b" not in done.stdout
    written = json.loads((tmp_path / "profile.json").read_text())
    assert written["origin"] == "measured"
    assert [row["model"] for row in written["rows"]] == ["fp", "int8"]
    assert "<h2>Latency distribution</h2>" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_json_is_the_profile_and_nothing_else(edgekit: Edgekit, bundle: Path) -> None:
    done = edgekit("profile", bundle, *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema_version"] == 2


def test_ctrl_c_keeps_what_was_measured(bundle: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "profile", bundle, "--seconds", "1000", "--json", "-o", "profile.json")
    assert process.stderr
    for line in process.stderr:
        if line.startswith("warm up"):
            break
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    written = json.loads((tmp_path / "profile.json").read_text())
    assert json.loads(told) == written
    assert written["partial"] == "KeyboardInterrupt"
    assert written["rows"][0]["latency"]["engine"]["samples"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["profile.json"]


def test_a_camera_a_deadline_and_a_rigor_are_told(in_process: Edgekit, bundle: Path) -> None:
    done = in_process("profile", bundle, "--seconds", "1", "--fps", "200", "--deadline", "500ms")
    assert done.returncode == 0, done.stderr
    assert "camera: 200 a second, frames that are due wait; rigor quick" in done.stdout
    assert "missed the deadline of 500 ms" in done.stdout


def test_a_profile_that_exists_is_kept_and_nothing_is_measured(
    in_process: Edgekit, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "profile.json").write_text("mine")
    done = in_process("profile", bundle, "--seconds", "1000", "-o", "profile.json")
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert (tmp_path / "profile.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--seconds", "0"),
        ("--seconds", "soon"),
        ("--threads", "-1"),
        ("--fps", "0"),
        ("--deadline", "0ms"),
        ("--deadline", "33 miles"),
        ("--rigor", "sloppy"),
        ("--queue", "drop"),
        ("--rigor", "automotive"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(in_process: Edgekit, bundle: Path, flag: str, value: str) -> None:
    done = in_process("profile", bundle, flag, value)
    assert done.returncode == 2
    assert flag in done.stderr or flag[2:] in done.stderr


@pytest.mark.slow
def test_without_a_bundle_the_built_in_model_is_made_once(
    in_process: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.api.calibrate.BUILT_IN_FRAMES", 12)
    monkeypatch.setattr("edgekit.cli.profile.TUNE_SECONDS", 1.0)
    first = in_process("profile", *QUICK, "-o", "all.json")
    assert first.returncode == 0, first.stderr
    written = json.loads((tmp_path / "all.json").read_text())
    Documents.model_validate(written)
    assert {each["config"]["engine"] for each in written["profiles"]} == {"openvino", "onnxruntime"}
    assert "the built-in lane model is calibrated and compiled" in first.stderr
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "build").rglob("*")}
    assert "engine    onnxruntime" in first.stdout
    second = in_process("profile", "--target", "jetson-orin")
    assert second.returncode == 0, second.stderr
    assert "calibrated" not in second.stderr
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "build").rglob("*")} == made
    bundle, target = next((tmp_path / "build").glob("*.edge")), host_target_name()
    assert is_current(bundle, target)
    bundle.write_bytes(bundle.read_bytes()[:1000])
    assert not is_current(bundle, target)


def test_another_models_bundle_is_not_taken_for_the_built_in_one(bundle: Path) -> None:
    assert not is_current(bundle, host_target_name())


@pytest.mark.slow
def test_without_a_bundle_the_last_one_under_build_is_measured_in_all_engines(
    in_process: Edgekit, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "build").mkdir()
    shutil.copy(bundle, tmp_path / "build" / "mine.edge")
    done = in_process("profile", *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    assert "the last one is build/mine.edge" in done.stderr
    profiles = json.loads(done.stdout)["profiles"]
    assert [each["bundle"] for each in profiles] == ["build/mine.edge"] * len(profiles)
    foreign = next(each for each in profiles if each["config"]["engine"] == "onnxruntime")
    assert "compiled for openvino and runs in onnxruntime" in foreign["target"]["statement"]


def test_another_engine_is_taken_where_it_is_named(in_process: Edgekit, bundle: Path) -> None:
    done = in_process("profile", bundle, *QUICK, "--engine", "onnxruntime", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["config"]["engine"] == "onnxruntime"
    assert all({"fp", "int8"} & group.keys() for group in told["layers"])
    assert any("int8" in group for group in told["layers"])
