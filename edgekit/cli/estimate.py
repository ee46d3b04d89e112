"""The estimate that `edgekit profile --target` shows."""

from __future__ import annotations

import json
from pathlib import Path

import edgekit
from edgekit.cli.terminal import Terminal
from edgekit.errors import UsageError
from edgekit.output import new_file


def show_estimate(terminal: Terminal, source: Path, target: str, out: Path | None, overwrite: bool) -> None:
    """Show what a model would cost on a board that is not here.

    Raises:
        UsageError: The target is this machine, which can be measured.
    """
    from edgekit.api.estimate import is_this_machine
    from edgekit.report.estimate import estimate_text
    from edgekit.targets import load_target

    board = load_target(target)
    if is_this_machine(board):
        raise UsageError(
            problem=f"The target {board.name} is this machine: it is measured, not estimated.",
            fix="Leave --target out, and give a bundle; `edgekit compile` makes one of a calibration.",
        )
    written = edgekit.estimate(source, board).to_json()
    if out:
        with new_file(out, overwrite) as draft:
            draft.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    terminal.show(estimate_text(written))
    terminal.result(written)
    if out:
        terminal.note(f"\nwritten: {out}")
