"""A profile as a page for the terminal, 80 to 100 columns wide."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgekit.report.table_parts import ABSENT, deadline_table, layer_table, memory_notes, memory_table, new_table

NARROWEST, WIDEST = 80, 100
_ROOMY = 90
_JITTER = ["jitter"]
"""There is room for it where there is for wider gaps."""

PERCENTILES = ("p50", "p90", "p99", "p99.9")

_PARTS = {
    "wait": "waiting for the engine",
    "engine": "engine",
    "device": "engine, by the device's clock",
    "preprocess": "preprocessing",
    "postprocess": "post-processing",
    "end_to_end": "end to end",
}


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
    if any(row["latency"]["end_to_end"]["percentiles"]["p99"]["interval_95"] for row in profile["rows"]):
        parts += [Text(), _intervals(profile, gap)]
    if profile["config"]["deadline_ms"]:
        parts += [Text(), deadline_table(profile, gap)]
    if profile["layers"]:
        parts += [Text(), layer_table(profile, gap)]
    parts += [
        Text(),
        memory_table(profile, gap),
        *(_hanging(mark, note, "dim") for mark, note in memory_notes(profile)),
    ]
    if profile["findings"]:
        found = [
            f"{each['model']} {_PARTS.get(each['part'], each['part'])}: {each['statement']}"
            for each in profile["findings"]
        ]
        parts += [Text(), Text("Found", "bold"), *(_hanging("! ", text, "yellow") for text in found)]
    if profile["warnings"]:
        parts += [Text(), *(_hanging("! ", warning, "yellow") for warning in profile["warnings"])]
    return Group(*parts)


def _head(profile: Mapping[str, Any]) -> RenderableType:
    config, target, machine = profile["config"], profile["target"], profile["machine"]
    options = ", ".join(f"{key} {value}" for key, value in config["options"].items())
    engine = f"{config['engine']} {machine['versions'].get(config['engine'], '')}".strip()
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column()
    if profile["partial"]:
        grid.add_row("PARTIAL", Text(f"What was measured until it ended: {profile['partial']}", "red"))
    grid.add_row("bundle", str(profile["bundle"]))
    grid.add_row("target", str(target["name"]))
    grid.add_row("engine", "; ".join(part for part in (engine, options, _threads(config["threads"])) if part))
    grid.add_row("schedule", f"{config['schedule']['name']}; rigor {config['rigor']}")
    grid.add_row("machine", _machine(machine))
    if board := profile["remote"]:
        grid.add_row("board", f"{board['host']}, host key {board['host_key']}")
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
        *_state(machine),
        machine["system"],
        f"noise floor {quiet:.1%}",
    ]
    return "; ".join(fact for fact in facts if fact)


def _state(machine: Mapping[str, Any]) -> Iterator[str]:
    after = machine["after"]
    yield f"governor {', '.join(machine['governor'])}" if machine["governor"] else ""
    yield f"{after['frequency_mhz']:.0f} MHz" if after["frequency_mhz"] else ""
    yield f"{after['temperature_c']:.0f} C" if after["temperature_c"] else ""
    yield f"load {after['load']:g}" if after["load"] is not None else ""


def _latency(profile: Mapping[str, Any], gap: int) -> Table:
    table = new_table(f"Latency in ms, {profile['origin']}", gap)
    figures = ["p50", "95% interval", "p90", "p99", "p99.9", "max", *_JITTER[: gap - 1], "samples"]
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    decimals = _decimals(profile)
    for part, title in _PARTS.items():
        if any(part not in row["latency"] for row in profile["rows"]):
            continue
        table.add_row(Text(title, "bold"))
        for row in profile["rows"]:
            latency = row["latency"][part]
            table.add_row(
                f"  {row['model']}", *_figures(latency, decimals)[: len(figures) - 1], f"{latency['samples']:,}"
            )
        if profile["speedup"].get(part):
            table.add_row("  speed-up", *_speedup(profile["speedup"][part]))
        table.add_section()
    return table


def _intervals(profile: Mapping[str, Any], gap: int) -> Table:
    table = new_table("95% intervals of percentiles, end to end, in ms", gap)
    decimals = _decimals(profile)
    for name in PERCENTILES:
        table.add_column(name, justify="right", no_wrap=True)
    for row in profile["rows"]:
        percentiles = row["latency"]["end_to_end"]["percentiles"]
        table.add_row(row["model"], *(_range(percentiles[name]["interval_95"], decimals) for name in PERCENTILES))
    return table


def _figures(latency: Mapping[str, Any], decimals: int) -> list[str]:
    percentiles, jitter = latency["percentiles"], latency["jitter"]["successive"]["value"]
    return [
        _percentile(percentiles["p50"], decimals),
        _range(percentiles["p50"]["interval_95"], decimals),
        *(_percentile(percentiles[name], decimals) for name in ("p90", "p99", "p99.9")),
        f"{latency['max']:.{decimals}f}",
        ABSENT if jitter is None else f"{jitter:.{decimals}f}",
    ]


def _percentile(percentile: Mapping[str, Any], decimals: int) -> str:
    if percentile["value"] is not None:
        return f"{percentile['value']:.{decimals}f}"
    return ABSENT if percentile["upper_95"] is None else f"<{percentile['upper_95']:.{decimals}f}"


def _range(interval: list[float] | None, decimals: int) -> str:
    return f"{interval[0]:.{decimals}f}..{interval[1]:.{decimals}f}" if interval else ABSENT


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
        yield f"{ABSENT} ", f"too few samples: {counts}"
    if any(percentile["upper_95"] is not None for _, percentile in percentiles):
        yield "< ", "too few samples for the percentile, but it lies below this with 95% confidence"


def _hanging(mark: str, text: str, style: str) -> RenderableType:
    grid = Table.grid()
    grid.add_row(Text(mark, style), Text(text, style))
    return grid
