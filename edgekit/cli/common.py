"""Options that every command has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from edgekit.cli.terminal import Terminal, outline
from edgekit.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

terminal = click.make_pass_decorator(Terminal)
"""Passes the Terminal as first argument."""

overwrite = click.option("--overwrite", is_flag=True, help="Replace a result that is there already.")

dry_run = click.option("--dry-run", is_flag=True, help="Show the plan, and do nothing.")

PATH = click.Path(path_type=Path)


def milliseconds(value: str | float) -> float:
    """Return a time above 0 in ms: `33ms`, `0.5s`, or a bare number of ms. A type for options.

    Raises:
        click.BadParameter: It is none.
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(ms|s|)\s*", str(value))
    time = float(found[1]) * (1e3 if found[2] == "s" else 1) if found else 0.0
    if time <= 0:
        message = f"{value!r} is no time above 0: 33ms, for instance."
        raise click.BadParameter(message)
    return time


_UNSETTABLE = frozenset({"config", "help"})


def talk(command: F) -> F:
    """Add --json, -q and -v."""
    for option in (
        click.option("-v", "--verbose", is_flag=True, callback=_talk, **_EAGER, help="Tracebacks and warnings too."),
        click.option("-q", "--quiet", is_flag=True, callback=_talk, **_EAGER, help="Results and errors only."),
        click.option("--json", is_flag=True, callback=_talk, **_EAGER, help="Print one JSON object instead of text."),
    ):
        command = option(command)
    return command


def settings(command: F) -> F:
    """Add -c, which reads the other options' values from a file, and --json, -q and -v."""
    option = click.option(
        "-c",
        "--config",
        type=PATH,
        callback=_configure,
        **_EAGER,
        help="Settings; edgekit.toml in the working folder if not given.",
    )
    return option(talk(command))


def show_plan(terminal: Terminal, plan: Mapping[str, Any], out: Path, overwrite: bool) -> None:
    """Show what a command would do, and whether its result is there already."""
    terminal.show(outline(dict(plan)))
    terminal.result({"plan": {**plan, "exists_already": out.exists()}})
    if out.exists() and not overwrite:
        terminal.warn(f"{out} exists already: this will need --overwrite.")


_EAGER: dict[str, Any] = {"expose_value": False, "is_eager": True}


def _talk(context: click.Context, option: click.Parameter, value: bool) -> None:
    terminal = context.ensure_object(Terminal)
    setattr(terminal, str(option.name), value)


def _configure(context: click.Context, option: click.Parameter, value: Path | None) -> None:
    from edgekit import config

    path = value or Path(config.FILE)
    if value is None and not path.is_file():
        return
    known = {name: [key for key, _ in _keys(command)] for name, command in _configurable().items()}
    found = config.settings_for(str(context.info_name), path, known)
    parameters = dict(_keys(context.command))
    context.default_map = {
        str(parameters[key].name): _converted(context, parameters[key], value, f"{path}: key '{key}'")
        for key, value in found.items()
    }
    if found:
        context.ensure_object(Terminal).note(f"settings from {path}: {', '.join(found)}")


def _configurable() -> dict[str, click.Command]:
    from edgekit.cli import COMMANDS, command

    found = {name: command(name) for name in COMMANDS}
    return {name: each for name, each in found.items() if any(option.name == "config" for option in each.params)}


def _keys(command: click.Command) -> list[tuple[str, click.Parameter]]:
    """Return (key, parameter): a flag without its dashes, or an argument's name."""
    return [
        (max(parameter.opts, key=len).lstrip("-"), parameter)
        for parameter in command.params
        if parameter.name not in _UNSETTABLE
    ]


def _converted(context: click.Context, parameter: click.Parameter, value: Any, key: str) -> Any:
    """Check a value here, where file and key are known."""
    wants_bool = isinstance(parameter, click.Option) and parameter.is_flag
    if isinstance(value, bool) != wants_bool:
        raise UsageError(
            problem=f"{key} is not valid.",
            found=repr(value),
            fix=f"Set it to {'true or false' if wants_bool else 'a value, not true or false'}.",
        )
    try:
        return parameter.type.convert(value, parameter, context)
    except click.BadParameter as error:
        raise UsageError(
            problem=f"{key} is not valid.", found=error.message, fix=f"See `{context.command_path} --help`."
        ) from error
