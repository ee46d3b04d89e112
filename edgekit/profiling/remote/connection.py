"""An ssh connection that runs commands: keys only, host keys checked, and dead within seconds when the network is.

asyncssh works on a loop in a thread of its own, so that what is called here blocks, and Ctrl-C ends it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import asyncssh

from edgekit.errors import TargetError, UsageError
from edgekit.profiling.remote.host import Address
from edgekit.profiling.remote.trust import HostKeyWitness, untrusted

CONNECT_S = 15
KEEPALIVE_S = 5
"""After three unanswered messages, one in so many seconds, a connection counts as dropped."""

_ERROR_BYTES = 4000

T = TypeVar("T")


class Dropped(Exception):
    """The connection ended before the command did."""


@dataclass(frozen=True)
class Finished:
    """How a command ended.

    Attributes:
        code: Its exit status.
        output: What it printed.
        errors: The end of what it printed to standard error.
    """

    code: int
    output: bytes
    errors: str


class Connection:
    """A connection to a board.

    Args:
        address: Where the board is.
        identity: The private key to log in with; none: as ~/.ssh/config says, the agent's, or those in ~/.ssh.

    Raises:
        TargetError: The board does not answer, is not trusted, or refuses the key.
        UsageError: The key cannot be read.
    """

    def __init__(self, address: Address, identity: Path | None = None) -> None:
        self.address = address
        self.host_key = ""
        self._identity = identity
        self._connection: asyncssh.SSHClientConnection | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ssh", daemon=True)
        self._thread.start()
        try:
            self.reconnect()
        except BaseException:
            self.close()
            raise

    def reconnect(self) -> None:
        """Connect, again or for the first time.

        Raises:
            TargetError: The board does not answer, is not trusted, or refuses the key.
        """
        self._drop()
        options = self._options()
        witness = HostKeyWitness()
        try:
            self._connection, _ = self._wait(
                asyncssh.create_connection(lambda: witness, str(options.host), options=options)
            )
        except asyncssh.HostKeyNotVerifiable as error:
            if witness.shown is None:
                raise self._failed(error, "its host key was not accepted") from error
            raise untrusted(self.address, options, witness.shown) from error
        except asyncssh.PermissionDenied as error:
            raise self._refused(options) from error
        except (OSError, asyncssh.Error, asyncio.TimeoutError) as error:
            raise self._failed(error, "no ssh server answers there") from error
        key = self._connection.get_server_host_key()
        self.host_key = f"{key.get_algorithm()} {key.get_fingerprint()}" if key else ""

    def run(self, command: str, data: Iterable[bytes] = ()) -> Finished:
        """Run a command to its end, with `data` as its standard input.

        Raises:
            Dropped: The connection ended first.
        """
        process = self._started(command)
        collected = asyncio.run_coroutine_threadsafe(_collect(process), self._loop)
        try:
            with suppress(asyncssh.Error, OSError):
                # A command that stops reading has ended, and says why.
                for chunk in data:
                    self._wait(_write(process, chunk))
                process.stdin.write_eof()
            output, errors = _result(collected)
        except (asyncssh.Error, OSError) as error:
            raise Dropped(str(error)) from error
        finally:
            self._loop.call_soon_threadsafe(process.close)
        return Finished(_status(process), output, errors[-_ERROR_BYTES:].decode(errors="replace"))

    def lines(self, command: str) -> Iterator[bytes]:
        """Yield the lines that a command prints, whole lines only.

        Raises:
            Dropped: The connection ended before the command did.
        """
        process = self._started(command)
        try:
            while line := self._wait(process.stdout.readline()):
                if not line.endswith(b"\n"):
                    break
                yield line
            self._wait(process.wait_closed())
        except (asyncssh.Error, OSError) as error:
            raise Dropped(str(error)) from error
        finally:
            self._loop.call_soon_threadsafe(process.close)
        _status(process)

    def close(self) -> None:
        """Disconnect."""
        self._drop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _options(self) -> asyncssh.SSHClientConnectionOptions:
        address = self.address
        chosen: dict[str, Any] = {"client_keys": [str(self._identity)]} if self._identity else {}
        chosen |= {"username": address.user} if address.user else {}
        chosen |= {"port": address.port} if address.port else {}
        try:
            return asyncssh.SSHClientConnectionOptions(
                host=address.host,
                preferred_auth="publickey",
                connect_timeout=CONNECT_S,
                login_timeout=CONNECT_S,
                keepalive_interval=KEEPALIVE_S,
                **chosen,
            )
        except (OSError, asyncssh.Error, ValueError) as error:
            raise UsageError(
                problem=f"{self._identity or 'The keys in ~/.ssh'} cannot be used to log in to {address}.",
                found=str(error),
                fix="Give a private key in the format of OpenSSH with --identity; one with a passphrase goes into "
                "ssh-agent: ssh-add FILE.",
            ) from error

    def _started(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        if self._connection is None:
            message = "not connected"
            raise Dropped(message)
        try:
            return self._wait(_start(self._connection, command))
        except (asyncssh.Error, OSError) as error:
            raise Dropped(str(error)) from error

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        value: T = _result(asyncio.run_coroutine_threadsafe(work, self._loop))
        return value

    def _drop(self) -> None:
        if self._connection is not None:
            self._loop.call_soon_threadsafe(self._connection.abort)
            with suppress(Exception):
                self._wait(self._connection.wait_closed())
            self._connection = None

    def _failed(self, error: BaseException, what: str) -> TargetError:
        return TargetError(
            problem=f"The board {self.address} cannot be reached: {what}.",
            found=_reason(error) or f"no answer in {CONNECT_S} s",
            fix="Check that it is switched on, the name and the port, and that `ssh` reaches it from here.",
        )

    def _refused(self, options: asyncssh.SSHClientConnectionOptions) -> TargetError:
        user, host, port = options.username, options.host, options.port
        tried = str(self._identity) if self._identity else "the agent's keys and those in ~/.ssh"
        return TargetError(
            problem=f"The board {self.address} refused to let {user} in.",
            found=f"tried: {tried}; passwords are never used",
            fix=f"Let the board know your key: ssh-copy-id -p {port} {user}@{host}, or name another one with "
            "--identity. One with a passphrase goes into ssh-agent: ssh-add FILE.",
        )


def _reason(error: BaseException) -> str:
    """Return what the system says, without the numbers that asyncio puts around it."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return str(error)


def _result(future: Any) -> Any:
    """Wait in steps: a wait without an end cannot be interrupted by Ctrl-C everywhere."""
    while True:
        try:
            return future.result(timeout=1.0)
        except NotYet:
            if future.done():
                return future.result()
        except BaseException:
            future.cancel()
            raise


async def _start(connection: asyncssh.SSHClientConnection, command: str) -> asyncssh.SSHClientProcess[bytes]:
    return await connection.create_process(command, encoding=None)


async def _collect(process: asyncssh.SSHClientProcess[bytes]) -> tuple[bytes, bytes]:
    output, errors = await asyncio.gather(process.stdout.read(), process.stderr.read())
    await process.wait_closed()
    return output, errors


async def _write(process: asyncssh.SSHClientProcess[bytes], chunk: bytes) -> None:
    process.stdin.write(chunk)
    await process.stdin.drain()


def _status(process: asyncssh.SSHClientProcess[bytes]) -> int:
    if process.exit_status is None:
        message = "the connection ended before the command did"
        raise Dropped(message)
    return process.exit_status
