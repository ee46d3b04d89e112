"""A real OpenSSH server on the loopback device, with another Unix user on its side: the board of these tests."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin")

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
AllowUsers {user}
"""


@dataclass(frozen=True)
class Server:
    """The server, the user behind it, and a home here that may log in.

    Attributes:
        user: A Unix user of its own, with a home of its own.
        port: On 127.0.0.1.
        folder: Where its keys and files lie; the user may read it.
        home: A home for this side, with the private key and the known host.
    """

    user: str
    port: int
    folder: Path
    home: Path

    @property
    def address(self) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}"

    @property
    def temporary(self) -> Path:
        """A folder there that only the user writes to."""
        return self.folder / "tmp"

    def assert_clean(self) -> None:
        """Fail where a file or a process of the user is left; the last ones end within seconds."""
        end = time.monotonic() + 10
        while self.processes() and time.monotonic() < end:
            time.sleep(0.1)
        assert self.processes() == []
        assert list(self.temporary.iterdir()) == []
        assert sorted(path.name for path in (self.folder / "home").rglob("*")) == self.skeleton

    def processes(self) -> list[int]:
        """Return what runs under the user, without what ssh itself needs."""
        number = pwd.getpwnam(self.user).pw_uid
        found = []
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                text = status.read_text()
                if f"\nUid:\t{number}\t" in text and not text.startswith("Name:\tsshd"):
                    found.append(int(status.parent.name))
        return found

    @property
    def skeleton(self) -> list[str]:
        """What a new user's home holds."""
        return sorted(path.name for path in Path("/etc/skel").rglob("*"))

    def drop_connections(self) -> int:
        """Kill the server's processes of all sessions that are open, as a dead network would; return their count."""
        number = pwd.getpwnam(self.user).pw_uid
        killed = 0
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                text = status.read_text()
                if text.startswith("Name:\tsshd") and f"\nUid:\t{number}\t" in text:
                    os.kill(int(status.parent.name), signal.SIGKILL)
                    killed += 1
        return killed


@contextmanager
def serving() -> Iterator[Server]:
    """Start the server and make the user; both are gone afterwards."""
    if not SSHD:
        pytest.skip("no sshd here (Debian: apt-get install openssh-server)")
    if os.geteuid() != 0 or not all(map(shutil.which, ("useradd", "userdel", "ssh-keygen", "setpriv"))):
        pytest.skip("the board's user is another one than this, which only root can make (with useradd)")
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix="board-", dir="/tmp"))
    user = f"board{os.getpid()}"
    server = Server(user, _free_port(), folder, folder / "here")
    try:
        folder.chmod(0o755)
        # A password that matches nothing: a locked account is not let in by key either.
        _run("useradd", "--create-home", "--home-dir", str(folder / "home"), "--password", "*", "-s", "/bin/sh", user)
        _prepare(server)
        process = _started(server)
        try:
            yield server
        finally:
            process.terminate()
            process.wait()
            for pid in server.processes():
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            server.drop_connections()
    finally:
        subprocess.run(["userdel", "--force", user], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned() -> None:
    """Take back what test runs left that were killed: their users, folders and servers."""
    for user in pwd.getpwall():
        folder = Path(user.pw_dir).parent
        number = re.fullmatch(r"board(\d+)", user.pw_name)
        if number and folder.name.startswith("board-") and not Path(f"/proc/{number[1]}").exists():
            with suppress(OSError, ValueError):
                os.kill(int((folder / "sshd.pid").read_text()), signal.SIGTERM)
            subprocess.run(["userdel", "--force", user.pw_name], capture_output=True)
            shutil.rmtree(folder, ignore_errors=True)


def _prepare(server: Server) -> None:
    ssh = server.home / ".ssh"
    ssh.mkdir(parents=True)
    server.home.chmod(0o700)
    for key in (ssh / "id_ed25519", server.folder / "host_key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    shutil.copy(ssh / "id_ed25519.pub", server.folder / "authorized_keys")
    (server.folder / "authorized_keys").chmod(0o644)
    host_key = (server.folder / "host_key.pub").read_text()
    (ssh / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {host_key}")
    server.temporary.mkdir()
    shutil.chown(server.temporary, server.user)
    # This session of sshd has no /tmp of its own: what is written there can be told from what others write.
    (server.folder / "sshd_config").write_text(
        _CONFIG.format(port=server.port, folder=server.folder, user=server.user) + f"SetEnv TMPDIR={server.temporary}\n"
    )


def _started(server: Server) -> subprocess.Popen[bytes]:
    Path("/run/sshd").mkdir(exist_ok=True)
    log = ["-E", str(server.folder / "sshd.log")]
    process = subprocess.Popen(
        [str(SSHD), "-D", *log, "-f", str(server.folder / "sshd_config")], stdin=subprocess.DEVNULL
    )
    for _ in range(100):
        with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=1):
            return process
        time.sleep(0.1)
    process.terminate()
    pytest.fail(f"sshd does not start: {(server.folder / 'sshd.log').read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
