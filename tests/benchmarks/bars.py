"""What the method has to reach, and whether it did: computed from the rows of the accuracy benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.benchmarks.judging import CASES

EFFORTS = ("edgekit-quick", "edgekit-standard")
COLUMNS = ("bf16", *EFFORTS)
"""Beside the efforts, what no quantization gives: a bar that bf16 misses asks for more than half precision has."""
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """What one tool reached on one model in one engine.

    Attributes:
        model: The model.
        engine: The engine, or the target whose scheme it is.
        tool: The tool; "float32" is the reference.
        figures: Of the agreement with float32: f1, lateral_px, iou_<label>.
        recall: Share of labelled lanes found.
        speedup: Time of float32 over its time.
        milliseconds: Median time of one run.
        seconds: What quantizing took.
        peak_rss_mb: The highest memory of the process that quantized.
        macs_share: Share of the multiply-accumulates in INT8.
        refused: Why there are no figures.
    """

    model: str
    engine: str
    tool: str
    figures: Mapping[str, float] = field(default_factory=dict)
    recall: float | None = None
    speedup: float | None = None
    milliseconds: float | None = None
    seconds: float | None = None
    peak_rss_mb: float | None = None
    macs_share: float | None = None
    refused: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of one model and engine, by tool."""

    rows: Mapping[str, Row]

    def value(self, tool: str, name: str) -> float | None:
        """Return a figure or a field of a tool's row; none where it is not known."""
        row = self.rows.get(tool)
        if row is None:
            return None
        value: float | None = row.figures[name] if name in row.figures else getattr(row, name, None)
        return value

    def ratio(self, tool: str, name: str, other: str) -> float | None:
        """Return a tool's figure over another tool's."""
        one, two = self.value(tool, name), self.value(other, name)
        return one / two if one is not None and two else None

    def recall_points(self, tool: str) -> float | None:
        """Return how far a tool's recall lies from float32's, in points."""
        one, two = self.value(tool, "recall"), self.value("float32", "recall")
        return 100 * abs(one - two) if one is not None and two is not None else None


@dataclass(frozen=True)
class Bar:
    """A limit on a figure.

    Attributes:
        title: What is limited.
        limit: The limit.
        measure: A tool's value in the table of its model and engine; none where it was not measured.
        at_least: Whether the value has to be at least the limit, or at most.
        form: How numbers are written.
        efforts: The tools that it holds for.
    """

    title: str
    limit: float
    measure: Callable[[Table, str], float | None]
    at_least: bool = True
    form: str = ".4f"
    efforts: tuple[str, ...] = EFFORTS

    def text(self) -> str:
        return f"{self.title} {'>=' if self.at_least else '<='} {self.limit:g}"

    def verdict(self, table: Table, tool: str) -> str:
        """Return a tool's value and whether it reaches the limit; the value is not rounded for that."""
        if tool not in self.efforts:
            return "-"
        value = self.measure(table, tool)
        if value is None:
            return NOT_MEASURED if tool in EFFORTS else "-"
        reached = value >= self.limit if self.at_least else value <= self.limit
        return f"{format(value, self.form)} {'reached' if reached else '**not reached**'}"


def _figure(title: str, name: str, limit: float, at_least: bool = True, form: str = ".4f") -> Bar:
    return Bar(title, limit, lambda table, tool: table.value(tool, name), at_least, form)


def _agreement(title: str, name: str, limit: float, at_least: bool = True, form: str = ".4f") -> Bar:
    return replace(_figure(title, name, limit, at_least, form), efforts=COLUMNS)


def _f1() -> Bar:
    return _agreement("F1", "f1", 0.998)


def _shift(limit: float) -> Bar:
    return _agreement("shift in px", "lateral_px", limit, at_least=False, form=".3f")


def _iou(limit: float) -> tuple[Bar, ...]:
    return tuple(_agreement(f"IoU of the {label} mask", f"iou_{label}", limit) for label in ("lane", "drivable"))


RECALL = Bar("recall, points from float32", 1.0, lambda table, tool: table.recall_points(tool), False, ".2f", COLUMNS)
SPEED = Bar("speed, of NNCF's", 0.95, lambda table, tool: table.ratio(tool, "speedup", "nncf"), form=".3f")
MACS = _figure("share of MACs in INT8", "macs_share", 0.9, form=".3f")
MEMORY = _figure("peak memory in MB", "peak_rss_mb", 2048, at_least=False, form=".0f")
QUICK = Bar(
    "quantizing time, of NNCF's",
    1.5,
    lambda table, tool: table.ratio(tool, "seconds", "nncf"),
    at_least=False,
    form=".2f",
    efforts=("edgekit-quick",),
)


def _standard(seconds: float) -> Bar:
    return Bar(
        "quantizing time in s",
        seconds,
        lambda table, tool: table.value(tool, "seconds"),
        at_least=False,
        form=".0f",
        efforts=("edgekit-standard",),
    )


BARS: dict[tuple[str, str], tuple[Bar, ...]] = {
    ("openvino", "lstr-culane"): (_f1(), RECALL, _shift(1.2), SPEED, QUICK, _standard(240), MEMORY),
    ("openvino", "quantlanenet-tusimple"): (_f1(), _shift(0.4), SPEED, QUICK, _standard(240), MEMORY),
    ("openvino", "pinetq"): (_f1(), _shift(0.35), SPEED, QUICK, _standard(240), MEMORY),
    ("openvino", "twinlitenet-bdd100k"): (*_iou(0.97), SPEED, QUICK, _standard(720), MEMORY),
    ("jetson-orin", "lstr-culane"): (_f1(), RECALL, _shift(1.2), MACS, _standard(240), MEMORY),
    ("jetson-orin", "quantlanenet-tusimple"): (_f1(), _shift(0.6), MACS, _standard(240), MEMORY),
    ("jetson-orin", "pinetq"): (_f1(), _shift(0.35), MACS, _standard(240), MEMORY),
    ("jetson-orin", "twinlitenet-bdd100k"): (*_iou(0.95), MACS, _standard(720), MEMORY),
}
"""(engine, model) to its bars."""


def verdicts(rows: Sequence[Row]) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Return (engine, model, bar, verdict per column) for every bar of a model that has rows."""
    found = []
    for engine in dict.fromkeys(engine for engine, _ in BARS):
        for case in CASES:
            mine = {row.tool: row for row in rows if (row.engine, row.model) == (engine, case.model)}
            for bar in BARS[engine, case.model] if mine else ():
                told = tuple(bar.verdict(Table(mine), tool) for tool in COLUMNS)
                found.append((engine, case.model, bar.text(), told))
    return found
