"""edgekit.toml: settings of the commands, so that they need not be typed again.

Every flag and argument of a command is a key, named as the flag without its dashes. A key outside of a table is for
every command that has such a flag; a table is for the command it is named after, and wins:

    model = "lane.onnx"
    data = "frames/"

    [calibrate]
    max-lateral = 1.5

What is typed on the command line wins over both. Paths are read as if they were typed there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.resources import nearest
from edgekit.schema import read_toml

FILE = "edgekit.toml"


def settings_for(command: str, path: Path, known: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Return what a file sets for a command: key, as the file spells it, to value.

    Args:
        command: The command's name.
        path: The TOML file.
        known: Every command's keys.

    Raises:
        UsageError: The file is missing or not TOML, or holds a key or table that no command knows.
    """
    data = read_toml(path)
    tables = {name: value for name, value in data.items() if isinstance(value, dict)}
    shared = {name: value for name, value in data.items() if name not in tables}
    everywhere = {key for keys in known.values() for key in keys}
    _refuse_unknown(path, "key", shared, everywhere)
    _refuse_unknown(path, "table", tables, known)
    for name, table in tables.items():
        _refuse_unknown(path, f"[{name}] key", table, known[name])
    mine = set(known[command])
    return {key: value for key, value in shared.items() if key in mine} | tables.get(command, {})


def _refuse_unknown(path: Path, kind: str, found: Collection[str], known: Collection[str]) -> None:
    for name in found:
        if name not in known:
            raise UsageError(
                problem=f"{path}: unknown {kind} '{name}'.",
                found=f"Known here: {', '.join(sorted(known))}.",
                fix=f"{nearest(name, sorted(known))}Remove it or correct its name.",
            )
