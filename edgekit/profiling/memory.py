"""Peak memory of a fresh process that loads one model and runs it; this module is also that process.

The process reports what it holds at four moments, so that the model's own share can be told from the interpreter's
and the engine's. It imports nothing but what it is told to: what it is told to is measured.
"""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, TargetError
from edgekit.process import proportional, resident

_TIMEOUT_S = 600
_POINTS = 100


@dataclass(frozen=True)
class Call:
    """A function call that another process makes.

    Attributes:
        function: `module:function`.
        arguments: Keyword arguments, as JSON has them; paths are absolute, since the process has another folder.
    """

    function: str
    arguments: Mapping[str, Any]

    def make(self) -> Any:
        """Import the function and call it."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)(**self.arguments)


@dataclass(frozen=True)
class Memory:
    """What a fresh process holds, in bytes of resident memory.

    Attributes:
        interpreter: After the start of Python.
        baseline: With the engine started, before the model is loaded.
        loaded: With the model loaded.
        peak: The most it ever held while it ran its frames.
        proportional: After these frames, with shared pages counted in part (PSS); none where the system does not tell.
        runs: Frames run.
        watched: What it held while it went on running: (frames run, bytes), the first before any.
    """

    interpreter: int
    baseline: int
    loaded: int
    peak: int
    proportional: int | None
    runs: int
    watched: tuple[tuple[int, int], ...] = ()

    @property
    def model(self) -> int:
        """The model's own share of the peak: weights, the engine's copies of them, and activations."""
        return self.peak - self.baseline


@dataclass(frozen=True)
class Soak:
    """How long a process is watched for memory that grows.

    Attributes:
        runs: At most so many ...
        seconds: ... in at most so many seconds.
    """

    runs: int = 0
    seconds: float = 0.0


def in_fresh_process(load: Call, *, prepare: Call | None = None, runs: int = 10, soak: Soak = Soak()) -> Memory:
    """Start a new Python, let it load and run something, and return what memory that took.

    Args:
        load: Loads, and returns what is called without arguments for every run.
        prepare: Called before that; what it brings into memory is the baseline.
        runs: Calls made.
        soak: Further calls, in which it is watched for memory that grows.

    Raises:
        TargetError: The process failed, crashed, was killed, or did not end in ten minutes beyond the soak.
    """
    order = {"prepare": asdict(prepare) if prepare else None, "load": asdict(load), "runs": runs}
    order["soak"] = asdict(soak)
    timeout_s = _TIMEOUT_S + soak.seconds
    try:
        process = subprocess.run(
            [sys.executable, "-m", __name__, json.dumps(order)],
            # Where `edgekit` lies becomes the first place that the new Python imports from: the same code runs.
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(
            problem="The memory of the model could not be measured.",
            found=f"A fresh process did not load and run it {runs + soak.runs} times in {timeout_s:.0f} s.",
            fix="Check with `edgekit run` whether the engine hangs.",
        ) from error
    answer = process.stdout.strip().rpartition("\n")[2]
    if process.returncode or not answer.startswith("{"):
        raise TargetError(
            problem="The memory of the model could not be measured.",
            found=f"A fresh process {_ending(process.returncode)}: {_last_line(process.stderr)}",
            fix="Check with `edgekit verify` whether the engine runs the bundle, and that memory is free.",
        )
    told = json.loads(answer)
    return Memory(**told | {"watched": tuple((int(run), int(held)) for run, held in told["watched"])})


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def observe(load: Call, prepare: Call | None, runs: int, soak: Soak) -> Memory:
    """Load and run in this process, which should be a fresh one; see `in_fresh_process`."""
    interpreter, _ = resident()
    if prepare:
        prepare.make()
    baseline, _ = resident()
    run: Callable[[], object] = load.make()
    loaded, _ = resident()
    for _ in range(runs):
        run()
    peak, shared = resident()[1], proportional()
    return Memory(interpreter, baseline, loaded, peak, shared, runs, tuple(watch(run, soak)))


def watch(run: Callable[[], object], soak: Soak) -> Iterator[tuple[int, int]]:
    """Run on, and yield (runs made, bytes held) at `_POINTS` moments that lie as many runs apart."""
    if not soak.runs:
        return
    start = time.monotonic()
    run()
    fitting = soak.seconds / max(1e-6, time.monotonic() - start)
    step = max(1, int(min(soak.runs, fitting) / _POINTS))
    yield 0, resident()[0]
    for point in range(1, _POINTS + 1):
        for _ in range(step):
            run()
        yield point * step, resident()[0]
        # One slow run at the start should not cut it short, and slow ones later should not stretch it much.
        if time.monotonic() - start > 1.5 * soak.seconds:
            return


def main(order: str) -> None:
    """Be the fresh process: carry out what `in_fresh_process` orders and print what it took."""
    told = json.loads(order)
    prepare = Call(**told["prepare"]) if told["prepare"] else None
    try:
        memory = observe(Call(**told["load"]), prepare, told["runs"], Soak(**told["soak"]))
    except EdgekitError as error:
        sys.exit(" ".join(str(error).split()))
    print(json.dumps(asdict(memory)))


if __name__ == "__main__":
    main(sys.argv[1])
