from __future__ import annotations

import json
import sys

import pytest

from edgekit.backends import BACKENDS
from edgekit.cli import execute
from edgekit.cli.doctor import examine
from edgekit.cli.terminal import Terminal
from edgekit.targets import load_target


def test_it_finds_every_engine_and_this_machines_target() -> None:
    found = examine()
    assert set(found["engines"]) == set(BACKENDS)
    assert found["host_target"] == load_target("host").name
    assert set(found["codecs"]) >= {"jpg", "png"}
    assert all(free > 0 for free in found["free_bytes"].values())


def test_it_ends_well_where_the_engine_of_this_machine_runs(capsys: pytest.CaptureFixture[str]) -> None:
    found = examine()
    assert execute(["doctor", "--json"], Terminal()) == (4 if found["problems"] else 0)
    told = json.loads(capsys.readouterr().out)
    assert told["schema_version"] == 1
    assert told["problems"] == found["problems"]


def test_a_missing_opencv_is_a_problem(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert execute(["doctor"], Terminal()) == 4
    assert "problem: OpenCV is missing" in capsys.readouterr().out


def test_a_machine_that_no_target_fits_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    found = examine()
    assert found["host_target"] == ""
    assert "riscv64" in found["problems"][0]
