"""Draw an agreement matrix as heat maps: one of quantization steps, one for every figure of the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.report.agreement import Cells, figure_cells, step_cells
from edgekit.report.page import FADED, INK, PAPER, Color, Image, Page, png

_WIDTH = 1200
_MARGIN = 36
_LABELS = 420
_ROW = 30
_WIDEST = 90

# BGR; one hue that darkens is read alike by people who are colour-blind.
_FAR: Color = (148, 62, 8)
_SELF: Color = (240, 238, 236)


def heatmap_png(data: Mapping[str, Any], title: str) -> bytes:
    """Return the heat maps of `draw_heatmap` as a PNG file's bytes."""
    return png(draw_heatmap(data, title))


def draw_heatmap(data: Mapping[str, Any], title: str) -> Image:
    """Draw one heat map below the other.

    Args:
        data: What `Matrix.to_json` returns.
        title: What was compared.

    Returns:
        The picture, (H, 1200, 3) BGR; H grows with the number of replays and figures.
    """
    panels = [step_cells(data), *figure_cells(data)]
    count = len(data["replays"])
    pitch = 72 + count * _ROW
    page = Page(_WIDTH, 96 + len(panels) * pitch)
    page.text(_MARGIN, 44, page.shorten(title, _WIDTH - 2 * _MARGIN), size=0.74, bold=True)
    page.text(
        _MARGIN, 70, f"{len(data['frames'])} golden frames; darker is further apart; = is the same bit by bit", FADED
    )
    for index, cells in enumerate(panels):
        _draw(page, 96 + index * pitch, data["replays"], cells)
    return page.picture()


def _draw(page: Page, top: int, replays: Sequence[Mapping[str, str]], cells: Cells) -> None:
    page.text(_MARGIN, top + 18, cells.title, size=0.58, bold=True)
    width = min(_WIDEST, (_WIDTH - 2 * _MARGIN - _LABELS) // len(replays))
    left = _MARGIN + _LABELS
    for column in range(len(replays)):
        page.text(left + column * width + width // 2, top + 40, str(column + 1), FADED, align=0.5)
    for row, replay in enumerate(replays):
        y = top + 48 + row * _ROW
        label = f"{row + 1}  {replay['engine']}: {replay['model']}"
        page.text(_MARGIN, y + 20, page.shorten(label, _LABELS - 100))
        page.text(left - 12, y + 20, replay["origin"], FADED, align=1.0)
        for column in range(len(replays)):
            x = left + column * width
            places = (min(row, column), max(row, column))
            share = 0.0 if row == column else cells.share(places)
            color = _SELF if row == column else _shade(share)
            page.box(x, y, x + width - 2, y + _ROW - 2, color)
            if row != column:
                ink = PAPER if share > 0.5 else INK
                page.text(x + width // 2 - 1, y + 20, cells.texts.get(places, "-"), ink, size=0.4, align=0.5)


def _shade(share: float) -> Color:
    blue, green, red = (round(light + share * (dark - light)) for light, dark in zip(PAPER, _FAR, strict=True))
    return blue, green, red
