"""Where a board is, and what of it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from edgekit.errors import UsageError

FORM = "ssh://user@board or ssh://user@board:port"


@dataclass(frozen=True)
class Address:
    """Where a board is.

    Attributes:
        host: Its name, an alias of ~/.ssh/config, or an IP address.
        user: Who logs in; empty: as ~/.ssh/config says, else this user.
        port: Of its ssh server; none: as ~/.ssh/config says, else 22.
    """

    host: str
    user: str = ""
    port: int | None = None

    def __str__(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return "ssh://" + (f"{self.user}@" if self.user else "") + name + (f":{self.port}" if self.port else "")


@dataclass(frozen=True)
class Host:
    """A board, and what of it is used.

    Attributes:
        address: Where it is.
        python: Its Python, a name or a path; empty: the first one of 3.10 or newer that is found.
        folder: Where a temporary folder is made there; empty: where its Python makes them.
        wheels: A folder here with wheels for it; none: they come from the package index that pip is set up with.
        identity: The private key to log in with; none: as ~/.ssh/config says, the agent's, or those in ~/.ssh.
    """

    address: Address
    python: str = ""
    folder: str = ""
    wheels: Path | None = None
    identity: Path | None = None


def host_of(host: Host | str) -> Host:
    """Return a board; an address alone takes its own Python and temporary folder.

    Raises:
        UsageError: It is no address.
    """
    return host if isinstance(host, Host) else Host(parse_address(host))


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        UsageError: It is no address of an ssh server, or holds a password; the password is not repeated.
    """
    parts = _split(text)
    if parts.password is not None:
        raise UsageError(
            problem="A password in the address of a board is not accepted: it would end up in logs and histories.",
            found=f"ssh://{parts.username}:...@{parts.hostname}",
            fix=f"Log in with a key: `ssh-copy-id {parts.username}@{parts.hostname}` once, then "
            f"--host ssh://{parts.username}@{parts.hostname}.",
        )
    try:
        port = parts.port
    except ValueError as error:
        raise _unusable(text, str(error)) from error
    if parts.scheme != "ssh":
        raise _unusable(text, f"the scheme is '{parts.scheme}'" if parts.scheme else "no scheme")
    if not parts.hostname:
        raise _unusable(text, "no name of a board")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise _unusable(text, "more than user, board and port")
    # What starts with a dash would be read as an option by the commands that errors advise.
    if (parts.hostname + (parts.username or "")).startswith("-") or (parts.username or "").startswith("-"):
        raise _unusable(text, "a name that starts with a dash")
    # urlsplit lowers the name's case, and aliases in ~/.ssh/config have theirs.
    written = parts.netloc.rpartition("@")[2]
    name = parts.hostname if written.startswith("[") else written.partition(":")[0]
    return Address(name, parts.username or "", port)


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text if "://" in text else f"//{text}")
    except ValueError as error:
        raise _unusable(text, str(error)) from error


def _unusable(text: str, found: str) -> UsageError:
    shown = text.rpartition("@")[2]
    return UsageError(problem=f"'{shown}' is not the address of a board.", found=found, fix=f"Write {FORM}.")
