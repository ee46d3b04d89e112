"""Profile in a process of its own, which an engine that crashes takes along, and not what was measured until then."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from edgekit import errors
from edgekit.api.conclusion import Beginning, concluded
from edgekit.api.profile import Profile, profile
from edgekit.bundle import open_bundle
from edgekit.errors import DeadlineWarning, EdgekitError, TargetError
from edgekit.profiling.journal import journal_in, read_journal
from edgekit.profiling.measure import Course, by_model
from edgekit.profiling.schedule import Round, arrange
from edgekit.progress import Progress, silent

_ORDER, _RESULT, _PARTIAL, _ERROR, _JOURNAL = "order", "result", "partial", "error", "journal"
_INTERRUPTED = 130


def profile_apart(
    bundle: Path,
    *,
    progress: Progress = silent,
    keep: Callable[[Profile], None] = lambda partial: None,
    **options: Any,
) -> Profile:
    """Profile a bundle in a new process; as `edgekit.profile`, whose options these are.

    Raises:
        TargetError: Beyond what `edgekit.profile` raises: the engine crashed, and its process with it. What was
            measured until then was given to `keep`.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        folder = Path(name)
        (folder / _ORDER).write_bytes(pickle.dumps((bundle.resolve(), options)))
        code = _run(folder, progress)
        if (folder / _PARTIAL).exists():
            keep(_named(_load(folder / _PARTIAL), bundle))
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        if (folder / _ERROR).exists():
            told = _load(folder / _ERROR)
            kind: type[EdgekitError] = getattr(errors, told.pop("type"))
            raise kind(**told)
        if code:
            raise _crashed(folder, bundle, code, keep)
        return _named(_load(folder / _RESULT), bundle)


def _run(folder: Path, progress: Progress) -> int:
    """Run the process to its end, and return its exit code; Ctrl-C is passed on, and its end is waited for."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder), str(writing)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (_SOURCE, os.environ.get("PYTHONPATH"))))},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno() if _has_file(sys.stderr) else None,
        pass_fds=[writing],
        start_new_session=True,
    )
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as lines:
        while True:
            try:
                for line in lines:
                    _pass_on(json.loads(line), progress)
                return process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
            except BaseException:
                process.kill()
                process.wait()
                raise


_SOURCE = str(Path(__file__).parents[2])
"""Where `edgekit` lies: the new Python runs the same code."""


def _has_file(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() >= 0
    except (OSError, ValueError):
        return False


def _pass_on(line: Any, progress: Progress) -> None:
    if isinstance(line, str):
        warnings.warn(line, DeadlineWarning, stacklevel=2)
    else:
        progress(*line)


def _crashed(folder: Path, bundle: Path, code: int, keep: Callable[[Profile], None]) -> TargetError:
    """Return the error for a process that died, once what it had measured is kept."""
    how = f"crashed with {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    entries = read_journal(folder / _JOURNAL)
    rounds = entries.get("round", [])
    runs = 0
    if rounds:
        beginning: Beginning = entries["beginning"][0]
        course: Course = entries["course"][0]
        complete: list[Round] = [each for each, _ in rounds]
        measured = by_model(course, arrange(complete, course.parts, course.plan.pace))
        runs = measured.method.rounds * course.calls
        partial = concluded(open_bundle(bundle), beginning, measured, rounds[-1][1])
        keep(_named(partial, bundle, f"The engine's process {how}."))
    return TargetError(
        problem=f"The engine's process {how}, after {runs} recorded runs of each model.",
        found="what was measured until then, which is kept as partial" if rounds else "nothing was measured until then",
        fix="This is the engine's failure. Run `edgekit verify` on the bundle, and see whether memory is free.",
    )


def _named(found: Profile, bundle: Path, partial: str = "") -> Profile:
    """Return a profile with the bundle's path as it was given."""
    subject = replace(found.subject, bundle=str(bundle))
    return replace(found, subject=subject, partial=partial or found.partial)


def _load(path: Path) -> Any:
    # Written by the process that was started here, into a folder that only this user can write to.
    return pickle.loads(path.read_bytes())


def main(folder: Path, pipe: TextIO) -> int:
    """Be the process: carry out the order that lies in the folder, and return the exit code."""
    bundle, options = _load(folder / _ORDER)

    def tell(line: Any) -> None:
        print(json.dumps(line), file=pipe, flush=True)

    def warned(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, DeadlineWarning):
            tell(str(message))

    warnings.showwarning = warned
    try:
        result = profile(
            bundle,
            progress=lambda *stage: tell(stage),
            keep=lambda partial: _save(folder / _PARTIAL, partial),
            journal=journal_in(folder / _JOURNAL),
            **options,
        )
    except KeyboardInterrupt:
        return _INTERRUPTED
    except EdgekitError as error:
        _save(folder / _ERROR, _told(error))
        return error.exit_code
    _save(folder / _RESULT, result)
    return 0


def _told(error: EdgekitError) -> Mapping[str, str]:
    return {"type": type(error).__name__, "problem": error.problem, "found": error.found, "fix": error.fix}


def _save(path: Path, what: Any) -> None:
    path.write_bytes(pickle.dumps(what))


if __name__ == "__main__":
    # The shell's background jobs ignore SIGINT, and what they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with os.fdopen(int(sys.argv[2]), "w", encoding="utf-8") as stream:
        sys.exit(main(Path(sys.argv[1]), stream))
