"""Draw a sensitivity analysis: how much each head, group of layers and layer distorts when it alone is quantized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.errors import ArtifactError
from edgekit.report.page import FADED, INK, Color, Image, Page, png

SCHEMA_VERSION = 2

# BGR; the bars' colours are of Okabe and Ito's palette, which stays distinct to people who are colour-blind.
_GRID: Color = (232, 229, 226)
_WHOLE: Color = (178, 114, 0)
_FOREGROUND: Color = (0, 94, 213)
_BACKGROUND: Color = (233, 180, 86)
_LAYER: Color = (214, 168, 105)

_WIDTH = 1200
_MARGIN = 36
_LABELS = 380
_VALUES = 150


@dataclass(frozen=True)
class _Bar:
    """One line of the chart."""

    label: str
    value: float
    color: Color
    share: float | None = None
    height: int = 16
    indent: int = 0
    faded: bool = False


@dataclass(frozen=True)
class _Block:
    """Bars under one heading, with a legend of (word, colour)."""

    heading: str
    bars: tuple[_Bar, ...]
    legend: tuple[tuple[str, Color], ...]


def sensitivity_png(data: Mapping[str, Any], title: str) -> bytes:
    """Return the chart of `draw_sensitivity` as a PNG file's bytes."""
    return png(draw_sensitivity(data, title))


def draw_sensitivity(data: Mapping[str, Any], title: str) -> Image:
    """Draw horizontal bars: heads in one block, groups with their layers in another.

    Args:
        data: What `edgekit.calibration.selection.sensitivity.Sensitivity.to_json` returns.
        title: What was analysed, for instance model and target.

    Returns:
        The picture, (H, 1200, 3) BGR; H grows with the number of bars.

    Raises:
        ArtifactError: The data is of another schema.
    """
    if data.get("schema_version") != SCHEMA_VERSION:
        raise ArtifactError(
            problem="This sensitivity analysis cannot be drawn.",
            found=f"schema version {data.get('schema_version')}; this EdgeKit draws {SCHEMA_VERSION}",
            fix="Draw it with the version that wrote it, or analyse again.",
        )
    unit = f" {data['unit']}" if data["unit"] else ""
    blocks = [_heads(data, unit), _layers(data, unit)]
    longest = max([bar.value for block in blocks for bar in block.bars], default=0.0)
    page = Page(_WIDTH, _height(blocks))
    page.text(_MARGIN, 44, title, size=0.74, bold=True)
    alone = "only this has 4 bit, other layers 8" if data["precision"] == "4 bit" else "only this is quantized"
    everything = f"everything in {data['precision']}: {data['everything']:.2f}{unit}"
    page.text(_MARGIN, 70, f"Distortion when {alone}; {everything}; {len(data['frames'])} frames", FADED)
    y = 96
    for block in blocks:
        y = _draw_block(page, block, y, _round_up(longest), unit)
    return page.picture()


def _heads(data: Mapping[str, Any], unit: str) -> _Block:
    bars = []
    for head in data["heads"]:
        bars.append(_Bar(f"{head['name']}  ({head['role']})", head["distortion"], _WHOLE))
        for part, color in (("foreground", _FOREGROUND), ("background", _BACKGROUND)):
            bars.append(_Bar(part, head[part], color, height=9, indent=20, faded=True))
    legend = (("whole head", _WHOLE), ("where lanes are read", _FOREGROUND), ("elsewhere", _BACKGROUND))
    return _Block("Heads", tuple(bars), legend)


def _layers(data: Mapping[str, Any], unit: str) -> _Block:
    bars = []
    inside = {layer["name"]: layer for layer in data["layers"]}
    for group in data["groups"]:
        several = len(group["nodes"]) > 1
        label = f"{group['name']}  ({len(group['nodes'])} layers)" if several else group["name"]
        bars.append(_Bar(label, group["only"], _WHOLE, group["macs_share"], faded=group["without"] is None))
        told = [inside[node] for node in group["nodes"] if node in inside and several]
        # Harmless layers are in the JSON; here they would bury the others.
        harmful = [layer for layer in told if layer["without"] is not None]
        for layer in harmful:
            label = _without_prefix(layer["name"], group["name"])
            bars.append(_Bar(label, layer["only"], _LAYER, layer["macs_share"], height=9, indent=20, faded=True))
        if len(told) > len(harmful):
            rest = [layer["only"] for layer in told if layer["without"] is None]
            label = f"{len(rest)} {'other' if harmful else 'harmless'} layer{'s, at most' if len(rest) > 1 else ''}"
            bars.append(_Bar(label, max(rest), _GRID, height=9, indent=20, faded=True))
    return _Block("Layers, in the order of the graph", tuple(bars), (("group", _WHOLE), ("layer", _LAYER)))


def _without_prefix(name: str, group: str) -> str:
    return name.removeprefix(group).lstrip("/.") or name


def _draw_block(page: Page, block: _Block, y: int, limit: float, unit: str) -> int:
    """Draw a block from y on; returns where the next may begin."""
    page.text(_MARGIN, y + 22, block.heading, size=0.58, bold=True)
    x = _MARGIN + _LABELS
    for word, color in block.legend:
        page.box(x, y + 12, x + 14, y + 22, color)
        page.text(x + 20, y + 22, word, FADED)
        x += 44 + page.width(word)
    top = y + 40
    bottom = top + sum(_pitch(bar) for bar in block.bars)
    left, right = _MARGIN + _LABELS, _WIDTH - _MARGIN - _VALUES
    for tick in np.linspace(0.0, limit, 5):
        place = left + round((right - left) * float(tick) / limit)
        page.box(place, top - 4, place + 1, bottom, _GRID)
        page.text(place, bottom + 16, f"{tick:.3g}{unit if tick == limit else ''}", FADED, align=0.5)
    y = top
    for bar in block.bars:
        middle = y + _pitch(bar) // 2
        ink = FADED if bar.faded else INK
        page.text(left - 12, middle + 5, page.shorten(bar.label, _LABELS - 12 - bar.indent), ink, align=1.0)
        end = left + max(1, round((right - left) * bar.value / limit))
        page.box(left, middle - bar.height // 2, end, middle + (bar.height + 1) // 2, bar.color)
        page.text(right + 54, middle + 5, f"{bar.value:.2f}", ink, align=1.0)
        if bar.share is not None:
            page.text(_WIDTH - _MARGIN, middle + 5, f"{bar.share:.1%} MACs", ink, align=1.0)
        y += _pitch(bar)
    return bottom + 44


def _pitch(bar: _Bar) -> int:
    return bar.height + 10


def _height(blocks: Sequence[_Block]) -> int:
    return 110 + sum(84 + sum(_pitch(bar) for bar in block.bars) for block in blocks)


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 4, 6, 8 times a power of ten, so that quarters of it are short numbers."""
    if value <= 0.0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 2, 4, 6, 8, 10) if value <= step * power * (1 + 1e-9)))
