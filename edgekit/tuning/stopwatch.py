"""Time placements in an engine, on the machine that this runs on or on another."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any, Protocol

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


@dataclass(frozen=True)
class Variant:
    """A model, and the engine's options that it runs with."""

    model: bytes
    options: Mapping[str, Any]


class Timer(Protocol):
    """Loads variants into an engine and times them in turn; here, or on a board."""

    def __call__(self, variants: Sequence[Variant], rounds: int) -> list[NDArray[np.int64]]:
        """Return (rounds, calls) in ns, one array for each variant.

        Raises:
            TargetError: The engine does not run there.
            ArtifactError: It does not accept a model.
        """
        ...


class EngineTimer:
    """Times in a backend's engine, on the machine that this runs on.

    Args:
        backend: The engine.
        threads: Its threads.
        inputs: What to run on, in turn.
    """

    def __init__(self, backend: Backend, threads: int, inputs: Inputs) -> None:
        self._backend = backend
        self._threads = threads
        self._inputs = inputs

    def __call__(self, variants: Sequence[Variant], rounds: int) -> list[NDArray[np.int64]]:
        """Time variants in turn, as `Timer` says."""
        return time_in_turn([partial(self._load, each) for each in variants], self._inputs, rounds)

    def _load(self, variant: Variant) -> Engine:
        return self._backend.load({"model.onnx": variant.model}, variant.options, self._threads)


class PlacementStopwatch:
    """Writes placements as models, and has them timed.

    Args:
        timer: Times them.
        options: The engine's.
        write: Returns the ONNX model of a placement.
    """

    def __init__(self, timer: Timer, options: Mapping[str, Any], write: Callable[[Kept], bytes]) -> None:
        self._timer = timer
        self._options = options
        self._write = write

    def __call__(self, placements: Sequence[Kept], rounds: int) -> list[NDArray[np.int64]]:
        """Time placements in turn, round by round; errors are those of the timer."""
        return self._timer([Variant(self._write(kept), self._options) for kept in placements], rounds)

    def against(self, options: Mapping[str, Any], reference: Kept, candidate: Kept) -> Comparison:
        """Compare a placement with a reference that runs with other options, in another precision for instance."""
        both = [Variant(self._write(reference), options), Variant(self._write(candidate), self._options)]
        return confirmed(lambda _, rounds: self._timer(both, rounds), reference, [candidate])[0]


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
