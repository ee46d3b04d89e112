"""A comparison of two profiles as a page for the terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 100
LAYERS = 10
"""So many are shown, those that changed most."""
_STYLES = {"faster": "green", "slower": "red", "more": "yellow", "less": "yellow"}
_PARTS = {
    "end_to_end": "end to end",
    "engine": "engine",
    "preprocess": "preprocessing",
    "postprocess": "post-processing",
    "wait": "wait",
    "device": "engine, by the device's clock",
}


def comparison_text(comparison: Mapping[str, Any], *, color: bool = False) -> str:
    """Return the page of a comparison.

    Args:
        comparison: What `Comparison.to_json` returns, with the `conditions` that it was held against and the `failed`.
        color: Whether terminal control codes may be in it.
    """
    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, force_terminal=color, highlight=False, emoji=False)
    before, after = comparison["profiles"]
    console.print(f"{before}  ->  {after}\n", markup=False)
    if comparison["different"]:
        console.print(Text("measured in different ways, compared all the same:", "red"))
        console.print(*(f"  {each}" for each in comparison["different"]), sep="\n", markup=False)
        console.print()
    console.print(_latency(comparison["latency"]))
    if comparison["figures"]:
        console.print(_figures(comparison["figures"]))
    if changed := [layer for layer in comparison["layers"] if layer["verdict"] != "same"]:
        console.print(_figures(sorted(changed, key=_weight)[:LAYERS], f"Layers that changed, {len(changed)} in all"))
    if comparison["notes"]:
        console.print(*(f"! {note}" for note in comparison["notes"]), sep="\n", markup=False, style="yellow")
    for failed in comparison["failed"]:
        console.print(Text(f"failed  {failed['condition']}: {failed['found']}", "red"))
    kept = len(comparison["conditions"]) - len(comparison["failed"])
    if comparison["conditions"]:
        console.print(f"{kept} of {len(comparison['conditions'])} conditions kept")
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _latency(changes: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("Latency in ms; a change is one where its 95 % interval lies beyond the noise floor")
    for name in ("before", "after", "change", "95% interval", "noise floor"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    seen = ""
    for change in changes:
        if change["before"] is None and change["after"] is None:
            continue
        title = f"{change['model']}, {_PARTS[change['part']]}"
        if title != seen:
            table.add_row(Text(title, "bold"), *[""] * 6)
            seen = title
        verdict = change["verdict"]
        table.add_row(f"  {change['name']}", *_cells(change), Text(verdict, _STYLES.get(verdict, "dim")))
    return table


def _cells(change: Mapping[str, Any]) -> Iterator[str]:
    yield from ("-" if change[key] is None else f"{change[key]:.3f}" for key in ("before", "after"))
    yield "-" if change["change"] is None else f"{change['change']:+.1%}"
    yield "-" if change["interval"] is None else "{:+.1%} .. {:+.1%}".format(*change["interval"])
    yield f"{change['floor']:.1%}"


def _weight(layer: Mapping[str, Any]) -> float:
    return -abs(float(layer["after"] - layer["before"]))


def _figures(figures: Sequence[Mapping[str, Any]], title: str = "Memory and accuracy") -> Table:
    table = _table(title)
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for figure in figures:
        change = "-" if figure["change"] is None else f"{figure['change']:+.1%}"
        values = [_value(figure[key], figure["unit"]) for key in ("before", "after")]
        verdict = figure["verdict"]
        table.add_row(
            _short(f"{figure['model']}, {figure['name']}"), *values, change, Text(verdict, _STYLES.get(verdict, "dim"))
        )
    return table


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value / 1e6:,.2f} MB" if unit == "bytes" else f"{value:.1%}" if unit == "share" else f"{value:.4g} {unit}"


def _table(title: str) -> Table:
    table = Table(title=Text(title, "bold"), title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(no_wrap=True)
    return table


def _short(name: str, width: int = 44) -> str:
    return name if len(name) <= width else name[: width - 3] + "..."
