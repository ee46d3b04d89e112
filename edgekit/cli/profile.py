"""`edgekit profile`: what a bundle costs on this machine."""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

import edgekit
from edgekit.cli.common import PATH, overwrite, settings, terminal
from edgekit.cli.terminal import Terminal
from edgekit.output import new_file
from edgekit.progress import Progress

if TYPE_CHECKING:
    from edgekit.recipes import Effort

EFFORT: Effort = "quick"
"""What the built-in model is calibrated with: its speed is what is asked for."""


@click.command()
@click.argument("bundle", type=PATH, required=False)
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True, help="Sampling time."
)
@click.option("--threads", type=click.IntRange(min=0), default=1, show_default=True, help="0: as the engine chooses.")
@click.option("-o", "--out", type=PATH, help="Write the profile as JSON.")
@overwrite
@settings
@terminal
def profile(
    terminal: Terminal, /, bundle: Path | None, seconds: float, threads: int, out: Path | None, overwrite: bool
) -> None:
    """Measure a bundle on this machine, FP against INT8.

    BUNDLE is a file that `edgekit compile` wrote for this machine. Without it, the built-in lane model is calibrated,
    compiled for this machine's CPU and measured; both are kept under build/.
    """
    from edgekit.report.table import profile_text

    with ExitStack() as stack:
        draft = stack.enter_context(new_file(out, overwrite)) if out else None
        progress = stack.enter_context(terminal.progress())
        path = bundle or _built_in(terminal, progress)
        result = edgekit.profile(path, seconds=seconds, threads=threads, progress=progress).to_json()
        if draft:
            draft.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    terminal.show(profile_text(result, color=sys.stdout.isatty()))
    terminal.result(result)
    if out:
        terminal.note(f"\nwritten: {out}")


def _built_in(terminal: Terminal, progress: Progress) -> Path:
    """Return the bundle of the built-in model for this machine, made only where it is missing or made from another."""
    from edgekit.targets import host_target_name

    target = host_target_name()
    folder = Path("build") / f"built-in-{target}"
    path = folder.with_suffix(".edge")
    if not is_current(path, target):
        terminal.note(f"No bundle given: the built-in lane model is calibrated and compiled for {target}, into {path}.")
        calibration = edgekit.calibrate(target=target, effort=EFFORT, out=folder, overwrite=True, progress=progress)
        edgekit.compile(calibration, out=path, overwrite=True, progress=progress)
    return path


def is_current(path: Path, target: str) -> bool:
    """Whether the bundle was made by this version from what it ships."""
    from edgekit.bundle import open_bundle
    from edgekit.recipes import load_recipe, with_effort
    from edgekit.reference import model_path
    from edgekit.targets import load_target

    try:
        manifest = open_bundle(path).manifest
    except edgekit.ArtifactError:
        return False
    return (
        manifest.edgekit == edgekit.__version__
        and manifest.target == load_target(target)
        and manifest.recipe == with_effort(load_recipe("reference-lane"), EFFORT)
        and manifest.provenance.model_sha256 == hashlib.sha256(model_path().read_bytes()).hexdigest()
    )
