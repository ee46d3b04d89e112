"""The placement table as text."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.cli.terminal import table

if TYPE_CHECKING:
    from edgekit.placements import PlacementRow, PlacementTable, Times

_WIDTH = 100
_GROUP = 34
_WHY = 30
_IN_8_BIT = ("int8", "uint8")


def placement_text(placement: PlacementTable) -> str:
    """Return the rows that matter, at most 100 columns wide: the whole model, and what stays in floating point.

    What was timed has a row for each group; of the rest there is a line for each reason.
    """
    floating = [row for row in placement.rows if row.precision not in _IN_8_BIT]
    rows: list[tuple[str, ...]] = [("placement", "precision", "float us", "int8 us", "speed-up", "why")]
    if placement.whole is not None:
        rows.append(_times("whole model, by the rules", "", placement.whole.rules, _interval(placement.whole.rules)))
        rows.append(_times("whole model, as placed", "", placement.whole.placed, _interval(placement.whole.placed)))
        if placement.whole.bf16 is not None:
            bf16 = placement.whole.bf16
            rows.append(_times("as placed, against bf16", "", bf16, _interval(bf16)))
    rows += [_row(row) for row in floating if row.times is not None]
    rest = [row for row in placement.rows if row.precision in _IN_8_BIT]
    lines = [table(rows, right=(2, 3, 4))] if len(rows) > 1 else []
    nodes = sum(len(row.nodes) for row in rest)
    lines += [
        f"{nodes} layers with {placement.macs_share:.1%} of the multiplications are in 8 bit",
        *(line for row in _untimed(floating) for line in textwrap.wrap(row, _WIDTH)),
        *textwrap.wrap(_origin(placement), _WIDTH),
    ]
    return "\n".join(lines)


def _untimed(rows: Sequence[PlacementRow]) -> list[str]:
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if row.times is None:
            counts[row.precision, row.why.removeprefix("kept: ")] += len(row.nodes)
    return [
        f"{count} {'layer is' if count == 1 else 'layers are'} in {precision}: {why}"
        for (precision, why), count in counts.items()
    ]


def _origin(placement: PlacementTable) -> str:
    if placement.origin == "estimated":
        return "estimated, by the target's rules"
    cut = "" if placement.complete else "; the time was up before the search was through, --tune-seconds gives more"
    threads = (
        f"{placement.threads} thread{'' if placement.threads == 1 else 's'}" if placement.threads else "its threads"
    )
    return f"{placement.origin} with {placement.engine}, {threads}, in {placement.seconds:g} s{cut}"


def _row(row: PlacementRow) -> tuple[str, ...]:
    many = f" ({len(row.nodes)})" if len(row.nodes) > 1 else ""
    return _times(_end(row.group, _GROUP - len(many)) + many, row.precision, row.times, row.why)


def _times(name: str, precision: str, times: Times | None, why: str) -> tuple[str, ...]:
    shown = (
        ("-", "-", "-") if times is None else (f"{times.float_us:.0f}", f"{times.int8_us:.0f}", f"{times.speedup:.2f}")
    )
    return (name, precision, *shown, why if len(why) <= _WHY else f"{why[: _WHY - 3]}...")


def _interval(times: Times) -> str:
    return f"{times.low:.2f} to {times.high:.2f}"


def _end(name: str, most: int) -> str:
    """Return the end of a name: what tells layers apart stands there."""
    return name if len(name) <= most else f"...{name[3 - most :]}"
