"""Layers and memory as bars: plain boxes, which wrap with the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from edgekit.report.html.durations import NAMES
from edgekit.report.html.plot import Axis, legend, number, plot, polyline

SHOWN = 20
"""Layers that are open at once; the rest unfolds."""


def layer_bars(groups: Sequence[Mapping[str, Any]]) -> str:
    """Return one row for each group of layers that computes the same nodes, the slowest first.

    Args:
        groups: `layers` of a profile's JSON.
    """
    longest = max((part["microseconds"] for group in groups for _, part in _parts(group)), default=0.0) or 1.0
    rows = [_layer(group, longest) for group in groups]
    rest = rows[SHOWN:]
    more = f"<details><summary>{len(rest)} smaller ones</summary>{''.join(rest)}</details>" if rest else ""
    return f'<div class="layers">{"".join(rows[:SHOWN])}{more}</div>'


def _parts(group: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(model, group[model]) for model in NAMES if group.get(model)]


def _layer(group: Mapping[str, Any], longest: float) -> str:
    nodes = group["nodes"]
    name = ", ".join(nodes[:3]) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")
    bars = "".join(
        f'<div class="bar"><i class="{model}" style="width:{part["microseconds"] / longest:.2%}"></i>'
        f"<span>{NAMES[model]} {number(part['microseconds'])} µs, {part['share']:.1%}, "
        f"{escape(part['precision'] or 'precision not told')}</span></div>"
        for model, part in _parts(group)
    )
    return f'<div class="layer"><b>{escape(name or "what no node stands for")}</b>{bars}</div>'


def memory_bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the peak resident memory of each model, split into what held it.

    Args:
        rows: `rows` of a profile's JSON.
    """
    held = [(row["model"], row["memory"]) for row in rows if row["memory"]]
    if not held:
        return "<p>This system does not tell what a process holds.</p>"
    highest = max(memory["peak"] for _, memory in held)
    bars = "".join(_memory(model, memory, highest) for model, memory in held)
    kinds = [("interpreter", "Python"), ("engine", "EdgeKit, OpenCV, engine"), ("model", "this model")]
    return legend(kinds) + f'<div class="layers">{bars}</div>'


def _memory(model: str, memory: Mapping[str, Any], highest: int) -> str:
    parts = {
        "interpreter": memory["interpreter"],
        "engine": memory["baseline"] - memory["interpreter"],
        "model": memory["peak"] - memory["baseline"],
    }
    boxes = "".join(
        f'<i class="{kind}" style="width:{max(0, size) / highest:.2%}" title="{kind} {size / 1e6:.1f} MB"></i>'
        for kind, size in parts.items()
    )
    told = f"{memory['peak'] / 1e6:.1f} MB at most, of these the model {parts['model'] / 1e6:.1f} MB"
    shared = memory.get("proportional")
    if shared:
        told += f"; shared pages counted by their share (PSS) {shared / 1e6:.1f} MB"
    return f'<div class="layer"><b>{NAMES[model]}</b><div class="stack">{boxes}</div><span>{told}</span></div>'


def growth(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return memory over runs, where that was watched."""
    lines = {
        row["model"]: row["memory"]["watched"]
        for row in rows
        if row["memory"] and len(row["memory"].get("watched") or []) > 1
    }
    if not lines:
        return ""
    x = Axis(0.0, max(points[-1][0] for points in lines.values()))
    sizes = [size / 1e6 for points in lines.values() for _, size in points]
    pad = 0.1 * (max(sizes) - min(sizes)) + 1.0
    y = Axis(max(0.0, min(sizes) - pad), max(sizes) + pad)
    body = [
        polyline([run for run, _ in points], [size / 1e6 for _, size in points], x, y, model)
        for model, points in lines.items()
    ]
    says = "Resident memory over runs"
    return (
        f"<h3>{says}</h3>"
        + legend((model, NAMES[model]) for model in lines)
        + plot(body, x, y, x_title="runs", y_title="MB", says=says)
    )


def ranking(entries: Iterable[tuple[str, float, str]]) -> Iterator[str]:
    """Yield rows of (name, value, text), each with a bar against the largest value."""
    entries = list(entries)
    highest = max((value for _, value, _ in entries), default=0.0) or 1.0
    for name, value, text in entries:
        yield (
            f'<div class="layer"><b>{escape(name)}</b><div class="bar">'
            f'<i class="int8" style="width:{max(0.0, value) / highest:.2%}"></i><span>{escape(text)}</span></div></div>'
        )
