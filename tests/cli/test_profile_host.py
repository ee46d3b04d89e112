from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.ssh_server import Server

from .conftest import Edgekit, start

pytest.importorskip("asyncssh", reason="asyncssh comes with the extra 'remote'")


def test_a_password_in_the_address_is_refused(in_process: Edgekit, bundle: Path) -> None:
    done = in_process("profile", bundle, "--host", "ssh://user:s3cret@board", "--json")
    assert done.returncode == 2
    assert "s3cret" not in done.stdout + done.stderr
    assert json.loads(done.stdout)["error"]["type"] == "UsageError"


@pytest.mark.parametrize("flag", ["--host-python", "--host-folder"])
def test_flags_of_a_board_need_a_board(in_process: Edgekit, bundle: Path, flag: str) -> None:
    done = in_process("profile", bundle, flag, "/x")
    assert done.returncode == 2
    assert f"{flag} is for a board" in done.stderr


def test_a_board_needs_a_bundle(in_process: Edgekit, server: Server) -> None:
    done = in_process("profile", "--host", server.address)
    assert done.returncode == 2
    assert "No bundle is given" in done.stderr


def test_a_board_that_is_not_there_ends_with_4_and_writes_nothing(
    in_process: Edgekit, bundle: Path, tmp_path: Path
) -> None:
    done = in_process("profile", bundle, "--host", "ssh://somebody@127.0.0.1:1", "-o", "profile.json")
    assert done.returncode == 4
    assert "cannot be reached" in done.stderr
    assert list(tmp_path.glob("*profile*")) == []


def test_a_plan_without_a_board(in_process: Edgekit, bundle: Path) -> None:
    done = in_process("profile", bundle, "--dry-run", "--fps", "30", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["plan"]["fps"] == 30


@pytest.mark.slow
def test_ctrl_c_ends_the_run_there_and_keeps_what_was_measured(
    edgekit: Edgekit,
    bundle: Path,
    server: Server,
    wheel_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(wheel_cache))
    plan = edgekit("profile", bundle, "--host", server.address, "--dry-run")
    if plan.returncode == 4:
        pytest.skip(f"the board has no Python, or this machine no package index: {plan.stderr}")
    assert f"host: {server.address}" in plan.stdout
    flags = ("--host", server.address, "--seconds", "600", "-o", "profile.json")
    process = start(tmp_path, "profile", bundle, *flags, env=os.environ)
    try:
        assert process.stderr
        line = ""
        while "warm up" not in line:
            line = process.stderr.readline()
            assert line, "it ended before it measured"
        events = next(server.temporary.glob("edgekit-*/0/events.jsonl"))
        while '"measure"' not in events.read_text():
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    written = json.loads((tmp_path / "profile.json").read_text())
    assert (written["origin"], written["remote"]["host"]) == ("remote", server.address)
    assert written["partial"]
    assert written["config"]["seconds"] == 600
