"""`edgekit inspect`: what a file or folder is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

import edgekit
from edgekit.cli.common import PATH, talk, terminal
from edgekit.cli.placement import placement_text
from edgekit.cli.terminal import Terminal, outline, table

_COSTLIEST = 20


@click.command()
@click.argument("path", type=PATH)
@talk
@terminal
def inspect(terminal: Terminal, /, path: Path) -> None:
    """Say what a model, calibration or bundle holds.

    PATH is an .onnx model, a calibration folder or a bundle.
    """
    found = edgekit.inspect(path)
    terminal.show(_TEXTS[found["kind"]](found))
    terminal.result(found)


def _model(found: dict[str, Any]) -> str:
    about = {key: value for key, value in found.items() if key not in ("schema_version", "nodes")}
    costliest = sorted(found["nodes"], key=lambda node: -node["macs"])[:_COSTLIEST]
    columns = ("name", "operator", "macs", "parameters", "weight_bytes", "activation_bytes")
    rows = [
        tuple(f"{node[key]:,}" if isinstance(node[key], int) else node[key] for key in columns) for node in costliest
    ]
    left = len(found["nodes"]) - len(costliest)
    more = f"\n{left} cheaper nodes are left out here; --json has them." if left else ""
    return f"{outline(about)}\n\n{table([columns, *rows], right=range(2, 6))}{more}"


def _calibration(found: dict[str, Any]) -> str:
    report = found["report"]
    about = {
        **{key: found[key] for key in ("kind", "folder", "recipe", "target", "provenance")},
        "precision": dict(Counter(node["precision"] for node in found["nodes"].values())),
        "agreement": {key: value for key, value in report["agreement"].items() if key != "per_frame"},
        "gates": report["gates"],
    }
    kept = [(name, node["precision"], node["why"]) for name, node in found["nodes"].items() if node["why"]]
    return f"{outline(about)}\n\n{table([('layer', 'precision', 'why'), *kept])}"


def _bundle(found: dict[str, Any]) -> str:
    manifest = dict(found["manifest"])
    manifest["members"] = len(manifest["members"])
    manifest["golden"] = {**manifest["golden"], "vectors": len(manifest["golden"]["vectors"])}
    from edgekit.placements import PlacementTable

    placement = placement_text(PlacementTable.model_validate(manifest.pop("placement")))
    about = {**{key: found[key] for key in ("kind", "file", "bytes")}, **manifest}
    return f"{outline(about)}\n\n{placement}"


_TEXTS = {"model": _model, "calibration": _calibration, "bundle": _bundle}
