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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, TargetError
from edgekit.process import resident

_TIMEOUT_S = 600


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
        peak: The most it ever held.
        runs: Frames run.
    """

    interpreter: int
    baseline: int
    loaded: int
    peak: int
    runs: int

    @property
    def model(self) -> int:
        """The model's own share of the peak: weights, the engine's copies of them, and activations."""
        return self.peak - self.baseline


def in_fresh_process(load: Call, *, prepare: Call | None = None, runs: int = 10) -> Memory:
    """Start a new Python, let it load and run something, and return what memory that took.

    Args:
        load: Loads, and returns what is called without arguments for every run.
        prepare: Called before that; what it brings into memory is the baseline.
        runs: Calls made.

    Raises:
        TargetError: The process failed, crashed, was killed, or did not end in ten minutes.
    """
    order = {"prepare": asdict(prepare) if prepare else None, "load": asdict(load), "runs": runs}
    try:
        process = subprocess.run(
            [sys.executable, "-m", __name__, json.dumps(order)],
            # Where `edgekit` lies becomes the first place that the new Python imports from: the same code runs.
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(
            problem="The memory of the model could not be measured.",
            found=f"A fresh process did not load and run it {runs} times in {_TIMEOUT_S} s.",
            fix="Check with `edgekit run` whether the engine hangs.",
        ) from error
    answer = process.stdout.strip().rpartition("\n")[2]
    if process.returncode or not answer.startswith("{"):
        raise TargetError(
            problem="The memory of the model could not be measured.",
            found=f"A fresh process {_ending(process.returncode)}: {_last_line(process.stderr)}",
            fix="Check with `edgekit verify` whether the engine runs the bundle, and that memory is free.",
        )
    return Memory(**json.loads(answer))


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def observe(load: Call, prepare: Call | None, runs: int) -> Memory:
    """Load and run in this process, which should be a fresh one; see `in_fresh_process`."""
    interpreter, _ = resident()
    if prepare:
        prepare.make()
    baseline, _ = resident()
    run: Callable[[], object] = load.make()
    loaded, _ = resident()
    for _ in range(runs):
        run()
    return Memory(interpreter, baseline, loaded, resident()[1], runs)


def main(order: str) -> None:
    """Be the fresh process: carry out what `in_fresh_process` orders and print what it took."""
    told = json.loads(order)
    prepare = Call(**told["prepare"]) if told["prepare"] else None
    try:
        memory = observe(Call(**told["load"]), prepare, told["runs"])
    except EdgekitError as error:
        sys.exit(" ".join(str(error).split()))
    print(json.dumps(asdict(memory)))


if __name__ == "__main__":
    main(sys.argv[1])
