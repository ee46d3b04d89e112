"""What a command says: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import math
import sys
import textwrap
import traceback
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TextIO

import click

import edgekit
from edgekit.errors import DeadlineWarning, EdgekitError, HostMismatchWarning
from edgekit.progress import Progress

SCHEMA_VERSION = 1


@dataclass
class Terminal:
    """How one run of the command talks; the options -q, -v and --json set the fields.

    Attributes:
        json: One JSON object on standard output and nothing else there.
        quiet: No progress, notes or hints.
        verbose: Tracebacks with errors, and warnings of the libraries underneath.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    _answered: bool = False

    def show(self, text: str = "") -> None:
        """Print a result for people."""
        if not self.json:
            click.echo(text)

    def note(self, text: str) -> None:
        """Print what is good to know, but no result."""
        if not self.quiet:
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """Print what should be looked at."""
        click.echo(f"warning: {text}", err=True)

    def show_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Print EdgeKit's own warnings, and those of libraries only where asked for: for `warnings.showwarning`."""
        if issubclass(category, HostMismatchWarning | DeadlineWarning):
            self.warn(str(message))
        elif self.verbose:
            click.echo(warnings.formatwarning(message, category, filename, lineno, line), err=True, nl=False)

    def result(self, payload: Mapping[str, Any]) -> None:
        """Print a result for programs."""
        if self.json:
            self._answered = True
            click.echo(json.dumps({"schema_version": SCHEMA_VERSION} | _plain(payload), indent=2, allow_nan=False))

    def progress(self) -> AbstractContextManager[Progress]:
        """Show how far work is, for as long as the context is open."""
        from edgekit.cli.progress import shown

        return shown(sys.stderr, self.quiet)

    def fail(self, error: EdgekitError) -> None:
        """Tell of an error that the user can act on."""
        self._tell(error, str(error))
        told = {"problem": error.problem, "found": error.found, "fix": error.fix}
        self._error(type(error).__name__, error.exit_code, told)

    def fail_usage(self, error: click.ClickException, arguments: Sequence[str]) -> None:
        """Tell of a command line that does not parse, which may be before --json was seen."""
        self.json = self.json or "--json" in arguments
        error.show()
        self._error("UsageError", error.exit_code, {"problem": error.format_message()})

    def fail_interrupted(self, code: int) -> None:
        """Tell of Ctrl-C."""
        problem = "Interrupted. Nothing was left half-written."
        click.echo(f"\n{problem}", err=True)
        self._error("Interrupted", code, {"problem": problem})

    def fail_bug(self, error: BaseException) -> None:
        """Tell of an exception that nobody foresaw."""
        problem = f"This is a bug in EdgeKit {edgekit.__version__}: {type(error).__name__}: {error}"
        fix = "Run it again with -v for the traceback, and report that with the output of `edgekit doctor`."
        self._tell(error, problem if self.verbose else f"{problem}\n  fix:   {fix}")
        self._error("Bug", EdgekitError.exit_code, {"problem": problem, "fix": fix})

    def _tell(self, error: BaseException, text: str) -> None:
        if self.verbose:
            click.echo("".join(traceback.format_exception(error)), err=True)
        click.echo(f"error: {text}", err=True)

    def _error(self, kind: str, code: int, told: Mapping[str, str]) -> None:
        # A partial result that was printed says itself what ended it: there is one object and no more.
        if not self._answered:
            self.result(
                {"error": {"type": kind, "exit_code": code} | {key: text for key, text in told.items() if text}}
            )


def table(rows: Iterable[Sequence[object]], right: Collection[int] = ()) -> str:
    """Align cells in columns, those numbered in `right` to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    lines = (
        "  ".join(cell.rjust(widths[i]) if i in right else cell.ljust(widths[i]) for i, cell in enumerate(row))
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


_FIGURES = {
    "f1": "F1 {:.3f}",
    "lateral_px": "lateral shift {:.2f} px",
    "sqnr_db": "SQNR {:.1f} dB",
    "order_change": "order change {:.3%}",
    "ndcg": "NDCG {:.4f}",
    "auc": "AUC of the head {:.4f}",
    "top_overlap": "overlap of the head {:.1%}",
}


def figures_text(figures: Mapping[str, float]) -> str:
    """Write the figures of an agreement, named as `Agreement.figures` names them."""
    texts = [
        _FIGURES[name].format(value) if name in _FIGURES else f"IoU {name.removeprefix('iou_')} {value:.3f}"
        for name, value in figures.items()
    ]
    return ", ".join(texts) or "nothing to compare: neither model finds anything in these frames"


def outline(data: dict[str, Any], indent: str = "") -> str:
    """Write nested data as an indented outline, without what is empty."""
    lines = []
    for key, value in data.items():
        if value in (None, "", [], {}):
            continue
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", outline(value, indent + "  ")]
        elif isinstance(value, list) and isinstance(value[0], dict):
            for item in value:
                lines += [f"{indent}{key}:", outline(item, indent + "  ")]
        elif isinstance(value, str) and "\n" in value.strip():
            lines += [f"{indent}{key}:", textwrap.indent(value.strip(), indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {_text(value)}")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _plain(value: Any) -> Any:
    """Turn a value into what JSON can hold: it has no infinity and no NaN, so these become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)
