"""A profile as a page for the terminal, 80 to 100 columns wide."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

NARROWEST, WIDEST = 80, 100
_ROOMY = 90

_PARTS = {
    "engine": "engine",
    "preprocess": "preprocessing",
    "postprocess": "post-processing",
    "end_to_end": "end to end",
}
_ABSENT = "-"


def profile_text(profile: Mapping[str, Any], width: int | None = None, *, color: bool = False) -> str:
    """Return the page of a profile as text.

    Args:
        profile: What `Profile.to_json` returns.
        width: Columns, of which 80 to 100 are used; none: those of the terminal.
        color: Whether terminal control codes may be in it.
    """
    stream = io.StringIO()
    columns = max(NARROWEST, min(WIDEST, width or shutil.get_terminal_size((WIDEST, 0)).columns))
    console = Console(file=stream, width=columns, force_terminal=color, highlight=False, emoji=False)
    console.print(profile_page(profile, gap=2 if console.width >= _ROOMY else 1))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def profile_page(profile: Mapping[str, Any], gap: int = 2) -> RenderableType:
    """Return the page of a profile, with `gap` columns between figures; see `profile_text`."""
    parts: list[RenderableType] = [_head(profile), Text(), _latency(profile, gap)]
    parts += [_hanging(mark, note, "dim") for mark, note in _notes(profile)]
    if any(row["memory"] for row in profile["rows"]):
        parts += [Text(), _memory(profile, gap), _hanging("model ", _MODEL_NOTE, "dim")]
    if profile["warnings"]:
        parts += [Text(), *(_hanging("! ", warning, "yellow") for warning in profile["warnings"])]
    return Group(*parts)


_MODEL_NOTE = "is peak - baseline: Python, EdgeKit, OpenCV and the engine, before this model is loaded"


def _head(profile: Mapping[str, Any]) -> RenderableType:
    config, target, machine = profile["config"], profile["target"], profile["machine"]
    options = ", ".join(f"{key} {value}" for key, value in config["options"].items())
    engine = f"{config['engine']} {machine['versions'].get(config['engine'], '')}".strip()
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column()
    grid.add_row("bundle", str(profile["bundle"]))
    grid.add_row("target", str(target["name"]))
    grid.add_row("engine", "; ".join(part for part in (engine, options, _threads(config["threads"])) if part))
    grid.add_row("machine", _machine(machine))
    grid.add_row("origin", Text(f"{profile['origin']}. {target['statement']}", "yellow" if _foreign(profile) else ""))
    return grid


def _foreign(profile: Mapping[str, Any]) -> bool:
    return not profile["target"]["is_this_machine"]


def _threads(threads: int) -> str:
    return {0: "threads as the engine chooses", 1: "1 thread"}.get(threads, f"{threads} threads")


def _machine(machine: Mapping[str, Any]) -> str:
    quiet = max(machine["noise_floor"][when]["cv"] for when in ("before", "after"))
    facts = [
        machine["board"],
        machine["cpu"],
        f"{len(machine['affinity'])} of {machine['cores']} cores",
        " ".join(machine["isa"]),
        "virtual" if machine["virtual"] else "",
        machine["system"],
        f"noise floor {quiet:.1%}",
    ]
    return "; ".join(fact for fact in facts if fact)


def _latency(profile: Mapping[str, Any], gap: int) -> Table:
    table = _table(f"Latency in ms, {profile['origin']}", gap)
    for name in ("p50", "95% interval", "p90", "p99", "p99.9", "max", "samples"):
        table.add_column(name, justify="right", no_wrap=True)
    decimals = _decimals(profile)
    for part, title in _PARTS.items():
        table.add_row(Text(title, "bold"), *[""] * 7)
        for row in profile["rows"]:
            latency = row["latency"][part]
            table.add_row(f"  {row['model']}", *_figures(latency, decimals), f"{latency['samples']:,}")
        if profile["speedup"].get(part):
            table.add_row("  speed-up", *_speedup(profile["speedup"][part]), *[""] * 5)
        table.add_section()
    return table


def _figures(latency: Mapping[str, Any], decimals: int) -> Iterator[str]:
    percentiles = latency["percentiles"]
    yield _percentile(percentiles["p50"], decimals)
    yield _range(percentiles["p50"]["interval_95"], decimals)
    for name in ("p90", "p99", "p99.9"):
        yield _percentile(percentiles[name], decimals)
    yield f"{latency['max']:.{decimals}f}"


def _percentile(percentile: Mapping[str, Any], decimals: int) -> str:
    if percentile["value"] is not None:
        return f"{percentile['value']:.{decimals}f}"
    return _ABSENT if percentile["upper_95"] is None else f"<{percentile['upper_95']:.{decimals}f}"


def _range(interval: list[float] | None, decimals: int) -> str:
    return f"{interval[0]:.{decimals}f}..{interval[1]:.{decimals}f}" if interval else _ABSENT


def _speedup(speedup: Mapping[str, Any]) -> tuple[Text, str]:
    interval = speedup["interval_95"]
    settled = interval is not None and not interval[0] <= 1 <= interval[1]
    style = "" if not settled else "green" if speedup["ratio"] > 1 else "red"
    return Text(f"x{speedup['ratio']:.2f}", style), _range(interval, 2)


def _decimals(profile: Mapping[str, Any]) -> int:
    """Return how many decimals the largest figure leaves room for: the same for all, so that they align."""
    largest = max(latency["max"] for row in profile["rows"] for latency in row["latency"].values())
    return 3 if largest < 100 else 2 if largest < 1000 else 1


def _notes(profile: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    percentiles = [
        (name, percentile)
        for row in profile["rows"]
        for latency in row["latency"].values()
        for name, percentile in latency["percentiles"].items()
        if percentile["value"] is None
    ]
    needed = {name: percentile["needed"] for name, percentile in percentiles}
    if needed:
        counts = ", ".join(f"{name} needs {count:,}" for name, count in needed.items())
        yield f"{_ABSENT} ", f"too few samples: {counts}"
    if any(percentile["upper_95"] is not None for _, percentile in percentiles):
        yield "< ", "too few samples for the percentile, but it lies below this with 95% confidence"


def _memory(profile: Mapping[str, Any], gap: int) -> Table:
    table = _table(f"Memory in MB, {profile['origin']} in a fresh process", gap)
    for name in ("peak RSS", "baseline", "model", "weights (counted)"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in profile["rows"]:
        memory = row["memory"]
        held = [_megabytes(memory[key]) if memory else _ABSENT for key in ("peak", "baseline", "model")]
        table.add_row(row["model"], *held, _megabytes(row["weight_bytes"], 2))
    return table


def _megabytes(size: int, decimals: int = 1) -> str:
    return f"{size / 1e6:,.{decimals}f}"


def _table(title: str, gap: int) -> Table:
    padding = (0, gap, 0, 0)
    table = Table(title=Text(title, "bold"), title_justify="left", box=None, padding=padding, header_style="dim")
    table.add_column(no_wrap=True)
    return table


def _hanging(mark: str, text: str, style: str) -> RenderableType:
    grid = Table.grid()
    grid.add_row(Text(mark, style), Text(text, style))
    return grid
