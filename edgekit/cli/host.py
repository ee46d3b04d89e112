"""The options that say on which board a command measures, and what the board is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.common import F
from edgekit.cli.terminal import Terminal, outline
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.profiling.remote.host import Host


def host_options(command: F) -> F:
    """Add --host and what goes with it; the command gets them as `host`, a `Host` or none."""

    @functools.wraps(command)
    def with_host(
        *arguments: Any,
        host: str | None,
        host_python: str,
        host_folder: str,
        wheels: Path | None,
        identity: Path | None,
        **options: Any,
    ) -> Any:
        from edgekit.profiling.remote.host import Host, parse_address

        there = {"python": host_python, "folder": host_folder, "wheels": wheels, "identity": identity}
        _require_host(host, there)
        chosen = Host(parse_address(host), **there) if host else None  # type: ignore[arg-type]
        return command(*arguments, host=chosen, **options)

    decorated: Callable[..., Any] = with_host
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[return-value]


def for_board(bundle: Path | None, engine: str | None) -> Path:
    """Return the bundle for a board.

    Raises:
        UsageError: None is given, or several engines are asked for.
    """
    if bundle is None:
        raise UsageError(
            problem="No bundle is given, and the last one may be for this machine and not for a board.",
            fix="Name one; to make it: edgekit compile CALIBRATION --target T -o FILE.edge",
        )
    if engine == "all":
        raise UsageError(
            problem="A board is measured in one engine at a time.",
            found="--engine all",
            fix="Name the engine, or leave --engine out for the bundle's own.",
        )
    return bundle


def show_board(terminal: Terminal, bundle: Path, host: Host, engine: str | None) -> None:
    """Show what a board is and what would be copied there."""
    from edgekit.api.remote import plan_remote

    plan = plan_remote(bundle, host, engine)
    megabytes = {
        key.replace("_bytes", "_MB"): f"{value / 1e6:,.1f}" if key.endswith("_bytes") else value
        for key, value in plan.items()
    }
    terminal.show(outline(megabytes))
    terminal.result({"plan": plan})


_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

_OPTIONS = (
    click.option("--host", metavar="ssh://USER@BOARD[:PORT]", help="Measure on that board."),
    click.option("--host-python", metavar="PATH", default="", help="The board's Python; found if not given."),
    click.option("--host-folder", metavar="PATH", default="", help="Where a temporary folder is made there."),
    click.option("--wheels", type=_FOLDER, help="Packages for the board, rather than from the package index."),
    click.option("--identity", type=_FILE, help="The private key to log in with."),
)


def _require_host(host: str | None, there: dict[str, Any]) -> None:
    given = [key for key, value in there.items() if value]
    if host or not given:
        return
    flag = given[0] if given[0] in ("wheels", "identity") else f"host-{given[0]}"
    raise UsageError(
        problem=f"--{flag} is for a board, and no board is named.", fix="Name it: --host ssh://user@board."
    )
