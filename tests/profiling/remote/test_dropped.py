from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import TargetError
from edgekit.profiling.remote import board as board_module
from edgekit.profiling.remote.board import installed
from edgekit.profiling.remote.connection import Connection
from edgekit.profiling.remote.plan import Plan
from tests.ssh_server import Server

COUNT = {"steps": 12, "pause": 0.25}


@pytest.mark.filterwarnings("ignore:this takes a while")
def test_a_dropped_connection_is_resumed_while_the_run_goes_on(
    connection: Connection, plan: Plan, server: Server
) -> None:
    stages: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        stages.append(stage)
        if stage in ("step 3", "step 7"):
            assert server.drop_connections()

    with installed(connection, plan) as board:
        assert board.call("job:count", COUNT, what="a test", progress=progress) == 12
    steps = [stage for stage in stages if stage.startswith("step")]
    assert steps == [f"step {step}" for step in range(1, 13)]
    assert sum("dropped" in stage for stage in stages) >= 2


def test_a_connection_that_drops_before_or_after_the_run_is_made_anew(
    connection: Connection, plan: Plan, server: Server
) -> None:
    assert server.drop_connections()
    with installed(connection, plan) as board:
        assert board.call("job:about", {}, what="a test")["user"] == server.user
        assert server.drop_connections()
    assert board.left_behind == ""


@pytest.mark.filterwarnings("ignore:this takes a while")
def test_a_connection_that_drops_for_good_is_reported(
    connection: Connection, plan: Plan, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_module, "RESUME_S", 0.0)

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "step 2":
            server.drop_connections()

    with pytest.raises(TargetError, match="did not come back") as lost, installed(connection, plan) as board:
        board.call("job:count", COUNT, what="a test", progress=progress)
    assert "within an hour" in lost.value.fix


def test_a_connection_that_drops_while_files_are_copied_is_reported(
    connection: Connection, plan: Plan, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(bytes(40_000_000))

    def progress(stage: str, done: int, total: int) -> None:
        if done == 20:
            server.drop_connections()

    with pytest.raises(TargetError, match="dropped while files were copied"), installed(connection, plan) as board:
        board.send({"0/in/big": tmp_path / "big"}, progress)
