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
from edgekit.cli.common import PATH, milliseconds, overwrite, settings, terminal
from edgekit.cli.terminal import Terminal
from edgekit.output import new_file
from edgekit.profiling.rigor import LEVELS, Level
from edgekit.progress import Progress

if TYPE_CHECKING:
    from edgekit.profiling.pace import Queue
    from edgekit.profiling.result import Profile
    from edgekit.recipes import Effort

EFFORT: Effort = "quick"
"""What the built-in model is calibrated with: its speed is what is asked for."""

QUEUES = click.Choice(["wait", "drop"])
ABOVE_ZERO = click.FloatRange(min=0, min_open=True)


@click.command()
@click.argument("bundle", type=PATH, required=False)
@click.option("--rigor", type=click.Choice(LEVELS), default="quick", show_default=True, help="How much is measured.")
@click.option("--seconds", type=ABOVE_ZERO, help="Sampling time, instead of the rigor's.")
@click.option("--fps", type=ABOVE_ZERO, help="A camera's pace: latency counts from when a frame is due.")
@click.option("--deadline", type=milliseconds, help="Count the frames that take longer: 33ms, for instance.")
@click.option(
    "--queue",
    type=click.Choice(["wait", "drop"]),
    default="wait",
    show_default=True,
    help="What becomes of frames that are due while the engine runs.",
)
@click.option("--burst", type=click.IntRange(min=1), default=1, show_default=True, help="Frames due at once.")
@click.option("--idle", type=milliseconds, help="Pause after each run, without a camera: 200ms, for instance.")
@click.option("--streams", type=click.IntRange(min=1), default=1, show_default=True, help="Engines that run at once.")
@click.option("--threads", type=click.IntRange(min=0), default=1, show_default=True, help="0: as the engine chooses.")
@click.option("-o", "--out", type=PATH, help="Write the profile as JSON.")
@overwrite
@settings
@terminal
def profile(
    terminal: Terminal,
    /,
    bundle: Path | None,
    rigor: Level,
    seconds: float | None,
    fps: float | None,
    deadline: float | None,
    queue: Queue,
    burst: int,
    idle: float | None,
    streams: int,
    threads: int,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Measure a bundle on this machine, FP against INT8.

    BUNDLE is a file that `edgekit compile` wrote for this machine. Without it, the built-in lane model is calibrated,
    compiled for this machine's CPU and measured; both are kept under build/.
    """
    with ExitStack() as stack:
        draft = stack.enter_context(new_file(out, overwrite)) if out else None
        progress = stack.enter_context(terminal.progress())
        path = bundle or _built_in(terminal, progress)
        result = edgekit.profile(
            path,
            rigor=rigor,
            seconds=seconds,
            threads=threads,
            fps=fps,
            burst=burst,
            queue=queue,
            idle_ms=idle or 0.0,
            streams=streams,
            deadline_ms=deadline,
            progress=progress,
            keep=lambda partial: _keep(terminal, partial, out, overwrite),
        )
        if draft:
            _write(result, draft)
    _tell(terminal, result, out)


def _keep(terminal: Terminal, partial: Profile, out: Path | None, overwrite: bool) -> None:
    """Keep what was measured until something ended it; the command fails after that, and takes its own draft back."""
    if out:
        with new_file(out, overwrite) as draft:
            _write(partial, draft)
    _tell(terminal, partial, out)


def _write(result: Profile, draft: Path) -> None:
    draft.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")


def _tell(terminal: Terminal, result: Profile, out: Path | None) -> None:
    from edgekit.report.table import profile_text

    written = result.to_json()
    terminal.show(profile_text(written, color=sys.stdout.isatty()))
    terminal.result(written)
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
