"""Where the shipped recipes and board descriptors lie, and how a name finds its file."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

from edgekit.errors import UsageError

Kind = Literal["calib", "targets"]

_PACKAGE = Path(__file__).parent
_WORD: dict[Kind, str] = {"calib": "recipe", "targets": "target"}


def shipped_folder(kind: Kind) -> Path:
    """Return the folder of the shipped files: inside an installed wheel, else in the checkout."""
    installed = _PACKAGE / "_data" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind


def shipped_names(kind: Kind) -> list[str]:
    """Return the names of all shipped files of a kind, sorted."""
    return sorted(path.stem for path in shipped_folder(kind).glob("*.toml"))


def find(kind: Kind, name: str) -> Path:
    """Return the file that `name` stands for.

    A path to a TOML file wins over a shipped name.

    Raises:
        UsageError: There is neither such a file nor such a shipped name.
    """
    path = Path(name)
    if path.suffix == ".toml":
        if path.is_file():
            return path
        raise UsageError(
            problem=f"There is no {_WORD[kind]} file {name}.",
            fix=f"{nearest(path.stem, shipped_names(kind))}Check the path, or use a shipped name: {_names(kind)}.",
        )
    shipped = shipped_folder(kind) / f"{name}.toml"
    if path.name == name and shipped.is_file():
        return shipped
    raise UsageError(
        problem=f"There is no {_WORD[kind]} named '{name}'.",
        found=f"Known: {_names(kind)}.",
        fix=f"{nearest(name, shipped_names(kind))}A path to a TOML file of your own works too.",
    )


def nearest(word: str, known: list[str]) -> str:
    """Return "Did you mean 'x'? ", or nothing when no known word is close."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"Did you mean '{close[0]}'? " if close else ""


def _names(kind: Kind) -> str:
    return ", ".join(shipped_names(kind))
