"""`edgekit compile`: from a calibration to a bundle, and on the device from a bundle to its engine."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

import edgekit
from edgekit.cli.common import PATH, dry_run, overwrite, settings, show_plan, terminal
from edgekit.cli.host import host_options
from edgekit.cli.placement import placement_text
from edgekit.cli.terminal import Terminal, figures_text, outline, table
from edgekit.errors import UsageError
from edgekit.progress import Progress

if TYPE_CHECKING:
    from edgekit.bundle import Bundle
    from edgekit.manifest import Manifest
    from edgekit.profiling.remote.host import Host


_SEARCH = "time what 8 bit slows down, seconds (--tune-seconds, --no-tune)"


@click.command("compile")
@click.argument("calibration", type=PATH, metavar="CALIBRATION|BUNDLE")
@click.option("--target", help="Board: a name or a TOML file; the calibration's own if not given.")
@click.option("-o", "--out", type=PATH, help="Bundle to write, FILE.edge.")
@click.option("--no-tune", is_flag=True, help="Place Q/DQ by the target's rules; measure nothing.")
@click.option(
    "--tune-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=90.0,
    show_default=True,
    help="Time to find what 8 bit makes slower.",
)
@click.option("--retune", is_flag=True, help="Measure anew, whatever was measured before.")
@click.option(
    "--threads", type=click.IntRange(min=0), default=1, show_default=True, help="Of the engine; 0: its own choice."
)
@click.option(
    "--require-offload",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Of the model's nodes, so many must run on the accelerator; others may go to its CPU.",
)
@click.option("--slim", is_flag=True, help="Leave out what only proves that it runs right: golden vectors, reference.")
@overwrite
@host_options
@dry_run
@settings
@terminal
def compile_(
    terminal: Terminal,
    /,
    calibration: Path,
    target: str | None,
    out: Path | None,
    no_tune: bool,
    tune_seconds: float,
    retune: bool,
    threads: int,
    require_offload: float | None,
    slim: bool,
    overwrite: bool,
    host: Host | None,
    dry_run: bool,
) -> None:
    """Make a calibration into a bundle for a target.

    CALIBRATION is a folder that `edgekit calibrate` wrote. It may be compiled for other targets than its own. Where the
    target's engine runs here, or with --host on a board, what 8 bit makes slower stays in floating point; what was
    measured is kept in the folder.

    BUNDLE is a file that this command wrote for an engine that is built on the device: run there, it builds the engine
    in place.
    """
    if calibration.is_file():
        if host is not None:
            raise UsageError(
                problem=f"The engine of {calibration} is built where this command runs.",
                found=f"--host {host.address}",
                fix="Copy the bundle to the board, and run it there: edgekit compile FILE.edge.",
            )
        _in_place(terminal, calibration, target, out, overwrite, dry_run)
        return
    if out is None:
        raise UsageError(problem="There is no name for the bundle.", fix="Give it with --out FILE.edge.")
    from edgekit.bundle import ENGINE_FOLDER

    opened = edgekit.Calibration.open(calibration)
    if dry_run:
        from edgekit.targets import load_target

        board = load_target(target).computing(opened.recipe.operators) if target else opened.target
        plan = {
            "calibration": str(calibration),
            "calibrated_for": opened.target.name,
            "recipe": opened.recipe.name,
            "target": board.name,
            "engine": f"{board.backend}, built {board.builds}",
            **({"measured on": str(host.address)} if host else {}),
            "writes": [str(out)],
        }
        show_plan(terminal, plan, out, overwrite)
        return
    with terminal.progress() as progress:
        bundle = edgekit.compile(
            opened,
            target=target,
            out=out,
            tune=not no_tune,
            tune_seconds=tune_seconds,
            retune=retune,
            threads=threads,
            host=host,
            overwrite=overwrite,
            require_offload=require_offload,
            slim=slim,
            progress=_explained(progress),
        )
    terminal.show(f"{table(_rows(bundle))}\n\n{placement_text(bundle.manifest.placement)}")
    for note in bundle.manifest.placement.notes:
        terminal.note(f"placement: {note}")
    manifest = bundle.manifest
    if manifest.target.scheme != opened.target.scheme:
        terminal.warn(
            f"The scales were chosen anew for {manifest.target.name}, without what was selected and learned for "
            f"{opened.target.name}, and the gates were judged for that one only; the agreement above is that of a few "
            f"golden frames. Better: edgekit calibrate --target {manifest.target.name}"
        )
    terminal.result(
        {
            "bundle": bundle.path,
            "bytes": bundle.path.stat().st_size,
            "target": manifest.target.name,
            "engine": manifest.engine.model_dump(mode="json"),
            "agreement": manifest.agreement.model_dump(mode="json"),
            "placement": manifest.placement.model_dump(mode="json"),
        }
    )
    if manifest.engine.built == "on-device":
        record = json.loads(bundle.read(f"{ENGINE_FOLDER}build.json"))
        terminal.note(f"\nThe engine is built on the device, not here ({manifest.target.title}):")
        terminal.note(_commands(record["commands"], bundle))
        if by_hand := record.get("by_hand"):
            terminal.note(f"or there without EdgeKit:\n{_commands(by_hand, bundle)}")
    elif slim:
        terminal.note("\nIt is slim: verify and profile the whole bundle, compiled without --slim.")
    elif manifest.target.runs != "on-device":
        following = "profile" if manifest.golden.origin == "measured" else "verify"
        there = f" --host {host.address}" if host else ""
        terminal.note(f"\nnext: edgekit {following} {bundle.path}{there}")
    else:
        terminal.note(f"\nIt runs on the device, not here ({manifest.target.title}); what of that was tested:")
        terminal.note(textwrap.fill(manifest.target.tested, 98, initial_indent="  ", subsequent_indent="  "))


def _explained(progress: Progress) -> Progress:
    """Say beside the search for the placement, which takes longest, what its numbers are and how it is shortened."""

    def told(stage: str, done: int, total: int) -> None:
        progress(_SEARCH if stage == "place" else stage, done, total)

    return told


def _in_place(
    terminal: Terminal, path: Path, target: str | None, out: Path | None, overwrite: bool, dry_run: bool
) -> None:
    from edgekit.bundle import open_bundle

    if target is not None or out is not None:
        raise UsageError(
            problem=f"The engine of {path} is built in place, for the bundle's own target.",
            found="--target" if target is not None else "--out",
            fix="Leave it out; for another target compile the calibration.",
        )
    if dry_run:
        engine = open_bundle(path).manifest.engine
        plan = {"bundle": str(path), "engine": engine.backend, "built_for": engine.built_for, "writes": [str(path)]}
        terminal.show(outline(plan))
        terminal.result({"plan": plan})
        return
    with terminal.progress() as progress:
        bundle = edgekit.compile_in_place(path, overwrite=overwrite, progress=progress)
    terminal.show(table(_rows(bundle)))
    manifest = bundle.manifest
    terminal.result(
        {
            "bundle": bundle.path,
            "bytes": bundle.path.stat().st_size,
            "target": manifest.target.name,
            "engine": manifest.engine.model_dump(mode="json"),
        }
    )
    terminal.note(f"\nnext: edgekit verify {bundle.path}")


def _commands(commands: list[str], bundle: Bundle) -> str:
    return textwrap.indent("\n".join(commands).replace("BUNDLE.edge", bundle.path.name), "  ")


def _rows(bundle: Bundle) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    engine = manifest.engine
    built = "built here" if engine.built == "here" else "to be built on the device"
    return [
        ("bundle", f"{bundle.path}, {bundle.path.stat().st_size / 1e6:.2f} MB"),
        ("target", f"{manifest.target.name}: {manifest.target.title}"),
        ("engine", f"{engine.backend} {engine.version}".strip() + f", {built}"),
        *([("built for", _built_for(engine.built_for))] if engine.built_for else []),
        (
            "golden",
            f"{len(manifest.golden.vectors)} vectors, outputs of {manifest.golden.engine}, {manifest.golden.origin}",
        ),
        *([("precision", _precision(manifest))] if engine.precisions else []),
        ("agreement", _agreement(manifest)),
        *_fallback(manifest),
    ]


def _precision(manifest: Manifest) -> str:
    from edgekit.backends.precision import PrecisionShare, shares_text

    return shares_text([PrecisionShare(one.precision, one.kernels, one.macs) for one in manifest.engine.precisions])


def _fallback(manifest: Manifest) -> list[tuple[str, str]]:
    """Say which nodes the accelerator does not run, and why."""
    engine = manifest.engine
    if not engine.fallback:
        return []
    share = 100 * (1 - len(engine.fallback) / engine.nodes)
    rows = [f"{one.operator} {one.node}: {one.why}" for one in engine.fallback]
    text = f"{len(rows)} of {engine.nodes} nodes run on the CPU, {share:.1f} % on the accelerator (Q/DQ not counted)"
    return [("fallback", "\n".join([text, *rows]))]


def _built_for(fingerprint: dict[str, str]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in fingerprint.items())


def _agreement(manifest: Manifest) -> str:
    """Say how far the bundle's engine lies from floating point, or ONNX Runtime where that engine does not run here."""
    figures = manifest.agreement.engine_to_reference
    if figures is None:
        return f"{figures_text(manifest.agreement.onnxruntime_to_reference)} under ONNX Runtime, measured here"
    return f"{figures_text(figures)} against floating point, {manifest.golden.origin} here on the golden vectors"
