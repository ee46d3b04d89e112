from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.cli import execute
from edgekit.cli.terminal import Terminal
from edgekit.reference import model_path
from edgekit.targets import host_target_name


def estimated(*arguments: str | Path) -> int:
    return execute(["profile", "-q", *map(str, arguments)], Terminal())


def test_a_board_that_is_not_here_is_estimated_from_a_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "estimate.json"
    assert estimated(model_path(), "--target", "jetson-orin", "-o", out, "--json") == 0
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert shown["origin"] == "estimated"
    assert shown["target"] == "jetson-agx-orin-jp6"
    assert 0 < shown["int8_ms"][0] < shown["int8_ms"][1]
    assert json.loads(out.read_text(encoding="utf-8")) == shown


def test_the_page_says_that_it_is_estimated(capsys: pytest.CaptureFixture[str]) -> None:
    assert estimated(model_path(), "--target", "qualcomm-htp-v73") == 0
    page = capsys.readouterr().out
    assert "origin    estimated" in page
    assert "missing   int8_tops" in page
    assert max(map(len, page.splitlines())) <= 100


def test_this_machine_is_not_estimated(capsys: pytest.CaptureFixture[str]) -> None:
    for target in ("host", host_target_name()):
        assert estimated(model_path(), "--target", target) == 2
        assert "it is measured, not estimated" in capsys.readouterr().err


def test_what_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert estimated(tmp_path / "none.onnx", "--target", "jetson-orin") == 2
    assert estimated(model_path(), "--target", "jetson-orn") == 2
    assert "Did you mean 'jetson-orin'?" in capsys.readouterr().err
