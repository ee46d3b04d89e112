"""`edgekit profile`: what a bundle costs on this machine."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

import edgekit
from edgekit.cli.common import PATH, dry_run, milliseconds, overwrite, settings, terminal
from edgekit.cli.estimate import show_estimate
from edgekit.cli.host import for_board, host_options, show_board
from edgekit.cli.terminal import Terminal, outline
from edgekit.errors import UsageError
from edgekit.output import new_file
from edgekit.profiling.rigor import LEVELS, RIGORS, Level
from edgekit.progress import Progress

if TYPE_CHECKING:
    from edgekit.bundle import Bundle
    from edgekit.profiling.remote.host import Host
    from edgekit.recipes import Effort
    from edgekit.targets import BackendName

TUNE_SECONDS = 10.0
EFFORT: Effort = "quick"
"""What the built-in model is calibrated with: its speed is what is asked for."""

BUILD, BUILT_IN = Path("build"), "built-in-"
ENGINES = ("all", "onnxruntime", "openvino")
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
@click.option("--engine", type=click.Choice(ENGINES), help="Instead of the bundle's own; all: each that runs here.")
@click.option("--target", help="Estimate for a board that is not here; BUNDLE may be a model or a calibration then.")
@click.option("-o", "--out", type=PATH, help="Write the profile as JSON.")
@click.option("--html", type=PATH, help="Write the profile as an HTML page.")
@overwrite
@host_options
@dry_run
@settings
@terminal
def profile(
    terminal: Terminal,
    /,
    bundle: Path | None,
    rigor: Level,
    seconds: float | None,
    deadline: float | None,
    idle: float | None,
    engine: BackendName | Literal["all"] | None,
    target: str | None,
    out: Path | None,
    html: Path | None,
    overwrite: bool,
    host: Host | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Measure a bundle on this machine or a board, FP against INT8.

    BUNDLE is a file that `edgekit compile` wrote for the machine that measures. Without it, the last bundle under
    build/ is measured in all engines that run here. Where there is none, the built-in lane model is calibrated and
    compiled first.
    """
    options |= {"rigor": rigor, "seconds": seconds, "deadline_ms": deadline, "idle_ms": idle or 0.0}
    if target and host:
        raise UsageError(
            problem="A board is measured with --host, or estimated with --target.",
            found=f"--host {host} --target {target}",
            fix="Leave one of them out.",
        )
    if dry_run:
        _show_plan(terminal, bundle, host, engine, {**options, **({"estimated for": target} if target else {})})
        return
    if target:
        with terminal.progress() as progress:
            source = bundle or _last(terminal, progress)
        show_estimate(terminal, source, target, out, overwrite)
        return
    with ExitStack() as stack:
        page = stack.enter_context(new_file(html, overwrite)) if html else None
        draft = stack.enter_context(new_file(out, overwrite)) if out else None
        progress = stack.enter_context(terminal.progress())

        def keep(partial: Mapping[str, Any]) -> None:
            _keep(terminal, partial, out, overwrite)

        if host:
            from edgekit.api.remote import profile_remote

            there = for_board(bundle, engine)
            written = profile_remote(there, host, {**options, "engine": engine}, progress, keep)
        else:
            written = _measure_here(
                bundle or _last(terminal, progress), bundle is None, engine, options, progress, keep
            )
        if draft:
            draft.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
        if page:
            from edgekit.api.report import html_of

            page.write_text(html_of(written), encoding="utf-8")
    _tell(terminal, written, out)


