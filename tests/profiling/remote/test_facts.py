from __future__ import annotations

import pytest

from edgekit.errors import TargetError, UsageError
from edgekit.profiling.remote.board import planned
from edgekit.profiling.remote.connection import Connection
from edgekit.profiling.remote.facts import _is_emulated, _machine, ask
from edgekit.profiling.remote.host import Host, parse_address
from edgekit.profiling.remote.plan import Plan
from tests.ssh_server import Server


@pytest.mark.parametrize("folder", ["/no/such/folder", "/root", "/proc"])
def test_a_folder_that_cannot_be_written_to(connection: Connection, folder: str) -> None:
    with pytest.raises(UsageError, match="cannot be written to") as refused:
        ask(connection, folder=folder)
    assert "--host-folder" in refused.value.fix


def python(server: Server, name: str, script: str) -> str:
    path = server.folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_python_that_is_too_old(connection: Connection, server: Server) -> None:
    old = python(server, "python3.8", "echo 3.8.10")
    with pytest.raises(TargetError, match=r"no Python of 3\.10 or newer") as refused:
        ask(connection, old)
    assert refused.value.found == f"{old} is 3.8.10"
    assert "--host-python" in refused.value.fix


def test_a_python_that_does_not_start(connection: Connection, server: Server) -> None:
    with pytest.raises(TargetError, match="no Python") as refused:
        ask(connection, python(server, "broken", "exit 127"))
    assert "does not start" in refused.value.found


def test_a_python_that_is_not_there(connection: Connection) -> None:
    with pytest.raises(UsageError, match=r"There is no /opt/none/python on ssh://"):
        ask(connection, "/opt/none/python")


def test_no_python_at_all(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.profiling.remote.facts.CANDIDATES", ("python0",))
    with pytest.raises(TargetError, match="no Python") as none:
        ask(connection)
    assert none.value.found == "none of python0 in its PATH"


def test_another_architecture_is_refused_before_anything_is_sent(server: Server, plan: Plan) -> None:
    other = {"x86_64": "aarch64"}.get(plan.facts.machine, "x86_64")
    foreign = pytest.raises(TargetError, match=f"is for {other}, and that board is {plan.facts.machine}")
    with foreign, planned(Host(parse_address(server.address)), "", arch=other):
        pass


@pytest.mark.parametrize(
    ("machine", "kernel", "cpuinfo_is_x86", "emulated"),
    [
        ("aarch64", "aarch64", False, False),
        ("armv7l", "aarch64", False, False),
        ("i686", "x86_64", True, False),
        ("aarch64", "x86_64", False, True),
        ("aarch64", "aarch64", True, True),
        ("riscv64", "x86_64", True, True),
    ],
)
def test_an_emulator_is_told_from_a_board(machine: str, kernel: str, cpuinfo_is_x86: bool, emulated: bool) -> None:
    assert _is_emulated(machine, kernel, cpuinfo_is_x86) == emulated


def test_a_python_of_32_bits_on_a_kernel_of_64() -> None:
    assert [_machine("aarch64", bits) for bits in (64, 32)] == ["aarch64", "armv7l"]
