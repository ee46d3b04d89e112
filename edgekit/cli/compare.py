"""`edgekit compare`: two profiles, beyond noise."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import edgekit
from edgekit.cli.common import PATH, settings, terminal
from edgekit.cli.terminal import Terminal
from edgekit.errors import GateError


@click.command()
@click.argument("before", type=PATH)
@click.argument("after", type=PATH)
@click.option("--repeat", "repeats", type=PATH, multiple=True, help="Another profile of BEFORE: what differs is noise.")
@click.option("--fail-on", help='End with 3 where one of these holds: "p99>33ms,lateral>2px,rss>+5%".')
@click.option("--anyway", is_flag=True, help="Compare what was measured in different ways, too.")
@settings
@terminal
def compare(
    terminal: Terminal, /, before: Path, after: Path, repeats: tuple[Path, ...], fail_on: str | None, anyway: bool
) -> None:
    """Say what is faster or slower, beyond noise.

    BEFORE and AFTER are profiles, as `edgekit profile -o` writes them, from one machine.
    """
    from edgekit.profiling.conditions import failures, parse_conditions
    from edgekit.report.comparison import comparison_text

    conditions = parse_conditions(fail_on) if fail_on else ()
    comparison = edgekit.compare(before, after, repeats=repeats, anyway=anyway)
    failed = failures(conditions, comparison)
    result = comparison.to_json() | {
        "conditions": [condition.text for condition in conditions],
        "failed": [{"condition": each.condition.text, "found": each.found} for each in failed],
    }
    terminal.show(comparison_text(result, color=sys.stdout.isatty()))
    terminal.result(result)
    if failed:
        raise click.exceptions.Exit(GateError.exit_code)