def _measure_here(
    path: Path,
    is_last: bool,
    engine: BackendName | Literal["all"] | None,
    options: Mapping[str, Any],
    progress: Progress,
    keep: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Measure in one engine or in all that run here, and return what is written of that."""
    from edgekit.api.apart import profile_apart
    from edgekit.api.profile import engines_here
    from edgekit.bundle import open_bundle

    opened = open_bundle(path)
    everywhere = engine == "all" or (is_last and engine is None)
    engines = engines_here(opened) if engine == "all" or everywhere else (engine,)
    quick = RIGORS["quick"].seconds / len(engines) if options["rigor"] == "quick" else None
    done: list[dict[str, Any]] = []
    for name in engines:
        result = profile_apart(
            opened.path,
            **{**options, "seconds": options["seconds"] or quick},
            engine=name,
            progress=_named(progress, name) if everywhere else progress,
            keep=lambda partial: keep(_written([*done, partial.to_json()], everywhere, [])),
        )
        done.append(result.to_json())
    return _written(done, everywhere, _estimates(opened) if everywhere else [])


def _show_plan(
    terminal: Terminal, bundle: Path | None, host: Host | None, engine: str | None, options: Mapping[str, Any]
) -> None:
    if host:
        show_board(terminal, for_board(bundle, engine), host, engine)
        return
    plan = {"bundle": str(bundle or "the last one under build/"), "on": "this machine", "engine": engine, **options}
    terminal.show(outline(plan))
    terminal.result({"plan": plan})


def _named(progress: Progress, engine: str | None) -> Progress:
    return lambda stage, done, total: progress(f"{engine} {stage}", done, total)


def _estimates(bundle: Bundle) -> list[dict[str, Any]]:
    """Return what the targets that are not here would take, without their layers; nothing where onnx is missing."""
    if importlib.util.find_spec("onnx") is None:
        return []
    from edgekit.api.estimate import estimate_others

    written = [each.to_json() for each in estimate_others(bundle)]
    return [
        {key: value for key, value in each.items() if key not in ("layers", "efficiency", "peaks")} for each in written
    ]


def _keep(terminal: Terminal, written: Mapping[str, Any], out: Path | None, overwrite: bool) -> None:
    """Keep what was measured until something ended it; the command fails after that, and takes its own draft back."""
    if out:
        with new_file(out, overwrite) as draft:
            draft.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    _tell(terminal, written, out)


def _written(
    profiles: Sequence[dict[str, Any]], everywhere: bool, estimates: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return one profile, or all of them in one document, as JSON has it."""
    if not everywhere:
        return profiles[0]
    return {"schema_version": profiles[0]["schema_version"], "profiles": list(profiles), "estimates": list(estimates)}


def _tell(terminal: Terminal, written: Mapping[str, Any], out: Path | None) -> None:
    from edgekit.report.table import profile_text
    from edgekit.report.table_parts import estimates_text

    color = sys.stdout.isatty()
    terminal.show("\n\n".join(profile_text(each, color=color) for each in written.get("profiles", [written])))
    if written.get("estimates"):
        terminal.show(f"\n{estimates_text(written['estimates'])}")
    terminal.result(written)
    if out:
        terminal.note(f"\nwritten: {out}")


def _last(terminal: Terminal, progress: Progress) -> Path:
    """Return the newest bundle under build/ that runs here, or else the built-in model's."""
    from edgekit.backends import backend_for
    from edgekit.bundle import open_bundle

    own = [path for path in BUILD.glob("*.edge") if not path.name.startswith(BUILT_IN)]
    for path in sorted(own, key=lambda path: path.stat().st_mtime, reverse=True):
        engine = open_bundle(path).manifest.engine
        if engine.built == "here" and not backend_for(engine.backend).available().reason:
            terminal.note(f"No bundle given: the last one is {path}.")
            return path
    return _built_in(terminal, progress)


def _built_in(terminal: Terminal, progress: Progress) -> Path:
    """Return the bundle of the built-in model for this machine, made only where it is missing or made from another."""
    from edgekit.targets import host_target_name

    target = host_target_name()
    folder = BUILD / f"{BUILT_IN}{target}"
    path = folder.with_suffix(".edge")
    if not is_current(path, target):
        terminal.note(f"No bundle given: the built-in lane model is calibrated and compiled for {target}, into {path}.")
        calibration = edgekit.calibrate(target=target, effort=EFFORT, out=folder, overwrite=True, progress=progress)
        edgekit.compile(calibration, out=path, tune_seconds=TUNE_SECONDS, overwrite=True, progress=progress)
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
        and manifest.target == load_target(target).computing(manifest.recipe.operators)
        and manifest.recipe == with_effort(load_recipe("reference-lane"), EFFORT)
        and manifest.provenance.model_sha256 == hashlib.sha256(model_path().read_bytes()).hexdigest()
    )
