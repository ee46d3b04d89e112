"""Four real lane models on every shipped target: what is built, what it computes, how large and how fast it is.

    python -m tests.benchmarks.backends -o docs/backends.md [--only pinetq] [--targets intel-cpu-vnni] [--resume]

Every other frame calibrates, the others judge: a handful of them, since a simulator takes seconds for one. Each target
is calibrated under its own rules and compiled in a process of its own, whose time and peak memory are told. What the
engine computes is held against the float32 model; where the engine runs on the device only, it is the Q/DQ model under
ONNX Runtime that is held against it, and the row says so. Speed is told where the engine runs on this machine and the
machine is what the target asks for. It needs ../shared/lanes; the machine should do nothing else.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import edgekit
from edgekit.api.standing import RESULTS_ONLY, standing
from edgekit.bundle import open_bundle
from edgekit.errors import EdgekitError, GateError
from edgekit.frames import Frames
from edgekit.graph.reference import ReferenceRun
from edgekit.profiling.machine import describe
from edgekit.recipes import Effort
from edgekit.resources import shipped_names
from edgekit.targets import load_target, origin_of
from tests.benchmarks.judging import CASES, ROOT, THREADS, Case, Run, tallies

PACKAGES = ("onnxruntime", "openvino", "onnxruntime-qnn", "tensorrt-rtx", "torch", "numpy")
PROFILE_SECONDS = 5.0
COMPILE = """\
import json, sys, time
import edgekit
from edgekit.process import resident
start = time.perf_counter()
edgekit.compile(sys.argv[1], out=sys.argv[2], tune=False)
print(json.dumps({"seconds": time.perf_counter() - start, "peak_bytes": resident()[1]}))
"""


@dataclass(frozen=True)
class Row:
    """One model on one target.

    Attributes:
        engine: Backend and version; where the engine is built on the device, what is expected there.
        origin: Where the figures come from: measured, simulated, or ONNX Runtime's run of the Q/DQ model.
        figures: Agreement with float32 on the judging frames.
        frames: How many those were.
        speedup: Median of the float32 engine's time over the INT8 engine's, with its 95 % interval; none where a time
            here says nothing of the target.
        bytes: Of what the engine is loaded from.
        seconds: Of the compilation, with its check on golden inputs.
        peak_bytes: Of the compiling process.
        refused: Why there is no bundle.
    """

    model: str
    target: str
    engine: str = ""
    origin: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    frames: int = 0
    speedup: tuple[float, float, float] | None = None
    bytes: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
    refused: str = ""


def boards() -> list[str]:
    """Return the shipped targets that are no aliases."""
    return [name for name in shipped_names("targets") if load_target(name).name == name]


def halves(case: Case, folder: Path, judging: int) -> tuple[Path, Path]:
    """Return the lists of frames to calibrate on, and of those to judge on."""
    files = case.frames
    rest = files[1::2]
    chosen = rest[:: max(1, len(rest) // judging)][:judging]
    lists = folder / "calibrate.txt", folder / "judge.txt"
    for path, listed in zip(lists, (files[0::2], chosen), strict=True):
        path.write_text("\n".join(map(str, listed)))
    return lists


def measure(case: Case, target: str, effort: Effort, judging: int) -> Row:
    """Calibrate, compile, judge and time one model for one target."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calibrate, judge = halves(case, folder, judging)
        try:
            calibration = _calibrated(case, target, effort, calibrate, folder / "calibration")
            command = [sys.executable, "-W", "ignore", "-c", COMPILE, calibration, folder / "model.edge"]
            done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
                return Row(case.model, target, refused=lines[-1] if lines else f"exit code {done.returncode}")
            cost = json.loads(done.stdout.strip().splitlines()[-1])
            bundle = open_bundle(folder / "model.edge")
            run, origin, close = _run_of(bundle, calibration)
            try:
                frames = Frames.open(judge)
                tally = tallies(case, frames, [ReferenceRun(case.path.read_bytes(), THREADS), run])[1]
            finally:
                close()
            record = bundle.manifest.engine
            return Row(
                model=case.model,
                target=target,
                engine=f"{record.backend} {record.version}".strip(),
                origin=origin,
                figures=tally.agreement.figures(),
                frames=len(frames),
                speedup=_speedup(bundle),
                bytes=sum(len(data) for data in bundle.engine_members().values()),
                seconds=round(cost["seconds"], 1),
                peak_bytes=cost["peak_bytes"],
            )
        except EdgekitError as error:
            return Row(case.model, target, refused=f"{error.problem} {error.found}".strip())


def _calibrated(case: Case, target: str, effort: Effort, frames: Path, out: Path) -> Path:
    # The folder is written all the same, and the row shows what the gate would not let pass.
    with suppress(GateError):
        edgekit.calibrate(case.path, frames, target=target, recipe=case.recipe, out=out, effort=effort)
    return out


