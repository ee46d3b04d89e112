from __future__ import annotations

import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import TargetError
from edgekit.profiling.remote.board import installed
from edgekit.profiling.remote.connection import Connection
from edgekit.profiling.remote.facts import ask
from edgekit.profiling.remote.plan import Plan
from tests.ssh_server import Server


@contextmanager
def small_disk(server: Server, megabytes: int) -> Iterator[Path]:
    """A file system of that size that the board's user may write to."""
    folder = server.folder / "small"
    folder.mkdir(exist_ok=True)
    user = pwd.getpwnam(server.user)
    options = f"size={megabytes}m,uid={user.pw_uid},gid={user.pw_gid},mode=700"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_found_before_anything_is_sent(connection: Connection, plan: Plan, server: Server) -> None:
    with small_disk(server, 4) as folder:
        facts = ask(connection, folder=str(folder))
        assert facts.free_bytes <= 4 << 20
        full = pytest.raises(TargetError, match="too full")
        with full as error, installed(connection, replace(plan, facts=facts)):
            pass
    assert "--host-folder" in error.value.fix


def test_a_disk_that_fills_up_while_files_arrive(connection: Connection, plan: Plan, server: Server) -> None:
    with small_disk(server, 4) as folder:
        # As if another process had taken the room after it was asked for.
        facts = replace(ask(connection, folder=str(folder)), free_bytes=1 << 40)
        full = pytest.raises(TargetError, match="its disk is full")
        with full as error, installed(connection, replace(plan, facts=facts)) as board:
            board.send({"0/in/big": bytes(8 << 20)})
    assert "No space left on device" in error.value.found


def test_a_disk_that_fills_up_while_it_runs(connection: Connection, plan: Plan, server: Server) -> None:
    with small_disk(server, 8) as folder:
        facts = replace(ask(connection, folder=str(folder)), free_bytes=1 << 40)
        full = pytest.raises(TargetError, match="filled up")
        with installed(connection, replace(plan, facts=facts)) as board, full as error:
            board.call("job:fill_the_disk", {}, what="a test")
    assert f"free in {folder}" in error.value.found
