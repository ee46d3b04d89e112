"""Time placements in an engine on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.backends import Backend, Engine, Tensors
from edgekit.profiling.schedule import Budget, Workload, interleave
from edgekit.tuning.comparison import Comparison, Kept, confirmed

BLOCK_NS = 5e6
"""The runs of a block take about this long together; one run at least."""

_SETTLING_RUNS = 3

Inputs = Sequence[NDArray[np.float32]]
Load = Callable[[], Engine]


class EngineStopwatch:
    """Loads placements into a backend's engine and runs them in turn.

    Args:
        backend: The engine.
        options: Its options.
        threads: Its threads.
        write: Returns the ONNX model of a placement.
        inputs: What to run on, in turn.
    """

    def __init__(
        self,
        backend: Backend,
        options: Mapping[str, Any],
        threads: int,
        write: Callable[[Kept], bytes],
        inputs: Inputs,
    ) -> None:
        self._backend = backend
        self._options = options
        self._threads = threads
        self._write = write
        self._inputs = inputs

    def __call__(self, placements: Sequence[Kept], rounds: int) -> list[NDArray[np.int64]]:
        """Time placements in turn, round by round.

        Raises:
            TargetError: The engine does not run here.
            ArtifactError: It does not accept a placement.
        """
        return time_in_turn([self._load(kept, self._options) for kept in placements], self._inputs, rounds)

    def against(self, options: Mapping[str, Any], reference: Kept, candidate: Kept) -> Comparison:
        """Compare a placement with a reference that runs with other options, in another precision for instance."""
        loads = [self._load(reference, options), self._load(candidate, self._options)]
        return confirmed(lambda _, rounds: time_in_turn(loads, self._inputs, rounds), reference, [candidate])[0]

    def _load(self, kept: Kept, options: Mapping[str, Any]) -> Load:
        return lambda: self._backend.load({"model.onnx": self._write(kept)}, options, self._threads)


def time_in_turn(loads: Sequence[Load], inputs: Inputs, rounds: int) -> list[NDArray[np.int64]]:
    """Load engines and time them in turn: (rounds, calls) in ns, one for each."""
    with ExitStack() as stack:
        workloads, slowest = [], 1
        for index, load in enumerate(loads):
            engine = load()
            stack.callback(engine.close)
            workload = Workload(str(index), ("engine",), _run(engine, inputs))
            slowest = max(slowest, min(workload.run()[0] for _ in range(_SETTLING_RUNS)))
            workloads.append(workload)
        calls = max(1, int(BLOCK_NS / slowest))
        sampling = interleave(workloads, Budget(0.0, rounds * calls), calls=calls)
        if sampling.ended is not None:
            raise sampling.ended
        return [samples.parts["engine"] for samples in sampling.samples]


def _run(engine: Engine, inputs: Inputs) -> Callable[[], tuple[int, ...]]:
    name = engine.inputs[0].name
    turns: cycle[Tensors] = cycle([{name: values} for values in inputs])

    def run() -> tuple[int, ...]:
        values = next(turns)
        start = time.perf_counter_ns()
        engine.run(values)
        return (time.perf_counter_ns() - start,)

    return run
