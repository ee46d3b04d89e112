"""`edgekit targets`: the boards."""

from __future__ import annotations

import click

from edgekit.cli.common import talk, terminal
from edgekit.cli.terminal import Terminal, outline, table


@click.group()
def targets() -> None:
    """List the boards, or show one."""


@targets.command("list")
@talk
@terminal
def list_(terminal: Terminal, /) -> None:
    """List the targets that EdgeKit ships; `host` is this machine."""
    from edgekit.targets import list_targets

    rows = list_targets()
    terminal.show(table(rows))
    terminal.result({"targets": [{"name": name, "title": title} for name, title in rows]})


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
