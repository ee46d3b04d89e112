from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest

from edgekit.api.compile import compile
from edgekit.backends import backend_for
from edgekit.errors import TargetError, UsageError
from edgekit.tuning.record import Key, read_record
from tests.ssh_server import Server

pytest.importorskip("asyncssh", reason="asyncssh comes with the extra 'remote'")

TARGET = "x86-onnxruntime" if platform.machine() == "x86_64" else "host"
NOWHERE = "ssh://nobody@127.0.0.1:1"


@pytest.fixture
def board(server: Server, wheel_cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(wheel_cache))
    return server.address


def measured_there(calibration: Path, out: Path, board: str, **options: Any) -> Any:
    """Compile with so little time that two batches and the final word are all that is measured."""
    try:
        return compile(calibration, target=TARGET, out=out, host=board, **{"tune_seconds": 0.01, **options})
    except TargetError as error:
        if "no Python" in error.problem or "no packages" in error.problem:
            pytest.skip(f"the board has no Python, or this machine no package index: {error}")
        raise


def record_of(calibration: Path) -> tuple[Path, Any]:
    [path] = (calibration / "placement").glob("*.json")
    return path, json.loads(path.read_text())


@pytest.mark.slow
def test_a_search_runs_there_and_its_record_is_of_that_board(
    copy: Path, tmp_path: Path, board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = measured_there(copy, tmp_path / "a.edge", board)
    table = made.manifest.placement
    path, record = record_of(copy)
    key = record["key"]
    assert (table.origin, key["origin"], table.notes) == ("remote", "remote", ())
    assert table.whole is not None and table.whole.placed.float_us > 0
    assert {row.origin for row in table.rows} <= {"remote", "estimated"}
    assert (table.engine, table.processor) == (key["engine"], key["processor"])
    engine, version = table.engine.split()
    assert engine == backend_for(engine).name and version

    monkeypatch.setattr("edgekit.tuning.remote.installed", _carrying)
    again = measured_there(copy, tmp_path / "b.edge", board)
    assert again.path.read_bytes() == made.path.read_bytes()

    path.write_text(json.dumps({**record, "key": {**key, "processor": "Cortex-A55"}}))
    with pytest.raises(_Carries):
        measured_there(copy, tmp_path / "c.edge", board)
    reason = read_record(path, Key.model_validate(key))[1]
    assert reason.startswith("measured again") and "processor was Cortex-A55, is " in reason


class _Carries(Exception):
    """The runtime would be carried to the board, so that something is measured there."""


def _carrying(*_: Any, **__: Any) -> Any:
    raise _Carries


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_measured_there_and_leaves_nothing(copy: Path, tmp_path: Path, board: str) -> None:
    batches: list[int] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "place":
            batches.append(done)
            if len(batches) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured_there(copy, tmp_path / "a.edge", board, progress=progress)
    record = record_of(copy)[1]
    assert record["key"]["origin"] == "remote" and record["comparisons"] and record["result"] is None
    assert not (tmp_path / "a.edge").exists()


@pytest.mark.parametrize("target", ["jetson-orin", "nvidia-rtx-sm86", "qualcomm-htp-v73", "intel-npu"])
def test_engines_that_do_not_run_as_sent_are_refused(copy: Path, tmp_path: Path, target: str) -> None:
    with pytest.raises(UsageError, match="cannot be measured over ssh") as refused:
        compile(copy, target=target, out=tmp_path / "a.edge", host=NOWHERE)
    assert "Leave --host out" in refused.value.fix
    assert not (tmp_path / "a.edge").exists()


def test_a_board_and_nothing_to_measure_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is to be measured"):
        compile(copy, target=TARGET, out=tmp_path / "a.edge", host=NOWHERE, tune=False)


def test_a_board_that_is_not_there(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot be reached"):
        compile(copy, target=TARGET, out=tmp_path / "a.edge", host=NOWHERE)
    assert not (tmp_path / "a.edge").exists() and not (copy / "placement").exists()


def test_a_board_of_another_architecture_is_refused(copy: Path, tmp_path: Path, board: str) -> None:
    foreign = "arm-cortex-a76" if platform.machine() == "x86_64" else "x86-onnxruntime"
    with pytest.raises(TargetError, match="and that board is"):
        compile(copy, target=foreign, out=tmp_path / "a.edge", host=board)
    assert not (copy / "placement").exists()
