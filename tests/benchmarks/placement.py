"""What 8 bit gains in each engine that runs here, by the rules and as `edgekit compile` places it, on four lane models.

    python -m tests.benchmarks.placement calibrate [--only pinetq]      # minutes: nothing is timed
    chrt -f 5 python -m tests.benchmarks.placement measure --only pinetq --engine onnxruntime
    chrt -f 5 python -m tests.benchmarks.placement rules
    python -m tests.benchmarks.placement judge                          # on held-out frames
    python -m tests.benchmarks.placement page

Every other frame calibrates, the rest judges. Rows are kept in docs/placement.json as they come. Whatever is written
there was measured: the table of each bundle, which `edgekit compile` measures in turn with one thread. It needs
../shared/lanes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import edgekit
from edgekit.backends import backend_for
from edgekit.bundle import REFERENCE, open_bundle
from edgekit.calibration.artifact import Calibration
from edgekit.calibration.requantize import requantize
from edgekit.frames import Frames
from edgekit.placements import PlacementTable
from edgekit.profiling.latency import speedup
from edgekit.profiling.machine import describe
from edgekit.targets import TensorScheme, load_target
from edgekit.tuning.stopwatch import time_in_turn
from tests.benchmarks.judging import CASES, ROOT, Case, engine_run, tallies

TARGETS = {"openvino": "intel-cpu-vnni", "onnxruntime": "x86-onnxruntime"}
WORK = ROOT / "build" / "benchmark" / "placement"
OUT = ROOT / "docs" / "placement.json"
PAGE = ROOT / "docs" / "placement.md"
MARK = "<!-- measured: everything below is written by tests/benchmarks/placement.py -->"
MOST_KEPT = 6
RULE_ROUNDS = 25
UNSIGNED = TensorScheme(dtype="uint8", symmetric=False, granularity="channel")
RULES: dict[str, dict[str, Any]] = {
    "the target's own": {},
    "bias in float": {"bias": "float"},
    "unsigned weights": {"weights": UNSIGNED},
    "Adds in float": {"residual_add": "none"},
    "no shared scales": {"share_scale": ()},
    "Concats in 8 bit": {"share_scale": ("MaxPool", "Resize", "Concat")},
    "MatMul and Gemm too": {"operators": ("Conv", "MatMul", "Gemm")},
}
"""Name to what differs from the target's rules."""


def calibrate(case: Case, engine: str, given: argparse.Namespace) -> None:
    half = WORK / f"{case.model}.txt"
    half.parent.mkdir(parents=True, exist_ok=True)
    half.write_text("\n".join(map(str, case.frames[0::2])))
    edgekit.calibrate(
        case.path,
        data=half,
        recipe=case.recipe,
        target=TARGETS[engine],
        out=_folder(case, engine),
        effort=given.effort,
        min_f1=0.5,
        max_lateral=20,
        overwrite=True,
    )


def measure(case: Case, engine: str, given: argparse.Namespace) -> None:
    bundle = edgekit.compile(
        _folder(case, engine),
        target=TARGETS[engine],
        out=_folder(case, engine).with_suffix(".edge"),
        tune_seconds=given.seconds,
        retune=True,
        overwrite=True,
    )
    machine = describe({})
    about = {
        "date": date.today().isoformat(),
        "cpu": machine.cpu,
        "versions": {name: version(name) for name in ("numpy", "onnxruntime", "openvino")},
    }
    _keep(case, engine, placement=bundle.manifest.placement.model_dump(mode="json"), about=about, effort=given.effort)


def rules(case: Case, engine: str, given: argparse.Namespace) -> None:
    """Time other rules of placement than those of `x86-onnxruntime`, everything in 8 bit that they want so."""
    if engine != "onnxruntime":
        return
    calibration, board, backend = (
        Calibration.open(_folder(case, engine)),
        load_target(TARGETS[engine]),
        backend_for("onnxruntime"),
    )
    models = {"f32": calibration.fp_model.read_bytes()}
    for name, changes in RULES.items():
        scheme = board.scheme.model_copy(update=changes)
        models[name], _ = requantize(calibration, board.model_copy(update={"scheme": scheme}))
    loads = [partial(backend.load, {"model.onnx": model}, {}, 1) for model in models.values()]
    base, *others = time_in_turn(loads, [one.input for one in calibration.golden()], RULE_ROUNDS)
    found = {}
    for name, times in zip(RULES, others, strict=True):
        ratio = speedup(base, times)
        assert ratio is not None and ratio.interval is not None
        found[name] = {"speedup": ratio.value, "low": ratio.interval.low, "high": ratio.interval.high}
    _keep(case, engine, rules=found)


def judge(case: Case, engine: str, given: argparse.Namespace) -> None:
    path = _folder(case, engine).with_suffix(".edge")
    bundle = open_bundle(path)
    models = {"placed": bundle.read("engine/model.onnx"), "float": bundle.read(REFERENCE)}
    for name, data in models.items():
        (WORK / f"{case.model}-{engine}.{name}.onnx").write_bytes(data)
    files = [WORK / f"{case.model}-{engine}.{name}.onnx" for name in ("float", "placed")]
    rules = _folder(case, engine) / "model.qdq.onnx"
    check = WORK / f"{case.model}-check.txt"
    check.write_text("\n".join(map(str, case.frames[1::2])))
    runs = [engine_run(engine, file) for file in (*files, rules)]
    _, placed, by_rules = tallies(case, Frames.open(check), runs)
    _keep(case, engine, figures=placed.agreement.figures(), figures_by_rules=by_rules.agreement.figures())


