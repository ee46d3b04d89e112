"""`edgekit report`: a profile or a calibration as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

import edgekit
from edgekit.cli.common import PATH, overwrite, settings, terminal
from edgekit.cli.terminal import Terminal


@click.command()
@click.argument("source", type=PATH)
@click.option("-o", "--out", type=PATH, help="The HTML file; SOURCE with the suffix .html if not given.")
@overwrite
@settings
@terminal
def report(terminal: Terminal, /, source: Path, out: Path | None, overwrite: bool) -> None:
    """Write a profile or calibration as an HTML file.

    SOURCE is what `edgekit profile -o` wrote, or a calibration folder. The file holds everything that it shows: it
    loads nothing, and can be mailed and printed.
    """
    written = edgekit.write_report(source, out or source.with_suffix(".html"), overwrite=overwrite)
    size = written.stat().st_size
    terminal.show(f"written: {written} ({size / 1e3:.0f} kB)")
    terminal.result({"report": written, "bytes": size})
