"""`edgekit targets`: the boards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from edgekit.cli.common import talk, terminal
from edgekit.cli.terminal import Terminal, outline

if TYPE_CHECKING:
    from edgekit.api.standing import Standing

WIDTH = 100


@click.group()
def targets() -> None:
    """List the boards, or show one."""


@targets.command("list")
@talk
@terminal
def list_(terminal: Terminal, /) -> None:
    """List the targets that EdgeKit ships, and what this machine can do for each; `host` is this machine.

    `builds` and `runs` are about this machine. `verified` is the most that was ever done with an engine for the target.
    """
    from edgekit.api.standing import standing
    from edgekit.targets import list_targets, load_target

    boards = list_targets()
    aliases = {name: title for name, title in boards if load_target(name).name != name}
    found = [standing(load_target(name)) for name, _ in boards if name not in aliases]
    terminal.show(_page(found, aliases))
    rows = [asdict(one) for one in found]
    terminal.result({"targets": [*rows, *({"name": name, "title": title} for name, title in aliases.items())]})


@targets.command()
@click.argument("target")
@talk
@terminal
def show(terminal: Terminal, /, target: str) -> None:
    """Show a target: its device, engine, quantization rules and peak figures."""
    from edgekit.targets import load_target

    descriptor = load_target(target).model_dump(mode="json", exclude_none=True)
    terminal.show(outline(descriptor))
    terminal.result({"target": descriptor})


def _page(found: Sequence[Standing], aliases: dict[str, str]) -> str:
    import io

    from rich.console import Console
    from rich.table import Table

    page = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in ("target", "board and engine", "builds", "runs", "verified"):
        page.add_column(name, no_wrap=name != "board and engine")
    for one in found:
        page.add_row(one.name, one.title, one.builds, one.runs, one.verified)
    for name, title in aliases.items():
        page.add_row(name, title)
    stream = io.StringIO()
    Console(file=stream, width=WIDTH, highlight=False, emoji=False).print(page)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
