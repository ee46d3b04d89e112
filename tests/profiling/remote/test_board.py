from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from edgekit.errors import HostMismatchWarning, ModelError, TargetError
from edgekit.profiling.remote.board import installed
from edgekit.profiling.remote.connection import Connection
from edgekit.profiling.remote.plan import Plan
from tests.ssh_server import Server

COUNT = {"steps": 12, "pause": 0.25}


def test_a_function_runs_there_as_the_user_and_in_a_folder_of_its_own(
    connection: Connection, plan: Plan, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "note").write_text("from here")
    with installed(connection, plan) as board:
        for _ in range(2):
            told = board.call("job:about", {}, {"note": tmp_path / "note", "more": b"bytes"}, what="a test")
            assert told["user"] == server.user
            assert told["sent"] == {"note": "from here", "more": "bytes"}
            for place in ("folder", "home", "temporary"):
                assert told[place].startswith(f"{server.temporary}/edgekit-")
    assert board.left_behind == ""


def test_progress_and_warnings_come_here_while_it_runs(connection: Connection, plan: Plan) -> None:
    told: list[tuple[float, str]] = []

    def progress(stage: str, done: int, total: int) -> None:
        told.append((time.monotonic(), stage))

    with installed(connection, plan) as board, pytest.warns(HostMismatchWarning, match="takes a while"):
        assert board.call("job:count", COUNT, what="a test", progress=progress) == 12
    stages = [stage for _, stage in told]
    assert stages == [f"step {step}" for step in range(1, 13)]
    # Told all at once, in the end, they would be no progress.
    assert told[-1][0] - told[0][0] > 0.5 * 11 * COUNT["pause"]


@pytest.mark.filterwarnings("ignore:this takes a while")
def test_ctrl_c_ends_the_run_and_keeps_what_it_had(connection: Connection, plan: Plan) -> None:
    kept: list[dict[str, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "step 3":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), installed(connection, plan) as board:
        board.call("job:count", COUNT, what="a test", progress=progress, keep=kept.append)
    assert [3 <= each["done"] < 12 for each in kept] == [True]


def test_a_crash_there_is_an_error_with_the_end_of_its_log(connection: Connection, plan: Plan) -> None:
    with installed(connection, plan) as board, pytest.raises(TargetError, match="SIGSEGV") as crashed:
        board.call("job:crash", {}, what="the engine on the board")
    assert "the engine on the board" in crashed.value.problem
    assert "libengine: null pointer" in crashed.value.found


def test_what_is_raised_there_is_raised_here_and_what_it_had_is_kept(
    connection: Connection, plan: Plan, server: Server
) -> None:
    kept: list[str] = []
    with installed(connection, plan) as board, pytest.raises(ModelError, match="not a model") as refused:
        board.call("job:refuse", {}, what="a test", keep=kept.append)
    assert (refused.value.found, kept) == (f"on {server.address}\na picture", ["half"])


def test_a_run_that_is_killed_from_outside_is_reported(connection: Connection, plan: Plan, server: Server) -> None:
    def kill_all() -> None:
        while not (found := list(server.temporary.glob("edgekit-*/0/pid"))) or not found[0].read_text():
            time.sleep(0.05)
        os.kill(int(found[0].read_text()), 9)

    killer = threading.Thread(target=kill_all)
    killer.start()
    with installed(connection, plan) as board, pytest.raises(TargetError, match="SIGKILL"):
        board.call("job:count", {"steps": 1000, "pause": 0.1}, what="a test")
    killer.join()
