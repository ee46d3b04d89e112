"""What a measurement writes down on its way, so that a crash of its process does not take it along."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

Journal = Callable[[str, Any], None]
"""Takes the name of an entry and what it is."""


def forget(name: str, entry: Any) -> None:
    """Write nothing down."""


def journal_in(path: Path) -> Journal:
    """Return what appends entries to a file."""

    def write(name: str, entry: Any) -> None:
        with path.open("ab") as stream:
            pickle.dump((name, entry), stream)

    return write


def read_journal(path: Path) -> dict[str, list[Any]]:
    """Return name to entries; only for a file that this very program wrote, since reading it can run code."""
    found: dict[str, list[Any]] = {}
    if not path.exists():
        return found
    with path.open("rb") as stream:
        while True:
            try:
                name, entry = pickle.load(stream)
            except (EOFError, pickle.UnpicklingError):
                # The last entry may be cut off.
                return found
            found.setdefault(name, []).append(entry)
