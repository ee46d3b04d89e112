"""Keep foreign code in a process of its own that stays and answers; this module is also that process.

It is as far apart as what `edgekit.isolation` runs once: own HOME, own log, and a crash there is an error here.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit import errors
from edgekit.errors import EdgekitError, TargetError
from edgekit.isolation import ending, ending_with, last_lines, process_environment

Arrays = Mapping[str, NDArray[Any]]
Answering = Callable[[Arrays], Arrays]

_READY, _RESULT, _ERROR = b"ready", b"result", b"error"
_ORDER, _LOG = "order.json", "log.txt"


class Companion:
    """A function in a process of its own, made once and called often.

    `function(folder, **arguments)` is called there first; it finds `files` in `folder / "in"` and returns two things:
    what JSON can hold, and the function that every later call is passed to. One call at a time.

    Args:
        function: `module:function`.
        arguments: Keyword arguments, as JSON has them.
        files: Plain names and contents.
        what: What is done, for errors: "The simulator".
        start_s: The process is killed where it is not ready after so many seconds.
        call_s: And where a call takes longer than this.
        environment: Variables beside the few that every process here is given.
        python: The command that starts Python.

    Attributes:
        told: What the function returned for JSON.

    Raises:
        EdgekitError: The function raised it.
        TargetError: The process crashed or ran out of time.
    """

    def __init__(
        self,
        function: str,
        arguments: Mapping[str, Any],
        files: Mapping[str, bytes],
        *,
        what: str,
        start_s: float,
        call_s: float,
        environment: Mapping[str, str] | None = None,
        python: Sequence[str] = (sys.executable,),
    ) -> None:
        self._what, self._call_s = what, call_s
        self._folder = Path(tempfile.mkdtemp(prefix="edgekit-"))
        for part in ("in", "out", "home"):
            (self._folder / part).mkdir()
        for name, content in files.items():
            (self._folder / "in" / name).write_bytes(content)
        order = {"function": function, "arguments": dict(arguments)}
        (self._folder / _ORDER).write_text(json.dumps(order), encoding="utf-8")
        ours, theirs = socket.socketpair()
        with theirs, (self._folder / _LOG).open("wb") as log:
            self._process = subprocess.Popen(
                [*python, "-m", __name__, str(self._folder), str(theirs.fileno()), str(os.getpid())],
                cwd=self._folder,
                env=process_environment(self._folder, environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
        self._connection = Connection(ours.detach())
        self._end = weakref.finalize(self, _end, self._process, self._connection, self._folder)
        try:
            self.told: Any = json.loads(self._answer(start_s))
        except BaseException:
            self.close()
            raise

    def __call__(self, values: Arrays) -> dict[str, NDArray[Any]]:
        """Return what the function in the process gives for these arrays.

        Raises:
            EdgekitError: It raised it.
            TargetError: The process crashed or ran out of time; it is gone then.
        """
        try:
            self._connection.send_bytes(packed(values))
        except OSError:
            raise self._crash() from None
        return unpacked(self._answer(self._call_s))

    @property
    def process(self) -> int:
        """The process's id."""
        return self._process.pid

    def close(self) -> None:
        """End the process and remove its folder."""
        self._end()

    def _answer(self, seconds: float) -> bytes:
        try:
            if not self._connection.poll(seconds):
                raise self._timeout(seconds)
            kind, content = self._connection.recv_bytes(), self._connection.recv_bytes()
        except (EOFError, ConnectionError):
            raise self._crash() from None
        if kind == _ERROR:
            told = json.loads(content)
            wanted: type[EdgekitError] = getattr(errors, told.pop("type"))
            raise wanted(**told)
        return content

    def _timeout(self, seconds: float) -> TargetError:
        error = TargetError(
            problem=f"{self._what}: no answer within {seconds:g} s; the process was killed.",
            found=self._last_lines(),
            fix="Give it a smaller model, or a machine with less other work.",
        )
        self.close()
        return error

    def _crash(self) -> TargetError:
        code = self._process.wait()
        error = TargetError(
            problem=f"{self._what}: the process {ending(code)}.",
            found=self._last_lines(),
            fix="This is the foreign library's failure: the lines above are its own. Check that its version fits this "
            "machine with `edgekit doctor`.",
        )
        self.close()
        return error

    def _last_lines(self) -> str:
        return last_lines((self._folder / _LOG).read_text(encoding="utf-8", errors="replace"))


def packed(values: Arrays) -> bytes:
    """Return named arrays as bytes; these names are free, which those in an .npz are not."""
    buffer = io.BytesIO()
    np.savez(buffer, *values.values())
    return json.dumps(list(values)).encode() + b"\n" + buffer.getvalue()


def unpacked(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays that `packed` was given."""
    names, _, arrays = data.partition(b"\n")
    with np.load(io.BytesIO(arrays)) as stored:
        return {name: stored[f"arr_{index}"] for index, name in enumerate(json.loads(names))}


def _end(process: subprocess.Popen[bytes], connection: Connection, folder: Path) -> None:
    connection.close()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def main(folder: Path, descriptor: int, parent: int) -> None:
    """Be the process: make the function, then answer until the other end is closed, as a parent's end closes it."""
    connection = Connection(descriptor)
    order = json.loads((folder / _ORDER).read_text(encoding="utf-8"))
    module, _, name = order["function"].partition(":")
    try:
        with ending_with(parent):
            told, answer = getattr(importlib.import_module(module), name)(folder, **order["arguments"])
        _send(connection, _READY, json.dumps(told).encode())
        while True:
            _send(connection, _RESULT, packed(answer(unpacked(connection.recv_bytes()))))
    except EdgekitError as error:
        refusal = {"type": type(error).__name__, "problem": error.problem, "found": error.found, "fix": error.fix}
        _send(connection, _ERROR, json.dumps(refusal).encode())
    except EOFError:
        return


def _send(connection: Connection, kind: bytes, content: bytes) -> None:
    connection.send_bytes(kind)
    connection.send_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
