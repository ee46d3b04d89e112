"""`edgekit verify`: whether a bundle is whole, and still computes what it did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import edgekit
from edgekit.cli.common import PATH, settings, terminal
from edgekit.cli.terminal import Terminal, figures_text, table
from edgekit.errors import GateError

if TYPE_CHECKING:
    from edgekit.api.verify import VectorCheck, Verification


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads of the engine; 0 lets it choose.")
@settings
@terminal
def verify(terminal: Terminal, /, bundle: Path, threads: int) -> None:
    """Check a bundle's hashes and replay its golden vectors.

    BUNDLE is a file that `edgekit compile` wrote.
    """
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
