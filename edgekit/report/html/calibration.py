"""A calibration as one HTML page: what the task lost, where, and which frames show it worst."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit.report.html.bars import ranking
from edgekit.report.html.page import cards, facts, page, section, table
from edgekit.report.html.plot import number

WORST = 30
"""Frames that are listed."""

_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}
SAME_FRAMES = "the same that were calibrated on: there are too few to hold some out"
_NAMES = {
    "f1": "F1",
    "iou": "IoU",
    "lateral_px": "lateral shift, px",
    "sqnr_db": "SQNR, dB",
    "order_change": "order change",
    "ndcg": "NDCG",
    "auc": "AUC of the head",
    "top_overlap": "overlap of the head",
}


def calibration_html(folder: Path, about: Mapping[str, str], report: Mapping[str, Any]) -> str:
    """Return the page of a calibration.

    Args:
        folder: The calibration; pictures in it become part of the page.
        about: What else is to be said of it, by name.
        report: The content of report.json.
    """
    agreement, quantized = report["agreement"], report["quantized"]
    return page(
        f"Calibration {folder.resolve().name}",
        f"{report['model']['file']} for {about['target']}, {quantized['bits']}",
        agreement["origin"],
        [
            cards(_headline(report)),
            section("Gates", _gates(report), f"Agreement with {agreement['reference']}, measured with "
                    f"{agreement['engine']} on {agreement['frames']} frames, "
                    f"{'held out' if agreement['held_out'] else SAME_FRAMES}."),
            section("Worst frames", _pictures(folder)),
            section("What quantizing each layer costs", _picture(folder / "sensitivity.png", "sensitivities")),
            section("Distortion by frame", _frames(agreement["per_frame"])),
            section("Details", facts(_details(about, report))),
        ],
    )  # fmt: skip


def _headline(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, value in report["agreement"]["figures"].items():
        yield _named(name), number(value), "against floating point"
    quantized = report["quantized"]
    told = f"{quantized['nodes']} of {quantized['nodes_with_weights']} layers with weights"
    yield "computed in 8 bit", f"{quantized['macs_share']:.1%}", f"of the multiplications; {told}"
    yield "distortion", number(report["agreement"]["distortion"]), "a frame"


def _named(figure: str) -> str:
    return _NAMES.get(figure, figure.replace("iou_", "IoU "))


def _gates(report: Mapping[str, Any]) -> str:
    rows = [
        (
            _named(gate["name"]),
            number(gate["limit"]),
            number(gate["value"]),
            "kept" if gate["passed"] else "FAILED",
        )
        for gate in report["gates"]
    ]
    return table(("gate", "limit", "found", ""), rows) if rows else "<p>There are no gates.</p>"


def _frames(per_frame: Mapping[str, Mapping[str, float]]) -> str:
    worst = sorted(per_frame.items(), key=lambda item: -item[1].get("distortion", 0.0))[:WORST]
    rows = ranking((name, found.get("distortion", 0.0), _told(found)) for name, found in worst)
    return f'<div class="layers">{"".join(rows)}</div>' if worst else ""


def _told(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{_named(name)} {number(value)}" for name, value in figures.items())


def _pictures(folder: Path) -> str:
    pictures = "".join(
        _picture(path, f"worst frame {path.stem}") for path in sorted((folder / "worst").glob("*")) if path.is_file()
    )
    return f'<div class="pair">{pictures}</div>' if pictures else ""


def _picture(path: Path, says: str) -> str:
    if not path.is_file() or path.suffix not in _TYPES:
        return ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{says}" src="data:{_TYPES[path.suffix]};base64,{data}">'
        f"<figcaption>{says}</figcaption></figure>"
    )


def _details(about: Mapping[str, str], report: Mapping[str, Any]) -> dict[str, str]:
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in report["seconds"].items())
    return {
        **about,
        "model": f"{report['model']['parameters'] / 1e6:.2f} M parameters, {report['model']['macs'] / 1e9:.3f} GMAC",
        "cleaning": "; ".join(report["model"]["changes"]),
        "frames": f"{report['frames']['calibrated_on']} to calibrate, {report['agreement']['frames']} to check",
        "steps": ", ".join(f"{step['step']} {step.get('seconds', 0.0):.1f} s" for step in report["steps"]),
        "took": seconds,
        "peak memory": f"{report['peak_rss_mb']:.0f} MB",
    }
