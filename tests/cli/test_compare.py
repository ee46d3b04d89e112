from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.cli import execute
from edgekit.cli.terminal import Terminal
from tests.profiling.test_compare import run

Folder = Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = tmp_path_factory.mktemp("profiles")
    other = run(1)
    other["config"]["threads"] = 4
    for name, profile in {"a": run(1), "b": run(2, factor=1.2), "other": other}.items():
        (folder / f"{name}.json").write_text(json.dumps(profile), encoding="utf-8")
    (folder / "broken.json").write_text("{", encoding="utf-8")
    (folder / "old.json").write_text('{"schema_version": 1, "rows": []}', encoding="utf-8")
    return folder


def compared(folder: Folder, *arguments: str) -> int:
    names = [str(folder / each) if each.endswith(".json") else each for each in arguments]
    return execute(["compare", *names], Terminal())


def test_a_slower_run_is_called_slower(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(folder, "a.json", "b.json") == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.strip().startswith("p50")]
    assert "slower" in line
    assert max(map(len, out.splitlines()[2:])) <= 100


def test_a_failed_condition_ends_with_3(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(folder, "a.json", "b.json", "--json", "--fail-on", "engine.p50>+5%, engine.p50>1s") == 3
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [each["condition"] for each in found["failed"]] == ["engine.p50>+5%"]
    assert compared(folder, "a.json", "a.json", "--fail-on", "engine.p50>+5%") == 0
    assert "1 of 1 conditions kept" in capsys.readouterr().out


def test_what_was_measured_otherwise_is_refused(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(folder, "a.json", "other.json") == 2
    assert "threads: 1, then 4" in capsys.readouterr().err
    assert compared(folder, "a.json", "other.json", "--anyway") == 0
    assert "measured in different ways" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["missing.json", "broken.json", "old.json"])
def test_what_is_no_profile_is_refused(folder: Folder, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(folder, "a.json", name) == 2
    assert name in capsys.readouterr().err


def test_a_condition_that_is_not_understood_is_refused_first(folder: Folder) -> None:
    assert compared(folder, "missing.json", "missing.json", "--fail-on", "p98>3ms") == 2
