"""Four real lane models on every shipped target: what is built, what it computes, how large and how fast it is.

    python -m tests.benchmarks.backends judge [--only pinetq] [--targets intel-cpu-vnni]    # an hour, nothing is timed
    python -m tests.benchmarks.backends time [--only pinetq] [--targets intel-cpu-vnni]     # nothing else may run then
    python -m tests.benchmarks.backends page

Every other frame calibrates, of the others some judge: fewer of them where a simulator or an emulated processor takes
seconds for one. Targets with the same rules share a calibration. What the engine computes is held against the float32
model; where the engine runs on the device only, it is what goes there, under ONNX Runtime, that is held against it, and
the row says so. `time` compiles once more, in a process of its own whose time and peak memory are told, and measures
the speed where the engine runs on this machine and the machine is what the target asks for. Calibrations and bundles
stay in build/benchmark/backends; a row that is there is not judged again. It needs ../shared/lanes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgekit
from edgekit.api.compile import quantized_model
from edgekit.api.standing import RESULTS_ONLY, standing
from edgekit.backends import Engine
from edgekit.backends.emulated import EmulatedBackend
from edgekit.bundle import Bundle, open_bundle
from edgekit.calibration.artifact import Calibration
from edgekit.emulation import DEFAULT_ROOT, emulated_python
from edgekit.errors import EdgekitError, GateError
from edgekit.frames import Frames
from edgekit.graph.reference import ReferenceRun
from edgekit.profiling.machine import describe
from edgekit.resources import shipped_names
from edgekit.targets import Target, load_target
from tests.benchmarks.judging import CASES, ROOT, THREADS, Case, Run, tallies

PACKAGES = ("onnxruntime", "openvino", "onnxruntime-qnn", "tensorrt-rtx", "torch", "numpy")
WORK = ROOT / "build" / "benchmark" / "backends"
OUT = ROOT / "docs" / "backends.json"
JUDGING = {"here": 24, "on-device": 24, "emulated": 8, "simulated": 4}
"""Frames to judge on."""

PROFILE_SECONDS = 5.0

HEAD = """\
# Backends

Written {date} by `python -m tests.benchmarks.backends`, on {cpu}, {threads} thread; {versions}.
Calibrated with `--effort quick` on every other frame, judged on frames that were not calibrated on. Every row says what
its figures are of.

- F1 of lanes (30 px wide, IoU > 0.5), mean lateral shift of matched lanes in px of the frame and IoU of masks are
  against the float32 model under ONNX Runtime.
- `emulated` is ONNX Runtime's aarch64 build on a core that qemu-user emulates, `simulated` Qualcomm's simulator.
  "Q/DQ model" is the model that the engine is built from, under ONNX Runtime: what the device's own kernels make of it
  was not measured.
- Speed is that of the engine, float32 over INT8 in the same engine, with its 95 % interval, timed while nothing else
  ran. It follows the target's rules (`--no-tune`); what a search for the placement that pays adds and takes is told in
  [Placement](placement.md).
- MB is what the engine is loaded from, or what it is built from on the device.
- Compiling ends with a check on golden inputs, which is within its time: for Qualcomm most of it is the simulator's.
  It had one core to itself (`taskset -c 1 chrt -f 5`), while other processes ran on the other.
  Peak memory is that of the compiling process or of the vendor's compiler that it starts, the larger.
- `intel-cpu-avx2` has weights of 7 bit for CPUs without VNNI. This one has it, so that a speed here would say nothing.

