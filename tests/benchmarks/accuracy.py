"""Accuracy and speed of INT8 on four real lane models: EdgeKit beside ONNX Runtime's quantize_static and NNCF.

    python -m tests.benchmarks.accuracy -o docs/accuracy.md [--only pinetq]

Every tool quantizes on the same frames, every other one, and is checked on the rest; then the other way round, so that
every frame is checked once by a model that has not seen it. The reference is the floating-point model in the same
engine with the same thread. Speeds are medians of interleaved rounds, as a ratio to float32. It needs
../shared/lanes and takes about ten minutes on two cores; the machine should do nothing else.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openvino

import edgekit
from edgekit.frames import Frames
from edgekit.graph.read import input_of, read_model
from edgekit.graph.reference import ReferenceRun
from edgekit.profiling.machine import describe, noise_floor
from edgekit.recipes import Recipe, load_recipe
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.runtime.session import heads_of
from edgekit.tasks import task_for
from edgekit.tasks.base import Agreement, Scene
from edgekit.tasks.lanes.metrics import read_lines, recall

ROOT = Path(__file__).resolve().parents[2]
LANES = ROOT.parent / "shared" / "lanes"
THREADS = 1
SECONDS_PER_ENGINE = 6.0

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """A model, its recipe, and the folders of frames of its own domain."""

    model: str
    recipe: str
    folders: tuple[str, ...]
    labelled: bool = False

    @property
    def path(self) -> Path:
        return LANES / "models" / self.model / "model.onnx"


CASES = (
    Case("lstr-culane", "lane-curve", ("culane",), labelled=True),
    Case("quantlanenet-tusimple", "lane-row-anchor", ("tusimple", "tusimple-clip")),
    Case("pinetq", "lane-keypoint", ("us123", "bdd100k")),
    Case("twinlitenet-bdd100k", "lane-segmentation", ("us123", "bdd100k")),
)

ENGINES = {
    "openvino": ("intel-cpu-vnni", ("edgekit", "quantize_static", "nncf", "nncf-mixed")),
    "onnxruntime": ("arm-cortex-a76", ("edgekit", "quantize_static", "nncf-onnx")),
}


@dataclass(frozen=True)
class Row:
    """What one tool reached on one model in one engine."""

    model: str
    engine: str
    tool: str
    figures: dict[str, float] = field(default_factory=dict)
    recall: float | None = None
    speedup: float | None = None
    milliseconds: float | None = None
    seconds: float | None = None
    peak_rss_mb: float | None = None
    refused: str = ""


def main(out: Path, only: Sequence[str]) -> None:
    rows: list[Row] = []
    noise = noise_floor()
    for case in CASES:
        if only and case.model not in only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            for engine in ENGINES:
                rows += measure(case, engine, Path(folder))
    versions = {name: version(name) for name in ("onnxruntime", "openvino", "nncf", "numpy")}
    machine = describe({"edgekit": edgekit.__version__, **versions})
    out.with_suffix(".json").write_text(json.dumps([row.__dict__ for row in rows], indent=1) + "\n")
    out.write_text(page(rows, f"{machine.cpu}, {THREADS} thread", machine.versions, noise.cv))


def measure(case: Case, engine: str, folder: Path) -> list[Row]:
    target, tools = ENGINES[engine]
    files = [file for name in case.folders for file in sorted((LANES / "frames" / name).glob("*.jpg"))]
    halves = [folder / f"half-{half}.txt" for half in (0, 1)]
    for half, listed in enumerate(halves):
        listed.write_text("\n".join(map(str, files[half::2])))

    runs: dict[str, list[Run]] = {"float32": [_engine_run(engine, case.path)] * 2}
    rows = {"float32": Row(case.model, engine, "float32")}
    for tool in tools:
        print(f"{case.model}: {tool} for {engine}", file=sys.stderr, flush=True)
        rows[tool] = Row(case.model, engine, tool)
        suffix = ".xml" if tool in ("nncf", "nncf-mixed") else ".onnx"
        paths = [folder / f"{engine}-{tool}-{half}{suffix}" for half in (0, 1)]
        try:
            costs = [_quantize(tool, case, target, *pair) for pair in zip(halves, paths, strict=True)]
            runs[tool] = [_engine_run(engine, path) for path in paths]
            rows[tool] = replace(rows[tool], **costs[0])
        except (RuntimeError, subprocess.CalledProcessError) as error:
            text = getattr(error, "stderr", None) or str(error)
            rows[tool] = replace(rows[tool], refused=str(text).strip().splitlines()[-1][:160])
    first, second = (
        _tallies(case, Frames.open(listed), [pair[1 - half] for pair in runs.values()])
        for half, listed in enumerate(halves)
    )
    times = _times([pair[0] for pair in runs.values()], case)
    for tool, one, two, ms in zip(runs, first, second, times, strict=True):
        total = one + two
        rows[tool] = replace(
            rows[tool],
            figures=total.agreement.figures(),
            recall=total.found / total.labelled if total.labelled else None,
            speedup=round(times[0] / ms, 3),
            milliseconds=round(ms, 3),
        )
    return list(rows.values())


def _quantize(tool: str, case: Case, target: str, frames: Path, out: Path) -> dict[str, Any]:
    order = {
        "tool": tool,
        "model": str(case.path),
        "frames": str(frames),
        "recipe": case.recipe,
        "target": target,
        "out": str(out),
    }
    command = [sys.executable, "-m", "tests.benchmarks.tools", json.dumps(order)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return answer


def _engine_run(engine: str, path: Path) -> Run:
    if engine == "onnxruntime":
        return ReferenceRun(path.read_bytes(), THREADS)
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": THREADS,
        "NUM_STREAMS": 1,
    }
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    request = compiled.create_infer_request()
    names = {port.get_any_name(): port for port in compiled.outputs}

    def run(values: np.ndarray) -> dict[str, np.ndarray]:
        results = request.infer({0: values})
        return {name: np.array(results[port]) for name, port in names.items()}

    return run


@dataclass(frozen=True)
class Tally:
    """Agreement with float32, and labelled lanes found of all."""

    agreement: Agreement = field(default_factory=Agreement)
    found: int = 0
    labelled: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.agreement + other.agreement, self.found + other.found, self.labelled + other.labelled)


def _tallies(case: Case, frames: Frames, runs: list[Run]) -> list[Tally]:
    """Return, per run, its agreement with the first one, and its recall of labelled lanes where there are labels."""
    recipe = load_recipe(case.recipe)
    prepare = _preprocessor(case, recipe)
    task = task_for(recipe)
    tallies = [Tally() for _ in runs]
    for frame in frames:
        size = (frame.pixels.shape[0], frame.pixels.shape[1])
        labels = read_lines(Path(frame.name).with_suffix(".lines.txt")) if case.labelled else []
        scenes: list[Scene] = []
        for run in runs:
            outputs = run(prepare(frame.pixels))
            heads = {head: outputs[name] for head, name in heads_of(recipe, outputs).items()}
            scenes.append(task.decode(heads, prepare.geometry(size)))
        tallies = [
            tally + Tally(task.compare(scenes[0], scene), *recall(labels, scene.lanes, size))
            for tally, scene in zip(tallies, scenes, strict=True)
        ]
    return tallies


def _times(runs: list[Run], case: Case) -> list[float]:
    """Return each run's median time in ms: rounds of three calls in turn, so that drift hits all alike."""
    values = np.random.default_rng(0).uniform(0, 1, input_of(read_model(case.path))[1]).astype(np.float32)
    samples: list[list[float]] = [[] for _ in runs]
    for run in runs:
        for _ in range(5):
            run(values)
    end = time.perf_counter() + SECONDS_PER_ENGINE
    while time.perf_counter() < end:
        for run, taken in zip(runs, samples, strict=True):
            for _ in range(3):
                start = time.perf_counter()
                run(values)
                taken.append(time.perf_counter() - start)
    return [float(np.median(taken)) * 1e3 for taken in samples]


