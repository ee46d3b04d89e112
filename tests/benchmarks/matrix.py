"""Four real lane models through every engine that is here: the agreement matrix, and its summary in the docs.

    python -m tests.benchmarks.matrix [--only pinetq]       # an hour: a simulator and emulated cores take part
    python -m tests.benchmarks.matrix --page

The calibrations are those of `tests.benchmarks.backends` for Arm, and are made where they are not there. The matrices
go to docs/verification.json, their heat maps to build/benchmark/matrix. It needs ../shared/lanes.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import edgekit
from edgekit.emulation import DEFAULT_ROOT
from edgekit.profiling.machine import describe
from edgekit.report.agreement import agreement_text
from edgekit.report.heatmap import heatmap_png
from edgekit.targets import load_target
from tests.benchmarks.backends import calibrated
from tests.benchmarks.judging import CASES, ROOT, Case

WORK = ROOT / "build" / "benchmark" / "matrix"
OUT = ROOT / "docs" / "verification.json"
PAGE = ROOT / "docs" / "verification.md"
MARK = "<!-- measured: everything below is written by tests/benchmarks/matrix.py -->"
TARGET = "arm-cortex-a55"
HEAD = """\
## Four lane networks in every engine

{date}, on {cpu}; onnxruntime {onnxruntime}, openvino {openvino}, onnxruntime-qnn {qnn}, torch {torch}. Calibrated with
`--effort quick` for arm-cortex-a55; {frames} golden frames each. "Against float" is what quantization under a target's
rules costs, and "against ONNX Runtime" what the engine adds to ONNX Runtime's run of the same model. An engine over the
bound would be marked.

The largest shifts are QuantLaneNet's, whose columns are an argmax: where two lie close together, a small difference
tips a row by the width of a column or more. Engines that round differently then lie as far from each other as each does
from floating point, though their outputs differ by no more than quantization itself does.
"""


def measure(case: Case) -> dict[str, Any]:
    """Return the matrix of one model, with the noise of each engine beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = edgekit.agreement_matrix(calibrated(case, load_target(TARGET)).folder, arm_root=ROOT / DEFAULT_ROOT)
    data = found.to_json() | {"source": case.model, "frames": [Path(name).name for name in found.frames]}
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / f"{case.model}.png").write_bytes(heatmap_png(data, f"{case.model}, calibrated for {found.target}"))
    (WORK / f"{case.model}.txt").write_text(agreement_text(data, color=False) + "\n", encoding="utf-8")
    return data


def page(matrices: Mapping[str, Mapping[str, Any]], about: Mapping[str, str]) -> str:
    """Return the Markdown below the mark."""
    frames = sorted({len(data["frames"]) for data in matrices.values()})
    lines = [HEAD.format(**about, frames=" or ".join(map(str, frames)))]
    for model, data in matrices.items():
        columns = ("engine", "model", "origin", "against float", "against ONNX Runtime", "largest steps", "same bits")
        lines += [f"### {model}", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        lines += [f"| {' | '.join(row)} |" for row in _rows(data)]
        lines += ["", *(f"Not here: {one['engine']}: {one['reason']}" for one in data["absent"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _rows(data: Mapping[str, Any]) -> list[list[str]]:
    between = {tuple(one["between"]): one for one in data["distances"]}
    rows = []
    for place, replay in enumerate(data["replays"]):
        reference = replay["same_model_in_onnxruntime"]
        costs = between.get((0, place))
        adds = None if reference is None or reference == 0 else between[min(reference, place), max(reference, place)]
        engine = replay["engine"] + (" **over the bound**" if replay["disagreement"] else "")
        rows.append(
            [
                engine,
                replay["model"],
                replay["origin"],
                _figures(costs),
                _figures(adds),
                f"{max(adds['largest_steps'].values()):.1f}" if adds else "-",
                f"{adds['identical']:.1%}" if adds else "-",
            ]
        )
    return rows


def _figures(distance: Mapping[str, Any] | None) -> str:
    if distance is None:
        return "-"
    forms = {"f1": "F1 {:.3f}", "lateral_px": "{:.2f} px"}
    figures = distance["figures"]
    told = [form.format(figures[name]) for name, form in forms.items() if name in figures]
    return ", ".join([*told, *(f"{name[4:]} {value:.3f}" for name, value in figures.items() if name[:4] == "iou_")])


def main(only: Sequence[str], only_page: bool) -> None:
    stored: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {"matrices": {}}
    for case in CASES:
        if only_page or (only and case.model not in only):
            continue
        stored["matrices"][case.model] = measure(case)
        stored["about"] = {
            "date": date.today().isoformat(),
            "cpu": describe({}).cpu,
            "onnxruntime": version("onnxruntime"),
            "openvino": version("openvino"),
            "qnn": version("onnxruntime-qnn"),
            "torch": version("torch"),
        }
        order = [one.model for one in CASES if one.model in stored["matrices"]]
        stored["matrices"] = {name: stored["matrices"][name] for name in order}
        OUT.write_text(json.dumps(stored, indent=1) + "\n")
        print((WORK / f"{case.model}.txt").read_text(), flush=True)
    told = PAGE.read_text().partition(MARK)[0].rstrip()
    PAGE.write_text(f"{told}\n\n{MARK}\n\n{page(stored['matrices'], stored['about'])}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], choices=[case.model for case in CASES])
    parser.add_argument("--page", action="store_true", help="write the page from what was measured")
    given = parser.parse_args()
    main(given.only, given.page)
