"""An estimate as a page for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 100
SHOWN = 12
"""Layers that are shown: those that may take longest."""

_ABSENT = "-"

_LEGEND = (
    "Ranges by the roofline model, not measurements: from what engines reach at best to what they reach at worst. "
    "`bound` is what a layer takes longest for."
)


def estimate_text(estimate: Mapping[str, Any]) -> str:
    """Return the page of an estimate.

    Args:
        estimate: What `Estimate.to_json` returns.
    """
    about = [
        ("model", f"{estimate['model']}: {estimate['macs'] / 1e9:.3f} GMAC, {_share(estimate)} of them in 8 bit"),
        ("target", f"{estimate['target']}: {estimate['title']}"),
        ("origin", f"{estimate['origin']}. {_LEGEND}"),
        ("peaks", estimate["peaks"]["origin"]),
        ("reached", estimate["efficiency"]["source"]),
    ]
    if estimate["fits_on_chip"] is not None:
        fits = "weights and the largest layer fit" if estimate["fits_on_chip"] else "the largest layer does not fit"
        about.append(("on chip", f"{fits} ({estimate['peaks']['on_chip_bytes'] / 1e6:.1f} MB)"))
    if estimate["missing"]:
        about.append(("missing", f"{', '.join(estimate['missing'])}: without them there is no time to estimate"))
    head = [line for label, text in about for line in _hanging(label, text)]
    return "\n".join([*head, "", *_whole(estimate), "", *_layers(estimate)])


def _whole(estimate: Mapping[str, Any]) -> list[str]:
    rows = [
        ("ms a run, estimated", estimate["floating_point"], "int8", "speed-up", "INT8 pays"),
        (
            "whole model",
            _ms(estimate["fp_ms"]),
            _ms(estimate["int8_ms"]),
            _ratio(estimate["speedup"]),
            estimate["int8_pays"],
        ),
    ]
    return _aligned(rows, right=(1, 2, 3))


def _layers(estimate: Mapping[str, Any]) -> list[str]:
    layers = sorted(estimate["layers"], key=lambda layer: -(layer["int8_ms"] or [0, layer["macs"]])[1])
    rows = [("layer", "operator", "in", "MMAC", "ms", "bound", "INT8 pays")]
    rows += [
        (
            _short(layer["name"]),
            layer["operator"],
            "int8" if layer["int8"] else estimate["floating_point"],
            f"{layer['macs'] / 1e6:.1f}",
            _ms(layer["int8_ms"]),
            layer["bound"],
            layer["int8_pays"] or _ABSENT,
        )
        for layer in layers[:SHOWN]
    ]
    left = len(layers) - SHOWN
    return [
        *_aligned(rows, right=(3, 4)),
        *([f"{left} smaller layers are left out here; --json has them."] * (left > 0)),
    ]


def _share(estimate: Mapping[str, Any]) -> str:
    return f"{estimate['int8_macs'] / estimate['macs']:.1%}" if estimate["macs"] else "none"


def _ms(pair: Sequence[float] | None) -> str:
    if pair is None:
        return _ABSENT
    decimals = 1 if pair[1] >= 10 else 2 if pair[1] >= 0.1 else 3
    return f"{pair[0]:.{decimals}f}..{pair[1]:.{decimals}f}"


def _ratio(pair: Sequence[float] | None) -> str:
    return f"x{pair[0]:.2f}..{pair[1]:.2f}" if pair else _ABSENT


def _short(name: str, width: int = 30) -> str:
    return name if len(name) <= width else "..." + name[3 - width :]


def _hanging(label: str, text: str) -> list[str]:
    lines = textwrap.wrap(text, WIDTH - 10) or [""]
    return [f"{label if number == 0 else '':<10}{line}" for number, line in enumerate(lines)]


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[int]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