def _preprocessor(case: Case, recipe: Recipe) -> Preprocessor:
    shape = input_of(read_model(case.path))[1]
    return Preprocessor(recipe.preprocessing, tuple(extent or 1 for extent in shape))


def page(rows: Sequence[Row], processor: str, versions: Mapping[str, str], noise: float) -> str:
    """Return the Markdown page."""
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = [
        "# Accuracy and speed on real lane models",
        "",
        "Written by `python -m tests.benchmarks.accuracy -o docs/accuracy.md`. Origin of every figure: measured.",
        "",
        f"Measured {date.today().isoformat()} on {processor}; {named}. "
        f"Noise floor of the machine: {100 * noise:.1f} % (coefficient of variation of a fixed loop).",
        "",
        "The reference is the float32 model in the same engine: F1 of its lanes (30 px wide, IoU > 0.5), mean lateral",
        "shift of matched lanes in px of the frame, IoU of its masks. Every other frame calibrates, the rest checks;",
        "then the other way round, so that every frame is checked once by a model that has not seen it.",
        "Recall is that of CULane's labelled ego lanes. Speed is the ratio to float32 (explicit f32, never bf16).",
        "`edgekit` is `--effort quick`: ranges and placement alone, without selection and learning.",
        "Time and peak memory are those of a process that only quantizes, on the first half.",
        "",
        "ONNX Runtime runs on this x86 processor here: its results count for ARM, its speed does not.",
    ]
    for model in dict.fromkeys(row.model for row in rows):
        lines += ["", f"## {model}", ""]
        lines += ["| engine | tool | F1 | shift px | IoU | recall | ms | speed | quantizing s | peak MB |"]
        lines += ["|---|---|---|---|---|---|---|---|---|---|"]
        lines += [_table_row(row) for row in rows if row.model == model]
    return "\n".join(lines) + "\n"


def _table_row(row: Row) -> str:
    if row.refused:
        return f"| {row.engine} | {row.tool} | refused: {row.refused.replace('|', '/')} | | | | | | | |"
    ious = [f"{name[4:]} {value:.3f}" for name, value in row.figures.items() if name.startswith("iou_")]
    cells = [
        row.engine,
        row.tool,
        _cell(row.figures.get("f1"), ".3f"),
        _cell(row.figures.get("lateral_px"), ".2f"),
        ", ".join(ious) or "-",
        _cell(row.recall, ".3f"),
        _cell(row.milliseconds, ".2f"),
        _cell(row.speedup, ".2f"),
        _cell(row.seconds, ".1f"),
        _cell(row.peak_rss_mb, ".0f"),
    ]
    return f"| {' | '.join(cells)} |"


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs" / "accuracy.md")
    parser.add_argument("--only", nargs="*", default=[])
    given = parser.parse_args()
    main(given.out, given.only)
