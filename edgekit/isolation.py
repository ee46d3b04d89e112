"""Run foreign code, such as a vendor's compiler, in a process of its own; this module is also that process.

The process has its own HOME and working folder, a PATH of the system's folders only, a time limit, and a log. What
crashes there, a segmentation fault included, is an error here, with the end of the log.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import errors
from edgekit.errors import EdgekitError, TargetError
from edgekit.progress import Progress, silent

LOG_LINES = 12
"""Of the log, so many last lines are shown with an error."""

HEARTBEAT_S = 0.5

_PR_SET_PDEATHSIG = 1
"""Of Linux's prctl."""

_KEPT_VARIABLES = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ORDER = "order.json"
_RESULT, _ERROR, _LOG, _STEP = "result.json", "error.json", "log.txt", "step.json"


@dataclass(frozen=True)
class Outcome:
    """What the function gave.

    Attributes:
        result: What it returned.
        files: Name to content of what it left in the folder `out`.
        log: All that it and the libraries below it printed.
        seconds: How long the process took.
        peak_bytes: The most resident memory that the process held.
    """

    result: Any
    files: dict[str, bytes]
    log: str
    seconds: float
    peak_bytes: int


def call_isolated(
    function: str,
    arguments: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
    *,
    what: str,
    timeout_s: float,
    progress: Progress = silent,
    environment: Mapping[str, str] | None = None,
    python: Sequence[str] = (sys.executable,),
) -> Outcome:
    """Call a function in a new Python process and wait for it.

    The function is called as `function(folder, **arguments)`: it finds `files` in `folder / "in"`, leaves files in
    `folder / "out"`, and returns what JSON can hold. An `EdgekitError` that it raises is raised here.

    Args:
        function: `module:function`.
        arguments: Keyword arguments, as JSON has them.
        files: Plain names and contents.
        what: What is done, for errors and the progress report: "TensorRT builds the engine".
        timeout_s: After so many seconds the process is killed.
        progress: Told, about twice a second, of the step that the function last told of with `tell`, else of the
            seconds that have passed and that are allowed.
        environment: Variables beside the few that every process here is given.
        python: The command that starts Python; it imports EdgeKit from where this process does.

    Raises:
        EdgekitError: The function raised it.
        TargetError: The process crashed, was killed, or ran out of time.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        folder = Path(name)
        for part in ("in", "out", "home"):
            (folder / part).mkdir()
        for member, content in (files or {}).items():
            (folder / "in" / member).write_bytes(content)
        (folder / ORDER).write_text(order_text(function, arguments), encoding="utf-8")
        start = time.monotonic()
        code = _run(python, folder, what, timeout_s, progress, environment or {})
        seconds = time.monotonic() - start
        log = (folder / _LOG).read_text(encoding="utf-8", errors="replace")
        result, error = (_text(folder / name) for name in (_RESULT, _ERROR))
        answer = answer_of(what, code, result, error, log)
        made = {path.name: path.read_bytes() for path in sorted((folder / "out").iterdir()) if path.is_file()}
        return Outcome(answer["result"], made, log, seconds, answer["peak_bytes"])


def order_text(function: str, arguments: Mapping[str, Any]) -> str:
    """Return the file `ORDER`: what `python -m edgekit.isolation FOLDER` calls when it lies in that folder."""
    return json.dumps({"function": function, "arguments": dict(arguments)})


def answer_of(what: str, code: int, result: str, error: str, log: str) -> dict[str, Any]:
    """Return what such a process wrote down, `result` and `peak_bytes`.

    Args:
        what: What was done, for errors.
        code: Its exit code; below 0 the signal that ended it.
        result: The content of its result.json; empty where it left none.
        error: The content of its error.json; empty where it left none.
        log: What it printed.

    Raises:
        EdgekitError: The function raised it.
        TargetError: The process crashed or was killed.
    """
    if error:
        told = json.loads(error)
        kind: type[EdgekitError] = getattr(errors, told.pop("type"))
        raise kind(**told)
    if code or not result:
        raise TargetError(
            problem=f"{what}: the process {ending(code)}.",
            found=last_lines(log),
            fix="This is the foreign library's failure: the lines above are its own. Check that its version and "
            "driver fit the machine with `edgekit doctor`.",
        )
    answer: dict[str, Any] = json.loads(result)
    return answer


def _run(
    python: Sequence[str],
    folder: Path,
    what: str,
    timeout_s: float,
    progress: Progress,
    environment: Mapping[str, str],
) -> int:
    """Run the process to its end and return its exit code; it does not outlive this call."""
    start = time.monotonic()
    with (folder / _LOG).open("wb") as log:
        process = subprocess.Popen(
            [*python, "-m", __name__, str(folder), str(os.getpid())],
            cwd=folder,
            env=process_environment(folder, environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while (passed := time.monotonic() - start) < timeout_s:
                progress(*(_step(folder, what) or (what, int(passed), int(timeout_s))))
                try:
                    return process.wait(min(HEARTBEAT_S, timeout_s - passed))
                except subprocess.TimeoutExpired:
                    continue
        finally:
            # What it may have started ends with it.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    raise TargetError(
        problem=f"{what}: the process did not end within {timeout_s:g} s and was killed.",
        found=last_lines((folder / _LOG).read_text(encoding="utf-8", errors="replace")),
        fix="Give it more time, or a smaller model.",
    )


def tell(folder: Path, stage: str, done: int, total: int) -> None:
    """Say, within the process, how far the function is; `folder` is the one that it was given."""
    draft = folder / f"{_STEP}.new"
    draft.write_text(json.dumps([stage, done, total]), encoding="utf-8")
    draft.replace(folder / _STEP)


def _step(folder: Path, what: str) -> tuple[str, int, int] | None:
    try:
        stage, done, total = json.loads((folder / _STEP).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return f"{what}: {stage}", done, total


def process_environment(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Return all variables of a process whose HOME is `folder / "home"`."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    home = str(folder / "home")
    # Where `edgekit` lies becomes a place that the new Python imports from: the same code runs.
    source = str(Path(__file__).parents[1])
    return {
        **kept,
        "HOME": home,
        "XDG_CACHE_HOME": home,
        "TMPDIR": home,
        "PATH": _SYSTEM_PATH,
        "PYTHONPATH": source,
        "PYTHONDONTWRITEBYTECODE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        **more,
    }


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def ending(code: int) -> str:
    """Say how a process with this exit code ended."""
    if code < 0:
        return f"crashed with {signal.Signals(-code).name}"
    return f"ended with exit code {code}" if code else "ended without a result"


def last_lines(log: str) -> str:
    """Return the end of a log, as an error shows it."""
    lines = [line for line in log.strip().splitlines() if line.strip()]
    return "\n".join(lines[-LOG_LINES:]) or "it said nothing"


@contextmanager
def ending_with(parent: int | None) -> Iterator[None]:
    """Let Linux kill this process when its parent ends, even by a signal: a compiler may run for an hour.

    It is the thread which started this process whose end counts, so it has to be one that waits.

    Args:
        parent: The parent's id; none where nobody waits.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if parent is not None else None
    if prctl is None:
        yield
        return
    prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the process that wanted this is gone")
    yield
    prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)


def main(folder: Path, parent: int | None = None) -> None:
    """Be the process: carry out the order that lies in the folder, and end with the parent that waits for it."""
    with ending_with(parent):
        _carry_out(folder)


def _carry_out(folder: Path) -> None:
    from edgekit.process import is_measurable, resident

    order = json.loads((folder / ORDER).read_text(encoding="utf-8"))
    module, _, name = order["function"].partition(":")
    try:
        result = getattr(importlib.import_module(module), name)(folder, **order["arguments"])
    except EdgekitError as error:
        told = {"type": type(error).__name__, "problem": error.problem, "found": error.found, "fix": error.fix}
        (folder / _ERROR).write_text(json.dumps(told), encoding="utf-8")
        return
    peak = resident()[1] if is_measurable() else 0
    answer = json.dumps({"result": result, "peak_bytes": peak})
    (folder / _RESULT).write_text(answer, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