def _run_of(bundle: edgekit.Bundle, calibration: Path) -> tuple[Run, str, Callable[[], None]]:
    """Return what is judged, where it runs, and what frees it."""
    runs = bundle.manifest.target.runs
    if runs == "on-device":
        model = (calibration / "model.qdq.onnx").read_bytes()
        return ReferenceRun(model, THREADS), "Q/DQ model, ONNX Runtime", lambda: None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = edgekit.load(bundle, threads=THREADS)
    foreign = standing(bundle.manifest.target).runs == RESULTS_ONLY
    origin = f"measured, on {platform.machine()}" if foreign else origin_of(bundle.manifest.target)
    return session.infer, origin, session.close


def _speedup(bundle: edgekit.Bundle) -> tuple[float, float, float] | None:
    if bundle.manifest.target.runs != "here":
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
    lines = [
        "# Backends",
        "",
        "Written by `python -m tests.benchmarks.backends -o docs/backends.md`. Every row says what its figures are of.",
        "",
        f"Measured {about['date']} on {about['cpu']}, {THREADS} thread; {named}. Calibrated with "
        f"`--effort {about['effort']}` on every other frame, judged on frames that were not calibrated on.",
        "",
        "F1 of lanes (30 px wide, IoU > 0.5), mean lateral shift of matched lanes in px of the frame and IoU of masks",
        "are against the float32 model under ONNX Runtime. Speed is that of the engine, float32 over INT8 in the same",
        "engine with its 95 % interval; - where a time on this machine says nothing of the target. Size is of all",
        "that the engine is loaded from. Compiling ends with a check on golden inputs, which is within its time. It",
        "follows the target's rules (`--no-tune`); what a search for the placement that pays adds and takes is told in",
        "[Placement](placement.md), and more of Qualcomm's processors in [Qualcomm HTP](qnn.md).",
    ]
    for model in dict.fromkeys(row.model for row in rows):
        lines += ["", f"## {model}", ""]
        lines += ["| target | engine | figures of | F1 | shift px | IoU | frames | speed | MB | compile s | peak MB |"]
        lines += ["|" + "---|" * 11]
        lines += [_table_row(row) for row in rows if row.model == model]
    return "\n".join(lines) + "\n"


def _table_row(row: Row) -> str:
    if row.refused:
        return f"| {row.target} | not built: {row.refused.replace('|', '/')} |{' |' * 9}"
    masks = ", ".join(f"{name[4:]} {value:.3f}" for name, value in row.figures.items() if name.startswith("iou_"))
    speed = f"{row.speedup[0]:.2f} ({row.speedup[1]:.2f} to {row.speedup[2]:.2f})" if row.speedup else "-"
    cells = [
        row.target,
        row.engine,
        row.origin,
        *(format(row.figures[name], form) if name in row.figures else "-" for name, form in _FORMS.items()),
        masks or "-",
        str(row.frames),
        speed,
        f"{row.bytes / 1e6:.2f}",
        f"{row.seconds:.1f}",
        f"{row.peak_bytes / 1e6:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


_FORMS = {"f1": ".3f", "lateral_px": ".2f"}


def main(out: Path, only: Sequence[str], targets: Sequence[str], effort: Effort, judging: int, resume: bool) -> None:
    stored = out.with_suffix(".json")
    about = {"date": date.today().isoformat(), "cpu": describe({}).cpu, "effort": effort, "versions": _versions()}
    rows = [Row(**row) for row in json.loads(stored.read_text())["rows"]] if resume and stored.exists() else []
    order = [(case.model, name) for case in CASES for name in boards()]
    for case in CASES:
        for name in boards():
            if (only and case.model not in only) or (targets and name not in targets):
                continue
            if any((row.model, row.target) == (case.model, name) for row in rows):
                continue
            row = measure(case, name, effort, judging)
            rows.append(row)
            rows.sort(key=lambda one: order.index((one.model, one.target)))
            print(f"{time.strftime('%H:%M:%S')} {row}", file=sys.stderr, flush=True)
            stored.write_text(json.dumps({"about": about, "rows": [asdict(one) for one in rows]}, indent=1) + "\n")
            out.write_text(page(rows, about))


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
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs" / "backends.md")
    parser.add_argument("--only", nargs="*", default=[], metavar="MODEL")
    parser.add_argument("--targets", nargs="*", default=[], metavar="TARGET")
    parser.add_argument("--effort", choices=("quick", "standard", "max"), default="quick")
    parser.add_argument("--judging", type=int, default=8, help="frames to judge on")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    given = parser.parse_args()
    main(given.out, given.only, given.targets, given.effort, given.judging, given.resume)
