"""A board that calls functions: the runtime is carried there once, every call is a job that outlives the connection."""

from __future__ import annotations

import json
import secrets
import shlex
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from edgekit.errors import EdgekitError, TargetError
from edgekit.isolation import ORDER, answer_of, order_text
from edgekit.profiling.remote.connection import Connection, Dropped, Finished
from edgekit.profiling.remote.facts import ask, on_board_source
from edgekit.profiling.remote.host import Host
from edgekit.profiling.remote.on_board import END
from edgekit.profiling.remote.own_wheel import pack
from edgekit.profiling.remote.plan import Plan, check_room, make_plan
from edgekit.profiling.remote.telling import hear
from edgekit.profiling.remote.wheels import light_requirements
from edgekit.progress import Progress, silent

T = TypeVar("T")

RESUME_S = 180.0
_PAUSE_S = 2.0
_CHUNK = 1 << 18
_NO_ROOM = 1 << 16
_LOG_LINES = 8

_MAKE = """
umask 077
folder=$1
# A connection that dropped may have left it behind, made by us.
mkdir "$folder" || [ -O "$folder" ] || exit 3
cat > "$folder/on_board.py" || { rm -rf "$folder"; exit 3; }
"""


class Board:
    """A board with a folder on it that holds the runtime; see `opened`.

    Attributes:
        plan: What it is, and what was carried there.
        connection: To it.
        left_behind: Why the folder could not be removed in the end; empty where it was.
    """

    def __init__(self, connection: Connection, plan: Plan, folder: str) -> None:
        self.connection = connection
        self.plan = plan
        self.left_behind = ""
        self._folder = folder
        self._jobs = 0

    def call(
        self,
        function: str,
        arguments: Mapping[str, Any],
        files: Mapping[str, Path | bytes] | None = None,
        *,
        what: str,
        progress: Progress = silent,
        keep: Callable[[Any], None] = lambda kept: None,
    ) -> Any:
        """Call a function there and return its result, as `edgekit.isolation.call_isolated` does here.

        The connection may drop while the function runs: it is connected again, and the run has gone on meanwhile.

        Args:
            function: `module:function`, called as `function(folder, **arguments)`; it finds `files` in
                `folder / "in"`, and tells what it has to tell by the functions of `telling`.
            arguments: Keyword arguments, as JSON has them.
            files: Plain names and contents.
            what: What is done, for errors.
            progress: Told how far the function is.
            keep: Given what the function kept (`telling.keep`) where it ends with an error or by Ctrl-C, which is
                raised after that.

        Raises:
            EdgekitError: The function raised it.
            TargetError: The process crashed there, or the connection dropped for good.
        """
        job = str(self._jobs)
        self._jobs += 1
        inputs = {f"{job}/in/{name}": content for name, content in (files or {}).items()}
        self.send({**inputs, f"{job}/{ORDER}": order_text(function, arguments).encode()})
        try:
            self._insist("start", job, self.plan.facts.executable, progress=progress)
            self._follow(job, progress)
        except KeyboardInterrupt:
            self._insist("stop", job)
            self._kept(self._ended(job), keep)
            raise
        return self._answer(self._ended(job), what, keep)

    def send(self, files: Mapping[str, Path | bytes], progress: Progress = silent) -> None:
        """Copy files into the folder on the board; wheels are unpacked there.

        Raises:
            TargetError: The disk is full, or the connection dropped.
        """
        command = self._command("receive")
        try:
            done = self.connection.run(command, _archive(files, progress))
        except Dropped as error:
            raise TargetError(
                problem=f"The connection to {self.connection.address} dropped while files were copied there.",
                found=str(error),
                fix="Run it again: nothing was started, and the board removes what had arrived.",
            ) from error
        if done.code:
            raise self._failed(done, "could not take the files")

    def remove(self) -> None:
        """End what still runs there, and remove the folder.

        Raises:
            TargetError: That failed.
        """
        command = shlex.join([self.plan.facts.executable, "-", "remove", self._folder])
        try:
            done = _again(self.connection, lambda: self.connection.run(command, [on_board_source()]))
        except Dropped as error:
            raise TargetError(
                problem=f"The connection to {self.connection.address} dropped before {self._folder} was removed there.",
                found=str(error),
                fix="Remove that folder yourself where the board does not do so within an hour.",
            ) from error
        if done.code:
            raise self._failed(done, "could not remove the temporary folder")

    def _follow(self, job: str, progress: Progress) -> None:
        offset = 0
        while True:
            try:
                for line in self.connection.lines(self._command("follow", job, str(offset))):
                    if line.strip():
                        offset += len(line)
                        hear(line, progress)
                return
            except Dropped as error:
                self._resume(error, progress)

    def _ended(self, job: str) -> dict[str, Any]:
        """Return how a job ended; see `on_board.fetch`."""
        told: dict[str, Any] = json.loads(self._insist("fetch", job).output)
        return told

    def _answer(self, told: Mapping[str, Any], what: str, keep: Callable[[Any], None]) -> Any:
        try:
            if told["exit"] is None:
                raise TargetError(
                    problem=f"{what}: the run on {self.connection.address} ended without a word.",
                    found=told["log"].strip()[-500:] or "no exit code, and nothing in its log",
                    fix="The board restarted, or ended it for want of memory: see `dmesg` there.",
                )
            if told["exit"] and told["free_bytes"] < _NO_ROOM:
                raise TargetError(
                    problem=f"{what}: the disk of {self.connection.address} filled up.",
                    found=f"{told['free_bytes']:,} bytes free in {self.plan.facts.folder} when it ended",
                    fix="Free some space there, or name a folder on another disk with --host-folder.",
                )
            return answer_of(what, told["exit"], told["result"], told["error"], told["log"])["result"]
        except EdgekitError as error:
            self._kept(told, keep)
            if not told["error"]:
                raise
            raise type(error)(
                problem=error.problem, found=self._found_there(error, told["log"]), fix=error.fix
            ) from error

    def _found_there(self, error: EdgekitError, log: str) -> str:
        """Return what an error from the board found, where, and what an engine said before."""
        said = log.strip().splitlines()[-_LOG_LINES:] if isinstance(error, TargetError) else []
        return "\n".join(filter(None, [f"on {self.connection.address}", error.found, *said]))

    def _kept(self, told: Mapping[str, Any], keep: Callable[[Any], None]) -> None:
        if told["kept"]:
            keep(json.loads(told["kept"]))

    def _insist(self, command: str, *words: str, progress: Progress = silent) -> Finished:
        """Run one of the commands that can be repeated, whatever the connection does."""
        while True:
            try:
                done = self.connection.run(self._command(command, *words))
            except Dropped as error:
                self._resume(error, progress)
                continue
            if done.code:
                raise self._failed(done, f"could not {command} the run")
            return done

    def _resume(self, dropped: Dropped, progress: Progress) -> None:
        start, found = time.monotonic(), str(dropped)
        stage = "connection dropped, connecting again"
        while (passed := time.monotonic() - start) < RESUME_S:
            progress(stage, int(passed), int(RESUME_S))
            try:
                self.connection.reconnect()
                progress(stage, int(RESUME_S), int(RESUME_S))
                return
            except TargetError as error:
                found = error.found
            time.sleep(_PAUSE_S)
        raise TargetError(
            problem=f"The connection to {self.connection.address} dropped, and did not come back in {RESUME_S:.0f} s.",
            found=found,
            fix=f"Run it again when the board can be reached. It ends what still runs in {self._folder} and removes "
            "that folder by itself within an hour.",
        )

    def _command(self, command: str, *words: str) -> str:
        script = f"{self._folder}/on_board.py"
        return shlex.join([self.plan.facts.executable, script, command, self._folder, *words])

    def _failed(self, done: Finished, what: str) -> TargetError:
        said = done.errors.strip().rpartition("\n")[2]
        full = "No space left" in said or "quota" in said
        return TargetError(
            problem=f"{self.connection.address} {what}{': its disk is full' if full else ''}.",
            found=said or f"exit code {done.code}",
            fix="Free some space there, or name a folder on another disk with --host-folder."
            if full
            else "Check the folder and the Python there: `edgekit profile --host ... --dry-run` names them.",
        )


