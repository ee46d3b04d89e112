"""Time placements on a board over ssh: their models are written here, and only times come back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle import array_bytes
from edgekit.errors import TargetError
from edgekit.profiling.machine import relevant
from edgekit.profiling.remote.board import Board, installed, planned
from edgekit.profiling.remote.facts import Facts
from edgekit.profiling.remote.host import Address, Host
from edgekit.progress import Progress, silent
from edgekit.targets import BackendName, Target
from edgekit.tuning.bench import Bench
from edgekit.tuning.comparison import BATCH
from edgekit.tuning.record import Where, key_of
from edgekit.tuning.stopwatch import Inputs, Variant
from edgekit.tuning.there import INPUTS, model_name, time_there


class BoardTimer:
    """Has variants timed on a board, one call for each batch.

    Args:
        backend: The engine there.
        version: The version of it that the times are to hold for.
        threads: Its threads.
        progress: Told of a connection that drops and comes back.
    """

    def __init__(self, backend: BackendName, version: str, threads: int, progress: Progress = silent) -> None:
        self._backend = backend
        self._version = version
        self._threads = threads
        self._progress = progress
        self._board: Board | None = None

    def use(self, board: Board, inputs: Inputs) -> None:
        """Take a board that the runtime was carried to, and send it what to run on, in turn."""
        board.send({f"{INPUTS}/{index:04d}.npy": array_bytes(each) for index, each in enumerate(inputs)})
        self._board = board

    def __call__(self, variants: Sequence[Variant], rounds: int) -> list[NDArray[np.int64]]:
        """Time variants in turn, as `edgekit.tuning.stopwatch.Timer` says.

        Raises:
            EdgekitError: What `Board.call` raises.
            TargetError: Another version of the engine ran there than was to be expected.
        """
        assert self._board is not None, "no board is used yet"
        told = self._board.call(
            f"{time_there.__module__}:{time_there.__name__}",
            {
                "backend": self._backend,
                "threads": self._threads,
                "options": [dict(each.options) for each in variants],
                "rounds": rounds,
            },
            {model_name(index): each.model for index, each in enumerate(variants)},
            what=f"{self._backend} on {self._board.connection.address}",
            progress=self._progress,
        )
        if told["version"] != self._version:
            raise TargetError(
                problem=f"Another {self._backend} ran on {self._board.connection.address} than was found there.",
                found=f"{told['version']}, and the board's Python told of {self._version or 'none'}",
                fix="Leave one installation of it there, or name another Python with --host-python.",
            )
        return [np.asarray(each, np.int64) for each in told["times"]]


@contextmanager
def bench_there(
    host: Host,
    target: Target,
    model: bytes,
    threads: int,
    inputs: Inputs,
    preferred: str = "",
    progress: Progress = silent,
) -> Iterator[Bench]:
    """Connect to a board that placements are timed on; nothing is written there before `prepare`.

    In the end the board is left as it was, whatever happens.

    Args:
        host: The board.
        target: What it stands for; its engine runs there without being built there.
        model: The Q/DQ model that the search starts from.
        threads: Threads of the engine.
        inputs: What to run on, in turn.
        preferred: The version of the engine that is carried where the board has none and there is a wheel of it.
        progress: Told how far copying is.

    Raises:
        TargetError: The board is not reached, not trusted, not what the target stands for, has no Python that will do
            or too little room, or the connection dropped for good.
        UsageError: Something that was named is wrong.
    """
    exact = [f"{target.backend}=={preferred}"] if preferred else []
    with planned(host, target.backend, exact, target.device.arch) as (connection, plan):
        _require_fit(plan.facts, target, host.address)
        version = plan.version(target.backend)
        timer = BoardTimer(target.backend, version, threads, progress)
        key = key_of(model, target, f"{target.backend} {version}", threads, _where(plan.facts))
        boards: list[Board] = []
        with ExitStack() as stack:

            def prepare() -> None:
                boards.append(stack.enter_context(installed(connection, plan, _room(model, inputs), progress)))
                timer.use(boards[0], inputs)

            bench = Bench(key, plan.facts.flags, timer, prepare)
            yield bench
        bench.notes.extend(board.left_behind for board in boards if board.left_behind)


def _require_fit(facts: Facts, target: Target, address: Address) -> None:
    if facts.emulated:
        raise TargetError(
            problem=f"The Python of {address} runs in an emulator, whose times are not a board's.",
            found=f"{facts.executable}, {facts.machine}",
            fix="Leave --host out: placement follows the target's rules then.",
        )
    if missing := [flag for flag in target.device.isa if flag not in facts.flags]:
        raise TargetError(
            problem=f"{address} is not what {target.name} stands for: its CPU lacks {', '.join(missing)}.",
            found=facts.board or facts.cpu,
            fix="Compile for the target that fits it: `edgekit targets list`.",
        )


def _where(facts: Facts) -> Where:
    processor = f"{facts.board}, {facts.cpu}" if facts.board else facts.cpu
    return Where("remote", processor, relevant(facts.flags), facts.cores)


def _room(model: bytes, inputs: Inputs) -> int:
    """Return the bytes that inputs and the models of a batch take there at most: a float takes those of four int8."""
    return sum(each.nbytes for each in inputs) + (BATCH + 1) * 4 * len(model)
