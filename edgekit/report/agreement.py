"""An agreement matrix as a page for the terminal, at most 100 columns wide."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

WIDTH = 100

Places = tuple[int, int]

_IDENTICAL = "="
_TITLES = {
    "f1": "F1",
    "lateral_px": "Lateral shift in px",
    "sqnr_db": "SQNR in dB",
    "order_change": "Order change",
    "ndcg": "NDCG",
    "auc": "AUC of the head",
    "top_overlap": "Overlap of the head",
}


@dataclass(frozen=True)
class Cells:
    """One figure for every pair of replays.

    Attributes:
        title: What the figure is.
        texts: Places of two replays to the figure as it is written; pairs that have none are missing.
        far: Places to how far apart that is, 0 for not at all.
    """

    title: str
    texts: Mapping[Places, str]
    far: Mapping[Places, float]

    def share(self, places: Places) -> float:
        """Return how far two lie apart, from 0 to 1 for the furthest of all, by the square root: most are near."""
        largest = max(self.far.values(), default=0.0)
        return math.sqrt(self.far.get(places, 0.0) / largest) if largest else 0.0


_LIST_WORDS = {
    "order_change": "order change {}",
    "ndcg": "NDCG {}",
    "auc": "AUC {}",
    "top_overlap": "overlap {}",
}


def step_cells(data: Mapping[str, Any]) -> Cells:
    """Return the largest difference over all outputs, in quantization steps."""
    far = {places: max(pair["largest_steps"].values()) for places, pair in _pairs(data).items()}
    texts = {places: _IDENTICAL if _same(pair) else _short(far[places]) for places, pair in _pairs(data).items()}
    return Cells("Largest difference in quantization steps", texts, far)


def figure_cells(data: Mapping[str, Any]) -> list[Cells]:
    """Return every figure of the task."""
    pairs = _pairs(data)
    names = list(dict.fromkeys(name for pair in pairs.values() for name in pair["figures"]))
    return [_figure(name, pairs) for name in names]


def _figure(name: str, pairs: Mapping[Places, Mapping[str, Any]]) -> Cells:
    known = {places: pair["figures"][name] for places, pair in pairs.items() if name in pair["figures"]}
    texts = {places: _written(name, value) for places, value in known.items()}
    texts |= {places: _IDENTICAL for places, pair in pairs.items() if _same(pair)}
    far = {places: _distance(name, value) for places, value in known.items()}
    return Cells(_TITLES.get(name, f"IoU of {name.removeprefix('iou_')}"), texts, far)


def _distance(name: str, value: float) -> float:
    if name == "sqnr_db":
        return float(10.0 ** (-value / 20.0))
    return value if name in ("lateral_px", "order_change") else 1.0 - value


def _written(name: str, value: float) -> str:
    if name == "sqnr_db":
        return f"{value:.0f}"
    if name == "order_change":
        return f"{value:.2%}"
    return _short(value) if name == "lateral_px" else f"{value:.3f}"


def _short(value: float) -> str:
    """Write with two or three digits that count; what is not zero is not written as zero."""
    if 0.0 < value < 0.005:
        return "<0.01"
    if value >= 99.5:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def _same(pair: Mapping[str, Any]) -> bool:
    return bool(pair["identical"] == 1.0)


def _pairs(data: Mapping[str, Any]) -> dict[Places, Mapping[str, Any]]:
    return {(pair["between"][0], pair["between"][1]): pair for pair in data["distances"]}


def agreement_text(data: Mapping[str, Any], *, color: bool = False) -> str:
    """Return the page of a matrix as text.

    Args:
        data: What `Matrix.to_json` returns.
        color: Whether terminal control codes may be in it.
    """
    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, force_terminal=color, highlight=False, emoji=False)
    console.print(_page(data))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _page(data: Mapping[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [
        _head(data),
        *_titled("To floating point, and to the same model in ONNX Runtime here", _replays(data)),
    ]
    cells = [*figure_cells(data), step_cells(data)]
    for first in range(0, len(cells), 2):
        shown = cells[first : first + 2]
        titles = zip(("Above the diagonal: ", "; below: "), shown, strict=False)
        parts += _titled("".join(f"{where}{each.title}" for where, each in titles), _triangles(data, *shown))
    if data["absent"]:
        parts += _titled("Not here", _absent(data))
    return Group(*parts)


def _titled(title: str, table: Table) -> list[RenderableType]:
    return [Text(), Text(title, "bold"), table]


def _head(data: Mapping[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column()
    grid.add_row("source", f"{data['source']}, for {data['target']}, recipe {data['recipe']}")
    grid.add_row("golden inputs", ", ".join(data["frames"]))
    steps = (f"{name} {step['size']:.4g} ({step['source']})" for name, step in data["steps"].items())
    grid.add_row("one step", ", ".join(steps))
    return grid


def _replays(data: Mapping[str, Any]) -> Table:
    table = _table()
    table.add_column("", justify="right")
    table.add_column("engine")
    table.add_column("model", overflow="fold")
    table.add_column("origin", no_wrap=True)
    for title in ("to floating point", "to the same model"):
        table.add_column(title)
    for title in ("steps", "equal"):
        table.add_column(title, justify="right", no_wrap=True)
    pairs = _pairs(data)
    for place, replay in enumerate(data["replays"]):
        same = replay["same_model_in_onnxruntime"]
        cells = [str(place + 1), replay["engine"], replay["model"], replay["origin"]]
        cells.append(_task_text(pairs[0, place]) if place else "reference")
        if same is None:
            cells += ["reference" if place else "", "", ""]
        else:
            pair = pairs[same, place]
            verdict = "DISAGREES: " if replay["disagreement"] else ""
            largest = _short(max(pair["largest_steps"].values()))
            cells += [verdict + _task_text(pair), largest, f"{math.floor(pair['identical'] * 1000) / 10:.1f} %"]
        table.add_row(*cells, style="red" if replay["disagreement"] else None)
    return table


def _task_text(pair: Mapping[str, Any]) -> str:
    if _same(pair):
        return "the same"
    words = {"f1": "F1 {}", "lateral_px": "{} px", "sqnr_db": "{} dB", **_LIST_WORDS}
    return ", ".join(
        words.get(name, f"IoU {name.removeprefix('iou_')} {{}}").format(_written(name, value))
        for name, value in pair["figures"].items()
    )


def _triangles(data: Mapping[str, Any], above: Cells, below: Cells | None = None) -> Table:
    """Show one figure above the diagonal and another below it."""
    table, count = _table(), len(data["replays"])
    table.add_column("", justify="right")
    table.add_column("")
    for place in range(count):
        table.add_column(str(place + 1), justify="right", no_wrap=True)
    for row, replay in enumerate(data["replays"]):
        cells = []
        for column in range(count):
            shown = above if column > row else below
            places = (min(row, column), max(row, column))
            cells.append("" if row == column or shown is None else shown.texts.get(places, "-"))
        table.add_row(str(row + 1), replay["origin"], *cells)
    return table


def _absent(data: Mapping[str, Any]) -> Table:
    table = _table()
    table.add_column("engine", no_wrap=True)
    table.add_column("why")
    for one in data["absent"]:
        table.add_row(one["engine"], one["reason"])
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
