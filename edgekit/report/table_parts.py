"""The tables of a profile below that of the latencies: deadline, layers, memory."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

ABSENT = "-"

LAYERS_SHOWN = 8
_NODES_WIDTH = 34
_FITS = {True: "fits", False: "does not fit", None: "is not known to fit"}


def new_table(title: str, gap: int) -> Table:
    """Return an empty table whose first column names the rows, with `gap` columns between figures."""
    padding = (0, gap, 0, 0)
    table = Table(title=Text(title, "bold"), title_justify="left", box=None, padding=padding, header_style="dim")
    table.add_column(no_wrap=True)
    return table


def deadline_table(profile: Mapping[str, Any], gap: int) -> Table:
    """Return how often frames missed their deadline."""
    table = new_table(f"Frames that missed the deadline of {profile['config']['deadline_ms']:g} ms, end to end", gap)
    _columns(table, "frames", "missed", "dropped", "share", "95% interval", "in a row")
    for row in profile["rows"]:
        found = row["deadline"]
        interval = found["interval_95"]
        table.add_row(
            row["model"],
            *(f"{found[key]:,}" for key in ("frames", "missed", "dropped")),
            Text(f"{found['rate']:.2%}", "red" if found["missed"] else "green"),
            f"{interval[0]:.2%}..{interval[1]:.2%}" if interval else ABSENT,
            f"{found['longest_run']:,}",
        )
    return table


def layer_table(profile: Mapping[str, Any], gap: int) -> Table:
    """Return the layers that take longest, floating point beside INT8."""
    shown, models = profile["layers"][:LAYERS_SHOWN], [row["model"] for row in profile["rows"]]
    title = f"Layers in us under the engine's own profiler: {len(shown)} of {len(profile['layers'])}, slowest first"
    table = new_table(title, gap)
    for model in models:
        _columns(table, model, "share", "as")
    for group in shown:
        cells: list[str] = []
        for model in models:
            part = group.get(model)
            cells += (
                [f"{part['microseconds']:,.0f}", f"{part['share']:.0%}", part["precision"]] if part else ["", "", ""]
            )
        table.add_row(_shortened(group), *cells)
    return table


def _shortened(group: Mapping[str, Any]) -> str:
    """Return the nodes of a group in few letters: names of exported models are paths whose ends tell them apart."""
    nodes: list[str] = group["nodes"]
    if not nodes:
        kinds: str = next(part["kinds"] for model in ("int8", "fp") if (part := group.get(model)))
        return f"({kinds})"[:_NODES_WIDTH]
    more = f" +{len(nodes) - 1}" if len(nodes) > 1 else ""
    room = _NODES_WIDTH - len(more)
    return (nodes[0] if len(nodes[0]) <= room else ".." + nodes[0][2 - room :]) + more


def memory_table(profile: Mapping[str, Any], gap: int) -> Table:
    """Return what a process holds, and what weights and activations take."""
    table = new_table(f"Memory in MB, {profile['origin']} in a fresh process", gap)
    _columns(table, "peak RSS", "PSS", "baseline", "model", "weights", "activations", "growth a run")
    for row in profile["rows"]:
        memory, arena = row["memory"], row["arena"]
        keys = ("peak", "proportional", "baseline", "model")
        table.add_row(
            row["model"],
            *(_megabytes(memory[key] if memory else None) for key in keys),
            _megabytes(row["weight_bytes"], 2),
            _megabytes(arena["planned"] if arena else None, 2),
            _growth(memory),
        )
    return table


def memory_notes(profile: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (mark, what a column means)."""
    if any(row["memory"] for row in profile["rows"]):
        yield "model ", "is peak - baseline: Python, EdgeKit, OpenCV and the engine, before this model is loaded"
    yield "weights ", "are counted in the model's file; activations are estimated from its graph"
    if any(row["gpu_memory"] is not None for row in profile["rows"]):
        told = ", ".join(f"{row['model']} {_megabytes(row['gpu_memory'])} MB" for row in profile["rows"])
        yield "GPU ", f"memory that was taken when the engine was loaded: {told}"
    on_chip = profile["target"]["on_chip_bytes"]
    if on_chip:
        fits = ", ".join(
            f"{row['model']} {'fits' if row['on_chip']['both_fit'] else 'does not fit'}" for row in profile["rows"]
        )
        yield "on chip ", f"{_megabytes(on_chip)} MB on {profile['target']['name']} (estimated): {fits} with both"
    for row in profile["rows"]:
        if row["energy"]:
            yield (
                "energy ",
                f"{row['model']}: {row['energy']['joules_per_frame']:.3g} J a frame ({row['energy']['source']})",
            )


def estimates_text(estimates: Sequence[Mapping[str, Any]]) -> str:
    """Return what targets that are not here would take, one a line, as text; those without an estimate in the end."""
    table = new_table("Other targets in ms, estimated: engines at their best to engines at their worst", 2)
    _columns(table, "engine", "fp", "int8", "speed-up", "int8 pays")
    known = [each for each in estimates if each["fp_ms"] or each["int8_ms"]]
    for each in known:
        ranges = (_pair(each["fp_ms"]), _pair(each["int8_ms"]), _pair(each["speedup"]))
        table.add_row(each["target"], each["engine"], *ranges, str(each["int8_pays"]))
    stream = io.StringIO()
    console = Console(file=stream, width=100, highlight=False, emoji=False)
    if known:
        console.print(table)
    if others := [each["target"] for each in estimates if each not in known]:
        console.print(f"Not estimated, for want of peak figures in the target's descriptor: {', '.join(others)}")
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _pair(figures: Sequence[float] | None) -> str:
    return f"{figures[0]:.3g}..{figures[1]:.3g}" if figures else ABSENT


def _growth(memory: Mapping[str, Any] | None) -> str:
    growth = memory["growth"] if memory else None
    if growth is None:
        return ABSENT
    if growth["leaks"]:
        return f"{growth['bytes_per_run']:,.0f} B"
    return "none"


def _megabytes(size: int | None, decimals: int = 1) -> str:
    return ABSENT if size is None else f"{size / 1e6:,.{decimals}f}"


def _columns(table: Table, *names: str) -> None:
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