More of Qualcomm's processors is told in [Qualcomm HTP](qnn.md).
"""

COMPILE = """\
import json, resource, sys, time
import edgekit
from edgekit.process import resident
start = time.perf_counter()
edgekit.compile(sys.argv[1], target=sys.argv[2], out=sys.argv[3], tune=False, overwrite=True)
seconds = time.perf_counter() - start
compilers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(json.dumps({"seconds": round(seconds, 1), "peak_bytes": max(resident()[1], compilers)}))
"""


@dataclass(frozen=True)
class Row:
    """One model on one target.

    Attributes:
        engine: Backend and version; where the engine is built on the device, what is expected there.
        origin: Where the figures come from: measured, emulated, simulated, or ONNX Runtime's run of the Q/DQ model.
        figures: Agreement with float32 on the judging frames.
        frames: How many those were.
        bytes: Of what the engine is loaded from; where it is built on the device, of what it is built from.
        speedup: Median of the float32 engine's time over the INT8 engine's, with its 95 % interval; none where a time
            here says nothing of the target.
        seconds: Of the compilation, with its check on golden inputs; none where it was not timed yet.
        peak_bytes: Of the compiling process, or of the vendor's compiler that it started: the larger.
        refused: Why there is no bundle.
    """

    model: str
    target: str
    engine: str = ""
    origin: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    frames: int = 0
    bytes: int = 0
    speedup: tuple[float, float, float] | None = None
    seconds: float | None = None
    peak_bytes: int | None = None
    refused: str = ""


def boards() -> list[str]:
    """Return the shipped targets that are no aliases."""
    return [name for name in shipped_names("targets") if load_target(name).name == name]


def judge(case: Case, target: str, row: Row | None) -> Row:
    """Calibrate where that is not done yet, compile, and hold the model against float32."""
    if row is not None and not row.refused:
        return row
    board = load_target(target)
    try:
        calibration = calibrated(case, board)
        bundle = edgekit.compile(calibration, target=target, out=_bundle(case, target), tune=False, overwrite=True)
    except EdgekitError as error:
        return Row(case.model, target, refused=f"{error.problem} {error.found}".strip())
    how = "emulated" if board.name.startswith("arm-") else board.runs
    files = _held_out(case, JUDGING[how])
    run, origin, close = _run_of(bundle, calibration)
    try:
        tally = tallies(case, _frames(case, "judge", files), [ReferenceRun(case.path.read_bytes(), THREADS), run])[1]
    finally:
        close()
    record = bundle.manifest.engine
    return Row(
        model=case.model,
        target=target,
        engine=f"{record.backend} {record.version}".strip(),
        origin=origin,
        figures=tally.agreement.figures(),
        frames=len(files),
        bytes=sum(len(data) for data in bundle.engine_members().values()),
    )


def clock(case: Case, target: str, row: Row | None) -> Row:
    """Compile once more in a process of its own, and measure the speed where it counts."""
    if row is None or row.refused:
        return row or Row(case.model, target, refused="not judged yet")
    board, bundle = load_target(target), _bundle(case, target)
    command = [sys.executable, "-W", "ignore", "-c", COMPILE, str(_calibration(case, board)), target, str(bundle)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return replace(row, **json.loads(done.stdout.strip().splitlines()[-1]), speedup=_speedup(open_bundle(bundle)))


def _calibration(case: Case, board: Target) -> Path:
    return WORK / case.model / hashlib.sha256(board.scheme.model_dump_json().encode()).hexdigest()[:12]


def _bundle(case: Case, target: str) -> Path:
    return WORK / case.model / f"{target}.edge"


def calibrated(case: Case, board: Target) -> Calibration:
    """Return the calibration under the rules of a target, made where it is not there yet."""
    folder = _calibration(case, board)
    if not (folder / "report.json").exists():
        # The folder is written all the same, and the row shows what the gate would not let pass.
        with suppress(GateError):
            edgekit.calibrate(
                case.path,
                _frames(case, "calibrate", case.frames[0::2]),
                target=board.name,
                recipe=case.recipe,
                out=folder,
                effort="quick",
                overwrite=True,
            )
    return Calibration.open(folder)


def _held_out(case: Case, count: int) -> list[Path]:
    rest = case.frames[1::2]
    return rest[:: max(1, len(rest) // count)][:count]


def _frames(case: Case, name: str, files: Sequence[Path]) -> Frames:
    path = WORK / case.model / f"{name}-{len(files)}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(str, files)))
    return Frames.open(path)


def _run_of(bundle: Bundle, calibration: Calibration) -> tuple[Run, str, Callable[[], None]]:
    """Return what is judged, where it runs, and what frees it."""
    board = bundle.manifest.target
    if board.runs == "on-device":
        model = bundle.engine_members().get("model.onnx") or quantized_model(calibration, board)[0]
        return ReferenceRun(model, THREADS), "Q/DQ model, ONNX Runtime", lambda: None
    if standing(board).runs == RESULTS_ONLY:
        backend = EmulatedBackend(emulated_python(board.name.removeprefix("arm-"), ROOT / DEFAULT_ROOT))
        engine = backend.load(bundle.engine_members(), board.options, THREADS)
        return partial(_run_engine, engine), "emulated", engine.close
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = edgekit.load(bundle, threads=THREADS)
    return session.infer, "measured" if board.runs == "here" else board.runs, session.close


def _run_engine(engine: Engine, values: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
    return engine.run({engine.inputs[0].name: values})


def _speedup(bundle: Bundle) -> tuple[float, float, float] | None:
    if standing(bundle.manifest.target).runs != "here" or not _is_what_it_is_for(bundle.manifest.target.name):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = edgekit.profile(bundle, seconds=PROFILE_SECONDS, threads=THREADS)
    ratio = found.speedup["engine"]
    if found.subject.mismatch or ratio is None or ratio.interval is None:
        return None
    return ratio.value, ratio.interval.low, ratio.interval.high


def page(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """Return the Markdown page."""
    named = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines = [HEAD.format(date=about["date"], cpu=about["cpu"], threads=THREADS, versions=named).rstrip()]
    for model in dict.fromkeys(row.model for row in rows):
        lines += ["", f"## {model}", ""]
        lines += ["| target | engine | figures of | F1 | shift px | IoU | frames | speed | MB | compile s | peak MB |"]
        lines += ["|" + "---|" * 11]
        lines += [_table_row(row) for row in rows if row.model == model]
        missing = [name for name in boards() if name not in {row.target for row in rows if row.model == model}]
        lines += ["", f"Not judged here: {', '.join(missing)}."] if missing else []
    return "\n".join(lines) + "\n"


def _table_row(row: Row) -> str:
    if row.refused:
        return f"| {row.target} | not built: {row.refused.replace('|', '/')} |{' |' * 9}"
    masks = ", ".join(f"{name[4:]} {value:.3f}" for name, value in row.figures.items() if name.startswith("iou_"))
    cells = [
        row.target,
        row.engine,
        row.origin,
        *(format(row.figures[name], form) if name in row.figures else "-" for name, form in _FORMS.items()),
        masks or "-",
        str(row.frames),
        _speed(row),
        f"{row.bytes / 1e6:.2f}",
        "not timed" if row.seconds is None else f"{row.seconds:.1f}",
        "-" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _speed(row: Row) -> str:
    if row.speedup:
        return f"{row.speedup[0]:.2f} ({row.speedup[1]:.2f} to {row.speedup[2]:.2f})"
    return _WHY_NOT[row.origin] if _is_what_it_is_for(row.target) else "not such a CPU"


def _is_what_it_is_for(target: str) -> bool:
    """Whether what runs a target here is ever the kind of machine that it stands for."""
    board = load_target(target)
    return board.runs != "here" or board.verified != "never run"


_FORMS = {"f1": ".3f", "lateral_px": ".2f"}
_WHY_NOT = {
    "emulated": "no Arm CPU here",
    "simulated": "no HTP here",
    "measured": "not timed",
    "Q/DQ model, ONNX Runtime": "no such device here",
}

STEPS: dict[str, Callable[[Case, str, Row | None], Row]] = {"judge": judge, "time": clock}


def main(step: str, only: Sequence[str], targets: Sequence[str]) -> None:
    about = {"date": date.today().isoformat(), "cpu": describe({}).cpu, "versions": _versions()}
    order = [(case.model, name) for case in CASES for name in boards()]
    for case in CASES:
        for name in boards() if step in STEPS else ():
            if (only and case.model not in only) or (targets and name not in targets):
                continue
            row = STEPS[step](case, name, _rows().get((case.model, name)))
            print(f"{time.strftime('%H:%M:%S')} {row}", file=sys.stderr, flush=True)
            # Read again: another step may have written others meanwhile.
            rows = _rows() | {(case.model, name): row}
            kept = [asdict(rows[key]) for key in order if key in rows]
            beside = OUT.with_suffix(".part")
            beside.write_text(json.dumps({"about": about, "rows": kept}, indent=1) + "\n")
            beside.replace(OUT)
    OUT.with_suffix(".md").write_text(page(list(_rows().values()), _stored()["about"]))


def _rows() -> dict[tuple[str, str], Row]:
    return {(row["model"], row["target"]): Row(**row) for row in _stored().get("rows", [])}


def _stored() -> dict[str, Any]:
    return dict(json.loads(OUT.read_text())) if OUT.exists() else {}


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"python": sys.version.split()[0], "edgekit": edgekit.__version__, **found}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=[*STEPS, "page"])
    parser.add_argument("--only", nargs="*", default=[], metavar="MODEL")
    parser.add_argument("--targets", nargs="*", default=[], metavar="TARGET")
    given = parser.parse_args()
    main(given.step, given.only, given.targets)
