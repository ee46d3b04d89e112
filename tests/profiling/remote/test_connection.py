from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from edgekit.errors import TargetError, UsageError
from edgekit.profiling.remote.connection import Connection, Dropped
from edgekit.profiling.remote.host import Address, parse_address
from tests.ssh_server import Server


def connect(server: Server, identity: Path | None = None) -> Connection:
    return Connection(parse_address(server.address), identity)


def key(folder: Path, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", folder / "key"], check=True)
    return folder / "key"


def home(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, as the server's, whose known hosts may be changed."""
    shutil.copytree(server.home / ".ssh", tmp_path / ".ssh")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ssh" / "known_hosts"


def test_commands_take_and_give_bytes(server: Server) -> None:
    with connect(server) as connection:
        data = os.urandom(3 << 20)
        done = connection.run("cat; echo this is wrong >&2; exit 3", [data[:7], data[7:]])
        assert (done.code, done.output, done.errors) == (3, data, "this is wrong\n")
        assert list(connection.lines("printf 'a\\nb\\n'; sleep 0.1; echo c")) == [b"a\n", b"b\n", b"c\n"]
        assert connection.host_key.startswith("ssh-ed25519 SHA256:")


def test_a_command_that_does_not_read_its_input_ends_all_the_same(server: Server) -> None:
    with connect(server) as connection:
        assert connection.run("exit 7", (bytes(1 << 16) for _ in range(200))).code == 7


def test_it_runs_as_another_user(server: Server) -> None:
    with connect(server) as connection:
        assert connection.run("id -un").output.decode().strip() == server.user


def test_a_connection_that_drops_is_told_from_a_command_that_fails(server: Server) -> None:
    with connect(server) as connection:
        lines = connection.lines("echo 1; sleep 3; echo 2")
        assert next(lines) == b"1\n"
        assert server.drop_connections()
        with pytest.raises(Dropped):
            next(lines)
        with pytest.raises(Dropped):
            connection.run("true")
        connection.reconnect()
        assert connection.run("echo again").output == b"again\n"


def test_a_board_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(TargetError, match="cannot be reached") as unreachable:
            Connection(Address("127.0.0.1", "somebody", port))
    assert "refused" in unreachable.value.found.lower()
    with pytest.raises(TargetError, match="cannot be reached"):
        Connection(Address("board.invalid"))


def test_a_key_that_the_board_does_not_know(server: Server, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=f"refused to let {server.user} in") as refused:
        connect(server, key(tmp_path))
    assert f"ssh-copy-id -p {server.port} {server.user}@127.0.0.1" in refused.value.fix
    assert str(tmp_path / "key") in refused.value.found


@pytest.mark.parametrize("kind", ["passphrase", "no key"])
def test_a_key_that_cannot_be_read(server: Server, tmp_path: Path, kind: str) -> None:
    path = key(tmp_path, "secret") if kind == "passphrase" else tmp_path / "key"
    if kind == "no key":
        path.write_text("hello")
    with pytest.raises(UsageError, match="cannot be used to log in") as unreadable:
        connect(server, path)
    assert "ssh-add" in unreadable.value.fix


def test_an_unknown_host_key(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known_hosts = home(tmp_path, server, monkeypatch)
    for text in (
        "",
        "other.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n",
    ):
        known_hosts.write_text(text)
        with pytest.raises(TargetError, match="is not known here") as unknown:
            connect(server)
        fingerprint = subprocess.run(
            ["ssh-keygen", "-lf", server.folder / "host_key.pub"], capture_output=True, text=True, check=True
        ).stdout.split()[1]
        assert fingerprint in unknown.value.found
        assert f"ssh-keyscan -p {server.port} 127.0.0.1 >> {known_hosts}" in unknown.value.fix
    known_hosts.unlink()
    with pytest.raises(TargetError, match="is not known here"):
        connect(server)


def test_what_the_error_advises_helps(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known_hosts = home(tmp_path, server, monkeypatch)
    known_hosts.unlink()
    with pytest.raises(TargetError, match="is not known here") as unknown:
        connect(server)
    advice = unknown.value.fix.rpartition("If it is the same: ")[2]
    subprocess.run(["sh", "-c", advice], check=True, capture_output=True)
    connect(server).close()


def test_a_changed_host_key(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known_hosts = home(tmp_path, server, monkeypatch)
    other = key(tmp_path).with_suffix(".pub").read_text()
    known_hosts.write_text(f"[127.0.0.1]:{server.port} {other}")
    with pytest.raises(TargetError, match="has changed") as changed:
        connect(server)
    assert "somebody answers in its place" in changed.value.fix
    assert f"ssh-keygen -f {known_hosts} -R '[127.0.0.1]:{server.port}'" in changed.value.fix


def test_the_users_ssh_config_is_read(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home(tmp_path, server, monkeypatch)
    config = f"Host orin\n  HostName 127.0.0.1\n  Port {server.port}\n  User {server.user}\n"
    (tmp_path / ".ssh" / "config").write_text(config)
    with Connection(parse_address("ssh://orin")) as connection:
        assert connection.run("id -un").output.decode().strip() == server.user
