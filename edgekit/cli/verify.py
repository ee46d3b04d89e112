"""`edgekit verify`: whether a bundle is whole, and still computes what it did."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import edgekit
from edgekit.cli.common import PATH, overwrite, settings, terminal
from edgekit.cli.terminal import Terminal, figures_text, table
from edgekit.emulation import DEFAULT_ROOT
from edgekit.errors import GateError, UsageError
from edgekit.output import new_file

if TYPE_CHECKING:
    from edgekit.api.verify import VectorCheck, Verification


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads of the engine; 0 lets it choose.")
@click.option("--matrix", is_flag=True, help="Hold every engine that is here against every other one.")
@click.option(
    "--arm-root", type=PATH, default=DEFAULT_ROOT, help="Emulated Arm cores, as `make arm-root` sets them up."
)
@click.option("-o", "--out", type=PATH, help="Draw the matrix as heat maps into FILE.png.")
@overwrite
@settings
@terminal
def verify(
    terminal: Terminal,
    /,
    bundle: Path,
    threads: int,
    matrix: bool,
    arm_root: Path,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Check a bundle's hashes and replay its golden vectors.

    BUNDLE is a file that `edgekit compile` wrote; with --matrix, or a folder that `edgekit calibrate` wrote.
    """
    if matrix:
        _show_matrix(terminal, bundle, arm_root, out, overwrite)
        return
    if out is not None:
        raise UsageError(problem="-o is for heat maps, and there is no matrix to draw.", fix="Add --matrix.")
    found = edgekit.verify(bundle, threads=threads)
    terminal.show(table(_rows(found)))
    if not found.passed:
        raise GateError(
            problem=f"{bundle} does not compute here what it did when it was compiled.",
            found="; ".join(_failure(vector, found) for vector in found.vectors if not vector.passed) or "no vector",
            fix="Do not use it here. Compile it again for this machine's target and engine version.",
        )
    terminal.result(
        {
            "bundle": found.bundle,
            "passed": found.passed,
            "members": found.members,
            "engine": found.engine,
            "golden_engine": found.golden_engine,
            "origin": found.origin,
            "tolerance": found.tolerance,
            "vectors": [
                {
                    "frame": vector.frame,
                    "passed": vector.passed,
                    "differences": vector.differences,
                    "agreement": vector.agreement.figures(),
                }
                for vector in found.vectors
            ],
        }
    )


def _show_matrix(terminal: Terminal, source: Path, arm_root: Path, out: Path | None, overwrite: bool) -> None:
    from edgekit.report.agreement import agreement_text

    with terminal.progress() as progress:
        found = edgekit.agreement_matrix(source, arm_root=arm_root, progress=progress)
    data = found.to_json()
    if not terminal.json:
        terminal.show(agreement_text(data, color=sys.stdout.isatty()))
    if out is not None:
        from edgekit.report.heatmap import heatmap_png

        with new_file(out, overwrite) as draft:
            draft.write_bytes(heatmap_png(data, f"{source.name}, calibrated for {found.target}"))
        terminal.note(f"heat maps: {out}")
    if not found.agrees:
        raise GateError(
            problem="Not every engine computes what ONNX Runtime does from the same model.",
            found="; ".join(f"{found.replays[place].engine}: {why}" for place, why in found.disagreeing.items()),
            fix="Do not ship that model with that engine; see the rows that are marked above.",
        )
    terminal.result(data)


def _rows(found: Verification) -> list[tuple[str, str]]:
    return [
        ("bundle", str(found.bundle)),
        ("hashes", f"{found.members} members are what the manifest says"),
        ("engine", f"{found.engine}{_origin(found)}; golden outputs of {found.golden_engine}"),
        *((vector.frame, _verdict(vector, found)) for vector in found.vectors),
    ]


def _origin(found: Verification) -> str:
    return "" if found.origin == "measured" else f", {found.origin}"


def _verdict(vector: VectorCheck, found: Verification) -> str:
    if not vector.passed:
        return f"FAILED: {_failure(vector, found)}"
    shares = [_share(vector, name, found) for name in vector.differences]
    worst = f"{max(shares, default=0.0):.0%} of the tolerance used"
    return f"passed: {worst}, {figures_text(vector.agreement.figures())}"


def _failure(vector: VectorCheck, found: Verification) -> str:
    beyond = [
        f"{name} differs by {difference:.4g}, allowed {found.tolerance[name]:.4g}"
        for name, difference in vector.differences.items()
        if difference > found.tolerance[name]
    ]
    return f"{vector.frame}: {', '.join(beyond) or figures_text(vector.agreement.figures())}"


def _share(vector: VectorCheck, name: str, found: Verification) -> float:
    return vector.differences[name] / found.tolerance[name]
