"""Where placements are timed: what times hold for there, and what takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edgekit.backends import Backend
from edgekit.targets import Target, cpu_flags
from edgekit.tuning.record import Key, here, key_of
from edgekit.tuning.stopwatch import EngineTimer, Inputs, Timer
from edgekit.tuning.tune import nothing


@dataclass(frozen=True)
class Bench:
    """A machine that placements are timed on.

    Attributes:
        key: What times hold for.
        flags: Of its CPU, as in `cpu_flags`.
        timer: Takes them.
        prepare: To be called before the first are taken.
        notes: What is to be said of it once it was left.
    """

    key: Key
    flags: frozenset[str]
    timer: Timer
    prepare: Callable[[], None] = nothing
    notes: list[str] = field(default_factory=list)


def bench_here(backend: Backend, target: Target, model: bytes, threads: int, inputs: Inputs) -> Bench:
    """Return this machine.

    Args:
        backend: The target's engine.
        target: The target.
        model: The Q/DQ model that the search starts from.
        threads: Threads of the engine.
        inputs: What to run on, in turn.
    """
    engine = f"{backend.name} {backend.available().version}"
    return Bench(key_of(model, target, engine, threads, here()), cpu_flags(), EngineTimer(backend, threads, inputs))
