"""Accuracy and speed of INT8 on four real lane models: EdgeKit beside the tools that there are.

    python -m tests.benchmarks.accuracy -o docs/accuracy.md [--only pinetq] [--tools nncf edgekit-quick] [--resume]

Every tool quantizes on the same frames, every other one, and is checked on the rest; then the other way round, so that
every frame is checked once by a model that has not seen it (`--halves 1` leaves the second turn out). The reference is
the floating-point model in the same engine with the same thread. Speeds are medians of interleaved rounds, as a ratio
to float32. Rows are written to the JSON file beside the page as they come. It needs ../shared/lanes; the machine should
do nothing else.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import edgekit
from edgekit.frames import Frames
from edgekit.profiling.machine import describe, noise_floor
from tests.benchmarks import foreign
from tests.benchmarks.bars import Row
from tests.benchmarks.judging import (
    CASES,
    LANES,
    ROOT,
    THREADS,
    Case,
    Run,
    Tally,
    engine_run,
    tallies,
    times_ms,
)
from tests.benchmarks.page import Results, page
from tests.benchmarks.plan import BLOCKS, Block, Options
from tests.benchmarks.quantizing import NOT_INSTALLED, PACKAGES, Refused, costs_of, runs_of

__all__ = ["CASES", "LANES", "ROOT", "THREADS", "Case", "Run", "Tally", "engine_run", "tallies", "times_ms"]


def main(options: Options, only: Sequence[str], resume: bool, note: str) -> None:
    results = _resumed(options) if resume and options.json.exists() else _new(options)
    if note:
        results.about["note"] = note
        _save(options, results)
    for case in CASES:
        if not only or case.model in only:
            for block in BLOCKS:
                measure(case, block, options, results)
    options.out.write_text(page(results))


def _new(options: Options) -> Results:
    shutil.rmtree(options.work, ignore_errors=True)
    names = ("onnxruntime", "openvino", "nncf", "torch", "numpy")
    versions = {name: version(name) for name in names}
    machine = describe({"edgekit": edgekit.__version__, **versions, **_foreign(options)})
    about = {
        "date": date.today().isoformat(),
        "cpu": machine.cpu,
        "threads": THREADS,
        "noise": noise_floor().cv,
        "versions": dict(machine.versions),
    }
    return Results(options.settings(), about)


def _foreign(options: Options) -> dict[str, str]:
    return {
        PACKAGES[tool]: foreign.version_of(python, PACKAGES[tool])
        for tool, python in options.pythons.items()
        if python is not None
    }


def _resumed(options: Options) -> Results:
    """Read what an interrupted run has measured; tools that were not installed are tried again."""
    data = json.loads(options.json.read_text())
    if data["settings"] != options.settings():
        sys.exit(f"{options.json} was measured with {data['settings']}, not with {options.settings()}: no --resume.")
    rows = [Row(**row) for row in data["rows"] if row["refused"] != NOT_INSTALLED]
    data["about"]["versions"] |= _foreign(options)
    return Results(data["settings"], data["about"], rows)


def _save(options: Options, results: Results) -> None:
    """Write the rows beside, then rename: an interrupted write leaves the rows of before."""
    order = {
        (case.model, block.name, tool): (i, j, k)
        for i, case in enumerate(CASES)
        for j, block in enumerate(BLOCKS)
        for k, tool in enumerate(block.tools)
    }
    results.rows.sort(key=lambda row: order[row.model, row.engine, row.tool])
    beside = options.json.with_suffix(".part")
    beside.write_text(json.dumps(asdict(results), indent=1) + "\n")
    beside.replace(options.json)


def measure(case: Case, block: Block, options: Options, results: Results) -> None:
    """Add the rows of one model in one engine that the results lack, then time all of them in turn."""
    halves = _halves(case, options)
    done = {row.tool for row in results.rows if (row.model, row.engine) == (case.model, block.name)}
    reference = engine_run(block.engine, case.path)
    for tool in block.tools:
        if tool in done or not options.wants(tool):
            continue
        _say(f"{case.model} / {block.name}: {tool}")
        results.rows.append(_row(case, block, tool, options, halves, reference))
        _save(options, results)
    mine = [row for row in results.rows if (row.model, row.engine) == (case.model, block.name) and not row.refused]
    if not block.timed or all(row.speedup is not None for row in mine):
        return
    _say(f"{case.model} / {block.name}: timing")
    runs = [runs_of(case, block, row.tool, options, halves[:1])[0] for row in mine]
    times = times_ms(case, runs)
    for row, ms in zip(mine, times, strict=True):
        timed = replace(row, speedup=times[0] / ms, milliseconds=ms)
        results.rows[results.rows.index(row)] = timed
    _save(options, results)


def _halves(case: Case, options: Options) -> list[tuple[Path, Path]]:
    """Return, per turn, the lists of frames to calibrate on and to check on."""
    files = case.frames
    folder = options.work / case.model
    folder.mkdir(parents=True, exist_ok=True)
    lists = [folder / f"half-{half}.txt" for half in (0, 1)]
    for half, listed in enumerate(lists):
        listed.write_text("\n".join(map(str, files[half::2])))
    return [(lists[0], lists[1]), (lists[1], lists[0])][: options.halves]


def _row(case: Case, block: Block, tool: str, options: Options, halves: list[tuple[Path, Path]], reference: Run) -> Row:
    row = Row(case.model, block.name, tool)
    try:
        runs = runs_of(case, block, tool, options, halves)
        total = Tally()
        for run, (_, check) in zip(runs, halves, strict=True):
            total += tallies(case, Frames.open(check), [reference, run])[1]
    except Refused as error:
        _say(f"  {error}")
        return replace(row, refused=str(error))
    costs: dict[str, Any] = dict(costs_of(case, block, tool, options)) if tool not in ("float32", "bf16") else {}
    row = replace(row, figures=total.agreement.figures(), recall=total.recall, **costs)
    _say("  " + ", ".join(f"{name} {value:.4f}" for name, value in row.figures.items()) + f"; {row.seconds} s")
    return row


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _options() -> tuple[Options, list[str], bool, str]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs" / "accuracy.md")
    parser.add_argument("--only", nargs="*", default=[], help="models", choices=[case.model for case in CASES])
    parser.add_argument("--tools", nargs="*", default=[], help="rows beside float32; none: all")
    parser.add_argument("--halves", type=int, choices=(1, 2), default=2, help="turns of calibrating and checking")
    parser.add_argument("--resume", action="store_true", help="go on with the rows that are there")
    parser.add_argument("--modelopt-python", type=Path, help="a Python that has nvidia-modelopt[onnx]")
    parser.add_argument("--aimet-python", type=Path, help="a Python that has aimet-onnx")
    parser.add_argument("--adaround-steps", type=int, default=0, help="AIMET's AdaRound, steps per layer; 0: no row")
    parser.add_argument("--note", default="", help="what a reader has to know of this run, for the page")
    given = parser.parse_args()
    pythons = {"modelopt": given.modelopt_python, "aimet": given.aimet_python}
    options = Options(
        out=given.out.absolute(),
        halves=given.halves,
        pythons={name: python and python.absolute() for name, python in pythons.items()},
        adaround_steps=given.adaround_steps,
        tools=tuple(given.tools),
    )
    return options, given.only, given.resume, given.note


if __name__ == "__main__":
    main(*_options())
