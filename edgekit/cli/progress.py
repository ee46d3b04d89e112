"""How far work is: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from edgekit.progress import Progress, silent

SECONDS_BETWEEN_LINES = 20.0
SECONDS_BETWEEN_DRAWINGS = 0.1


@contextmanager
def shown(stream: TextIO, quiet: bool) -> Iterator[Progress]:
    """Give a callback that shows progress on `stream` until the context closes."""
    if quiet:
        yield silent
    elif stream.isatty():
        with _bars(stream) as progress:
            yield progress
    else:
        yield Lines(stream)


@contextmanager
def _bars(stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # No refreshing from a thread of its own: it would take its time from what `edgekit profile` measures.
    with Bars(*columns, console=Console(file=stream), auto_refresh=False, redirect_stdout=False) as bars:
        tasks: dict[str, TaskID] = {}
        drawn = 0.0

        def progress(stage: str, done: int, total: int) -> None:
            nonlocal drawn
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            due = done >= total or time.monotonic() - drawn > SECONDS_BETWEEN_DRAWINGS
            bars.update(tasks[stage], completed=done, total=total, refresh=due)
            drawn = time.monotonic() if due else drawn

        yield progress


class Lines:
    """Writes a line when a stage ends, and on the way there one every `SECONDS_BETWEEN_LINES`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of progress."""
        now = time.monotonic()
        begun = self._begun.setdefault(stage, now)
        told = self._told.setdefault(stage, now)
        if done >= total:
            self._write(f"{stage}: {total} done in {now - begun:.1f} s")
            del self._begun[stage], self._told[stage]
        elif done and now - told > SECONDS_BETWEEN_LINES:
            left = (now - begun) / done * (total - done)
            self._write(f"{stage}: {done} of {total}, about {left:.0f} s left")
            self._told[stage] = now

    def _write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)
