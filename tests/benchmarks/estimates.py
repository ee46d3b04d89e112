"""Estimates held against measurements: the four lane models, on this CPU, in OpenVINO and ONNX Runtime, one thread.

    python -m tests.benchmarks.estimates -o docs/estimates.md --work build/estimates

The efficiency ranges come from synthetic layers (`tests.benchmarks.efficiency`), not from these models. Calibrations
are made with `--effort quick` and kept in the folder `--work`. The machine should do nothing else.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

import edgekit
from edgekit.api.estimate import estimate
from edgekit.calibration.artifact import Calibration
from edgekit.profiling.efficiency import Range, efficiency_of
from edgekit.profiling.estimate import estimate_model
from edgekit.profiling.machine import describe, noise_floor
from edgekit.profiling.peaks import Peaks, own_peaks
from edgekit.targets import Target, load_target
from tests.benchmarks.judging import CASES, Case, engine_run, times_ms

TARGETS = {"openvino": "intel-cpu-vnni", "onnxruntime": "arm-cortex-a76"}
"""ONNX Runtime's rules are those of its Arm targets; it runs their models on x86-64 as well."""


@dataclass(frozen=True)
class Row:
    """What was estimated, and what was measured."""

    model: str
    engine: str
    figure: str
    estimated: Range
    measured: float

    @property
    def holds(self) -> bool:
        return self.estimated.low <= self.measured <= self.estimated.high


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--work", type=Path, default=Path("build/estimates"))
    parser.add_argument("--times", type=Path, help="keep what was measured here, and do not measure it again")
    parser.add_argument("--prepare", action="store_true", help="only calibrate")
    options = parser.parse_args(arguments)
    calibrations = {
        (case, engine): calibrated(case, target, options.work) for case in CASES for engine, target in TARGETS.items()
    }
    if options.prepare:
        return
    times: dict[str, Any] = json.loads(options.times.read_text()) if options.times and options.times.exists() else {}
    for (case, engine), found in calibrations.items():
        times.setdefault("noise", noise_floor().cv)
        times.setdefault("peaks", asdict(own_peaks()))
        key = f"{case.model} {engine}"
        if key not in times:
            times[key] = times_ms(case, [engine_run(engine, path) for path in (found.fp_model, found.qdq_model)])
    if options.times:
        options.times.write_text(json.dumps(times))
    peaks = Peaks(**times["peaks"] | {"floating": Range(**times["peaks"]["floating"])})
    rows = [
        row
        for (case, engine), found in calibrations.items()
        for row in compared(case, engine, found, peaks, *times[f"{case.model} {engine}"])
    ]
    text = "\n".join(table(rows))
    print(text)
    if options.out:
        options.out.write_text(page(text, rows, times["noise"], peaks), encoding="utf-8")


def calibrated(case: Case, target: str, work: Path) -> Calibration:
    folder = work / f"{case.model}-{target}"
    if not folder.exists():
        frames = case.frames[0].parent
        edgekit.calibrate(case.path, frames, recipe=case.recipe, target=target, effort="quick", out=folder, min_f1=0.0)
    return Calibration.open(folder)


def compared(case: Case, engine: str, calibration: Calibration, peaks: Peaks, fp: float, int8: float) -> Iterator[Row]:
    nodes = calibration.scales.nodes
    board = on_x86(calibration.target)
    keep = [name for name, node in nodes.items() if node.precision != board.scheme.weights.dtype]
    guess = estimate_model(case.model, onnx.load(calibration.fp_model), board, keep=keep, peaks=peaks)
    assert guess.fp
    assert guess.int8
    assert guess.speedup
    yield Row(case.model, engine, "FP32 ms", guess.fp, fp)
    yield Row(case.model, engine, "INT8 ms", guess.int8, int8)
    yield Row(case.model, engine, "speed-up", guess.speedup, fp / int8)


def on_x86(target: Target) -> Target:
    return target.model_copy(update={"device": target.device.model_copy(update={"arch": "x86_64"})})


def table(rows: Sequence[Row]) -> Iterator[str]:
    yield "| model | engine | | measured | estimated | high / low | in the range |"
    yield "|---|---|---|--:|--:|--:|---|"
    for row in rows:
        span = row.estimated
        yield (
            f"| {row.model} | {row.engine} | {row.figure} | {row.measured:.2f} | {span.low:.2f} .. {span.high:.2f} | "
            f"{span.high / span.low:.1f} | {'yes' if row.holds else '**no**'} |"
        )


def efficiencies() -> Iterator[str]:
    yield "| engine | layers | | from | to |"
    yield "|---|---|---|--:|--:|"
    for engine, target in TARGETS.items():
        found = efficiency_of(on_x86(load_target(target)))
        rows = [(kind, number, each) for (kind, number), each in found.compute.items()]
        rows += [(kind, "gain", each) for kind, each in found.gain.items()]  # type: ignore[misc]
        rows += [(kind, "bandwidth", each) for kind, each in found.memory.items()]  # type: ignore[misc]
        for kind, number, each in rows:
            yield f"| {engine} | {kind} | {number} | {each.low:.3f} | {each.high:.3f} |"


def boards(model: Path) -> Iterator[str]:
    yield "| target | floating point, ms | INT8, ms | speed-up | INT8 pays | missing |"
    yield "|---|--:|--:|--:|---|---|"
    for name in ("jetson-agx-orin-jp6", "jetson-orin-nano-jp6", "jetson-agx-orin-jp7", "arm-cortex-a76",
                 "qualcomm-htp-v73"):  # fmt: skip
        found = estimate(model, name)
        spans = [
            f"{each.low:.2f} .. {each.high:.2f}" if each else "-" for each in (found.fp, found.int8, found.speedup)
        ]
        yield f"| `{name}` | {' | '.join(spans)} | {found.pays} | {', '.join(found.peaks.missing) or '-'} |"


def page(text: str, rows: Sequence[Row], noise: float | None, peaks: Peaks) -> str:
    template = (Path(__file__).parent / "estimates.md").read_text(encoding="utf-8")
    latencies = [row for row in rows if row.figure != "speed-up"]
    gains = [row for row in rows if row.figure == "speed-up"]
    versions = ", ".join(f"{name} {version(name)}" for name in ("openvino", "onnxruntime", "numpy"))
    return template.format(
        date=datetime.datetime.now(tz=datetime.timezone.utc).date(),
        cpu=describe({}).cpu,
        noise=f"{noise:.1%}" if noise is not None else "not recorded",
        versions=versions,
        peaks=peaks.origin,
        held=f"{sum(row.holds for row in latencies)} of {len(latencies)} latencies and "
        f"{sum(row.holds for row in gains)} of {len(gains)} speed-ups",
        table=text,
        efficiencies="\n".join(efficiencies()),
        boards="\n".join(boards(CASES[0].path)),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
