"""Whether a board is the one that it was: its host key against known_hosts, and what to do where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncssh

from edgekit.errors import TargetError
from edgekit.profiling.remote.host import Address

DEFAULT = Path("~/.ssh/known_hosts")


class HostKeyWitness(asyncssh.SSHClient):
    """Remembers the key that a server shows and that nobody vouches for; it is never accepted."""

    def __init__(self) -> None:
        self.shown: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Take note of the key; called for one that known_hosts does not hold."""
        self.shown = key
        return False


def untrusted(address: Address, options: asyncssh.SSHClientConnectionOptions, shown: asyncssh.SSHKey) -> TargetError:
    """Return the error for a host key that is unknown, or another one than before.

    Args:
        address: The board as the user wrote it.
        options: What ~/.ssh/config makes of it: the host, the port and the files of known hosts.
        shown: The key that the server showed.
    """
    host, port = str(options.host), int(options.port)
    entry = host if port == asyncssh.DEFAULT_PORT else f"[{host}]:{port}"
    files = _files(options.known_hosts)
    known = _known(files, host, port)
    offered = f"{shown.get_algorithm()} {shown.get_fingerprint()}"
    compare = (
        f"Compare the fingerprint on the board itself: for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $key; "
        f"done. If it is the same: ssh-keyscan -p {port} {host} >> {files[0]}"
    )
    if known:
        before = ", ".join(f"{key.get_algorithm()} {key.get_fingerprint()}" for key in known)
        return TargetError(
            problem=f"The host key of {address} has changed, so it was not logged in to.",
            found=f"shown: {offered}\nknown: {before} in {_names(files)}",
            fix="Either the board was set up anew, or somebody answers in its place. In the first case: "
            f"ssh-keygen -f {files[0]} -R '{entry}'. {compare}",
        )
    return TargetError(
        problem=f"The host key of {address} is not known here, so it was not logged in to.",
        found=f"shown: {offered}\nknown: none for {entry} in {_names(files)}",
        fix=compare,
    )


def _files(known_hosts: Any) -> list[str]:
    given = [known_hosts] if isinstance(known_hosts, str | Path) else list(known_hosts or ())
    return [str(name) for name in given if isinstance(name, str | Path)] or [str(DEFAULT.expanduser())]


def _known(files: Sequence[str], host: str, port: int) -> list[asyncssh.SSHKey]:
    there = [name for name in files if Path(name).is_file()]
    if not there:
        return []
    found = asyncssh.match_known_hosts(there, host, host, None if port == asyncssh.DEFAULT_PORT else port)
    return list(found[0])


def _names(files: Sequence[str]) -> str:
    return " and ".join(files)