@contextmanager
def planned(
    host: Host, extra: str, preferred: Sequence[str] = (), arch: str = "any"
) -> Iterator[tuple[Connection, Plan]]:
    """Connect to a board and find out what has to be carried there; nothing is written there yet.

    Args:
        host: The board.
        extra: The extra of EdgeKit that brings the engine.
        preferred: Exact versions of packages that are carried where there are wheels of them.
        arch: The architecture that is expected; any: all will do.

    Raises:
        TargetError: The board is not reached, not trusted, of another architecture, or nothing fits it.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name, Connection(host.address, host.identity) as connection:
        try:
            facts = _again(connection, lambda: ask(connection, host.python, host.folder))
        except Dropped as error:
            raise TargetError(
                problem=f"The connection to {host.address} dropped while the board was asked what it is.",
                found=str(error),
                fix="Run it again: nothing was written there.",
            ) from error
        if arch not in ("any", facts.machine):
            raise TargetError(
                problem=f"What is to run on {host.address} is for {arch}, and that board is {facts.machine}.",
                found=f"{facts.board or facts.cpu}, {facts.executable}",
                fix="Compile it for a target of the board's architecture (`edgekit targets list`), or name the right "
                "board.",
            )
        yield connection, make_plan(facts, pack(Path(name)), light_requirements(facts, extra), host.wheels, preferred)


@contextmanager
def installed(connection: Connection, plan: Plan, more: int = 0, progress: Progress = silent) -> Iterator[Board]:
    """Carry the runtime into a new folder of a board, and remove that in the end, whatever happens.

    Args:
        connection: To the board.
        plan: What is carried there.
        more: Bytes that will be sent beside it.
        progress: Told how far the copying is.

    Raises:
        TargetError: The board has too little room, or the connection dropped.
    """
    check_room(plan, str(connection.address), more)
    folder = f"{plan.facts.folder.rstrip('/')}/edgekit-{secrets.token_hex(8)}"
    command = shlex.join(["sh", "-c", _MAKE, "sh", folder])
    try:
        made = _again(connection, lambda: connection.run(command, [on_board_source()]))
    except Dropped as error:
        raise TargetError(
            problem=f"The connection to {connection.address} dropped.", found=str(error), fix="Run it again."
        ) from error
    board = Board(connection, plan, folder)
    if made.code:
        raise board._failed(made, f"could not make a folder in {plan.facts.folder}")
    try:
        board.send({wheel.name: wheel for wheel in plan.wheels}, progress)
        yield board
    except BaseException:
        with suppress(EdgekitError):
            board.remove()
        raise
    try:
        board.remove()
    except EdgekitError as error:
        # What was measured is whole all the same.
        board.left_behind = str(error)


def _again(connection: Connection, work: Callable[[], T]) -> T:
    """Do what can be repeated; once more over a new connection where the first one dropped.

    Raises:
        Dropped: Twice.
        TargetError: The board is not reached again.
    """
    try:
        return work()
    except Dropped:
        connection.reconnect()
        return work()


def _archive(files: Mapping[str, Path | bytes], progress: Progress) -> Iterator[bytes]:
    """Yield a tar of files, and tell how many MB of it have gone."""
    total = sum(content.stat().st_size if isinstance(content, Path) else len(content) for content in files.values())
    sent, shown = 0, max(1, -(-total // 1_000_000))
    for name, content in {**files, END: b""}.items():
        info = tarfile.TarInfo(name)
        info.size = content.stat().st_size if isinstance(content, Path) else len(content)
        info.mode = 0o600
        yield info.tobuf(tarfile.GNU_FORMAT)
        for chunk in _chunks(content):
            yield chunk
            sent += len(chunk)
            progress("copy to the board (MB)", min(sent // 1_000_000, shown - 1), shown)
        yield bytes(-info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)
    progress("copy to the board (MB)", shown, shown)


def _chunks(content: Path | bytes) -> Iterable[bytes]:
    if isinstance(content, bytes):
        return (content[start : start + _CHUNK] for start in range(0, len(content), _CHUNK))
    return _read(content)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
