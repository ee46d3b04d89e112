"""The `edgekit` command. A command's module is imported when that command is called, never for `--help`."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import NoReturn, TextIO

import click

import edgekit
from edgekit.cli.terminal import Terminal
from edgekit.errors import EdgekitError, UsageError
from edgekit.extras import not_installed
from edgekit.resources import nearest

COMMANDS: dict[str, tuple[str, str]] = {
    "calibrate": ("edgekit.cli.calibrate:calibrate", "Quantize a model on frames from the road."),
    "compile": ("edgekit.cli.compile:compile_", "Make a calibration into a bundle for a target."),
    "profile": ("edgekit.cli.profile:profile", "Measure a bundle on this machine or a board, FP against INT8."),
    "compare": ("edgekit.cli.compare:compare", "Say what is faster or slower, beyond noise."),
    "report": ("edgekit.cli.report:report", "Write a profile or calibration as an HTML file."),
    "run": ("edgekit.cli.run:run", "Find lanes in images or a video, and draw them."),
    "verify": ("edgekit.cli.verify:verify", "Check a bundle's hashes and replay its golden vectors."),
    "inspect": ("edgekit.cli.inspect:inspect", "Say what a model, calibration or bundle holds."),
    "targets": ("edgekit.cli.targets:targets", "List the boards, or show one."),
    "recipes": ("edgekit.cli.recipes:recipes", "List the calibration recipes, or show one."),
    "doctor": ("edgekit.cli.doctor:doctor", "Say what this machine can do."),
}
"""Command to (where it is, its help in one line)."""

EXIT_CODES = """\b
Exit codes: 0 ok, 1 bug, 2 usage or data, 3 gate failed, 4 target or engine
missing, 5 model not supported, 130 interrupted.
"""


class LazyGroup(click.Group):
    """A group that knows its commands by name and one line of help, and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the way through."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return a command."""
        return command(name) if name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is asked for, or suggest the nearest."""
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise UsageError(
                problem=f"There is no command '{args[0]}'.",
                found=f"Commands: {', '.join(COMMANDS)}.",
                fix=f"{nearest(args[0], list(COMMANDS))}`edgekit --help` explains them.",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def command(name: str) -> click.Command:
    """Import and return a command."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found: click.Command = getattr(importlib.import_module(module), attribute)
    return found


@click.group(cls=LazyGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(edgekit.__version__, prog_name="edgekit", message="%(prog)s %(version)s")
def cli() -> None:
    """Quantize lane-detection networks without losing lanes; compile, profile and run them.

    `edgekit calibrate` and `edgekit profile` work with nothing more: they use a built-in lane model.
    """


INTERRUPTED = 130
BROKEN_PIPE = 141
"""As the shell reports a process that SIGINT or SIGPIPE ended."""

COMPLETION = "_EDGEKIT_COMPLETE"
"""Set by the shell when it asks for completions."""


def execute(arguments: Sequence[str], terminal: Terminal) -> int:
    """Run the command line and return its exit code; every failure has been told by then."""
    try:
        with cli.make_context("edgekit", list(arguments), obj=terminal) as context:
            cli.invoke(context)
    except click.exceptions.Exit as finished:
        return finished.exit_code
    except BrokenPipeError:
        return BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as error:
        return _told(error, arguments, terminal)
    return 0


def _told(error: BaseException, arguments: Sequence[str], terminal: Terminal) -> int:
    """Tell of what ended a command, and return the exit code for it."""
    if isinstance(error, ModuleNotFoundError):
        error = not_installed(error) or error
    # Ctrl-C while a native module is imported arrives as that module's ImportError.
    if any(isinstance(each, KeyboardInterrupt | click.Abort) for each in _chain(error)):
        terminal.fail_interrupted(INTERRUPTED)
        return INTERRUPTED
    if isinstance(error, EdgekitError):
        terminal.fail(error)
        return error.exit_code
    if isinstance(error, click.ClickException):
        terminal.fail_usage(error, arguments)
        return error.exit_code
    terminal.fail_bug(error)
    return EdgekitError.exit_code


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def main() -> NoReturn:
    """Run the command line of this process, and exit."""
    if COMPLETION in os.environ:
        cli.main(prog_name="edgekit", complete_var=COMPLETION)
    results, terminal = _own_stdout(), Terminal()
    warnings.showwarning = terminal.show_warning
    # What ends a job, `timeout` for instance, is cleaned up after as Ctrl-C is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = execute(sys.argv[1:], terminal)
    try:
        results.flush()
    except BrokenPipeError:
        code = BROKEN_PIPE
    if code == BROKEN_PIPE:
        # The interpreter flushes once more at exit, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), results.fileno())
    sys.exit(code)


def _own_stdout() -> TextIO:
    """Keep standard output for results: what native libraries print there goes to standard error instead."""
    if sys.stdout is None:
        # Whoever started this process closed it.
        results = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    else:
        results = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
        os.dup2(2, 1)
    sys.stdout = results
    return results