def _folder(case: Case, engine: str) -> Path:
    return WORK / f"{case.model}-{engine}"


def _keep(case: Case, engine: str, **found: Any) -> None:
    rows = json.loads(OUT.read_text()) if OUT.exists() else {}
    rows[f"{case.model} {engine}"] = rows.get(f"{case.model} {engine}", {}) | found
    beside = OUT.with_suffix(".part")
    beside.write_text(json.dumps(dict(sorted(rows.items())), indent=1) + "\n")
    beside.replace(OUT)


def page() -> None:
    rows: dict[str, dict[str, Any]] = json.loads(OUT.read_text())
    told = PAGE.read_text().partition(MARK)[0]
    PAGE.write_text(f"{told}{MARK}\n\n{_measured(rows)}")


def _measured(rows: dict[str, dict[str, Any]]) -> str:
    abouts = [row["about"] for row in rows.values()]
    dates, cpus = sorted({one["date"] for one in abouts}), sorted({one["cpu"] for one in abouts})
    versions = ", ".join(f"{name} {number}" for name, number in abouts[0]["versions"].items())
    lines = [
        f"Origin of every time: measured, {' to '.join(dates)}, on {', '.join(cpus)}, one thread; {versions}; "
        f"calibrated with `--effort {rows[next(iter(rows))]['effort']}`. Other processes ran on the machine: what "
        "is compared was timed in turn, at real-time priority (`chrt -f 5`); the 95 % intervals count.",
        "",
        "| model | engine | f32 ms | bf16 ms | by the rules | as placed | against bf16 | MACs in 8 bit "
        "| F1 or IoU by the rules | as placed | shift px | search s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    kept = ["", "What stays in floating point, and what a whole run takes with it in floating point and in 8 bit:", ""]
    kept += ["| model | engine | layers | float ms | int8 ms | speed-up |", "|---|---|---|---|---|---|"]
    for name, row in rows.items():
        table = PlacementTable.model_validate(row["placement"])
        lines.append(f"| {' | '.join(_cells(name, row, table))} |")
        kept += _kept(name, table)
    return "\n".join([*lines, *kept, *_rules(rows)]) + "\n"


def _rules(rows: dict[str, dict[str, Any]]) -> list[str]:
    tried = {name.split()[0]: row["rules"] for name, row in rows.items() if "rules" in row}
    lines = ["", "Other rules than those of `x86-onnxruntime`, nothing kept, against f32:", ""]
    lines += [f"| rules | {' | '.join(tried)} |", f"|---|{'---|' * len(tried)}"]
    for name in RULES:
        cells = [
            f"{one[name]['speedup']:.2f} ({one[name]['low']:.2f} to {one[name]['high']:.2f})" for one in tried.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    missing = [case.model for case in CASES if case.model not in tried]
    lines += ["", f"Not timed: {', '.join(missing)}."] if missing else []
    return lines if tried else []


def _cells(name: str, row: dict[str, Any], table: PlacementTable) -> Sequence[str]:
    whole = table.whole
    assert whole is not None
    model, engine = name.split()
    bf16 = ("-", "-") if whole.bf16 is None else (f"{whole.bf16.float_us / 1e3:.2f}", f"{whole.bf16.speedup:.2f}")
    figures, rules = row.get("figures", {}), row.get("figures_by_rules", {})
    return (
        model,
        engine,
        f"{whole.placed.float_us / 1e3:.2f}",
        bf16[0],
        f"{whole.rules.speedup:.2f}",
        f"**{whole.placed.speedup:.2f}** ({whole.placed.low:.2f} to {whole.placed.high:.2f})",
        bf16[1],
        f"{table.macs_share:.3f}",
        _agreement(rules),
        _agreement(figures),
        f"{figures['lateral_px']:.2f}" if "lateral_px" in figures else "-",
        f"{table.seconds:.0f}" + ("" if table.complete else ", cut"),
    )


def _agreement(figures: dict[str, float]) -> str:
    shown = [f"F1 {figures['f1']:.3f}"] if "f1" in figures else []
    shown += [f"{key.removeprefix('iou_')} {value:.3f}" for key, value in figures.items() if key.startswith("iou_")]
    return ", ".join(shown) or "-"


def _kept(name: str, table: PlacementTable) -> list[str]:
    rows = [row for row in table.rows if row.origin == "measured" and row.precision != "int8" and row.times]
    dear = sorted(rows, key=lambda row: row.times.speedup if row.times else 1.0)
    model, engine = name.split()
    return [
        f"| {model} | {engine} | `{row.group}`{f', {len(row.nodes)} layers' if len(row.nodes) > 1 else ''} "
        f"| {row.times.float_us / 1e3:.2f} | {row.times.int8_us / 1e3:.2f} | {row.times.speedup:.2f} |"
        for row in dear[:MOST_KEPT]
        if row.times
    ]


STEPS: dict[str, Callable[[Case, str, argparse.Namespace], None]] = {
    "calibrate": calibrate,
    "measure": measure,
    "rules": rules,
    "judge": judge,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=[*STEPS, "page"])
    parser.add_argument("--only", nargs="*", default=[], choices=[case.model for case in CASES])
    parser.add_argument("--engine", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--effort", default="quick", choices=("quick", "standard"))
    parser.add_argument("--seconds", type=float, default=90.0, help="of each search")
    given = parser.parse_args()
    for case in CASES:
        for engine in given.engine:
            if given.step in STEPS and (not given.only or case.model in given.only):
                print(given.step, case.model, engine, flush=True)
                STEPS[given.step](case, engine, given)
    if OUT.exists():
        page()


if __name__ == "__main__":
    main()
