"""What a job on the board tells while it runs, and what it keeps where it does not come to its end."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit import errors
from edgekit.progress import Progress

EVENTS = "events.jsonl"
KEPT = "kept.json"

SECONDS_BETWEEN = 0.5
"""More often would take time from what is measured."""


@contextmanager
def telling(folder: Path) -> Iterator[Progress]:
    """Give a callback that tells progress to whoever follows the job of this folder; EdgeKit's warnings too."""
    told: dict[str, float] = {}

    def progress(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total or now - told.get(stage, 0.0) > SECONDS_BETWEEN:
            told[stage] = now
            _tell(folder, [stage, done, total])

    def warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        _tell(folder, {"warning": category.__name__, "message": str(message)})

    with warnings.catch_warnings():
        warnings.showwarning = warn
        yield progress


def keep(folder: Path, partial: Any) -> None:
    """Keep what there is, as JSON has it, for whoever started the job of this folder."""
    draft = folder / f".{KEPT}"
    draft.write_text(json.dumps(partial), encoding="utf-8")
    draft.rename(folder / KEPT)


def hear(line: bytes, progress: Progress) -> None:
    """Take one line of what a job tells: hand on its progress, and give its warning here."""
    event = json.loads(line)
    if isinstance(event, list):
        progress(*event)
        return
    category = getattr(errors, event["warning"], None)
    # Those of the libraries underneath concern whoever looks after the board.
    if isinstance(category, type) and issubclass(category, Warning):
        warnings.warn(event["message"], category, stacklevel=2)


def _tell(folder: Path, event: Any) -> None:
    with (folder / EVENTS).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(event) + "\n")
