"""Four lane networks on Qualcomm's HTP, in the simulator: what of them runs there, and how true it is to float32.

    python -m tests.benchmarks.qnn -o docs/qnn.md [--frames 4] [--effort quick] [--models ...] [--targets ...]

It needs ../shared/lanes and onnxruntime-qnn, and adds to the rows in the JSON beside the page. The simulator takes
seconds for a frame; its times say nothing and are not written down.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import edgekit
from edgekit.api.load import load
from edgekit.backends import Build
from edgekit.backends.qnn import QnnBackend
from edgekit.bundle import Bundle
from edgekit.calibration.artifact import Calibration
from edgekit.errors import HostMismatchWarning
from edgekit.frames import Frames
from edgekit.profiling.machine import describe
from tests.benchmarks.judging import CASES, Case, Tally, engine_run, tallies

EFFORTS = ("quick", "standard", "max")
TARGETS = ("qualcomm-htp-v69", "qualcomm-htp-v73", "qualcomm-htp-v75")

HEAD = """\
# Qualcomm HTP, simulated

What `edgekit compile` makes of four public lane networks for Qualcomm's HTP, and how far it lies from the float32
model under ONNX Runtime. All figures of accuracy are `simulated`: the context binary ran in the simulator of
onnxruntime-qnn on x86-64, with fallback to the CPU disabled. No Snapdragon was at hand.

Written {date} by `python -m tests.benchmarks.qnn`: {cpu}, onnxruntime {onnxruntime}, onnxruntime-qnn {qnn};
calibrated on every frame but each fourth, with the `--effort` that the row names, and judged on some of those held out.

"""

COLUMNS = (
    "model",
    "target",
    "effort",
    "frames",
    "F1",
    "IoU lane",
    "lateral px",
    "nodes on HTP",
    "operations in 8 bit, 16 bit, half precision",
    "context MB",
    "peak MB",
    "same bytes again",
)

TAIL = """
On QuantLaneNet an effort makes no difference that so few frames could show: its columns are an argmax, and one row that
tips moves a lane by px. LSTR's matrix products run in half precision (`unless_minor` in the target's file).

F1, IoU and lateral shift are those of the [accuracy page](accuracy.md): 1.000 and 0 px would be the float32 model's own
lanes. "Nodes on HTP" counts the nodes of the Q/DQ model without Q/DQ itself. Operations are QNN's own; conversions
between precisions are among them. Peak memory is that of the compiler's process, `measured`. "Same bytes again" says
whether compiling a second time gave the same context. A network and target without a row were not judged.
"""


def main() -> None:
    """Judge, and write the page and the JSON beside it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("-o", "--out", type=Path, required=True)
    arguments.add_argument("--frames", type=int, default=4)
    arguments.add_argument("--effort", default="quick", choices=EFFORTS)
    arguments.add_argument("--models", nargs="*", default=[case.model for case in CASES])
    arguments.add_argument("--targets", nargs="*", default=TARGETS, choices=TARGETS)
    given = arguments.parse_args()
    record = given.out.with_suffix(".json")
    rows: dict[str, list[str]] = json.loads(record.read_text(encoding="utf-8"))["rows"] if record.exists() else {}
    about = {
        "date": datetime.date.today().isoformat(),
        "cpu": describe({}).cpu,
        "onnxruntime": version("onnxruntime"),
        "qnn": version("onnxruntime-qnn"),
    }
    with tempfile.TemporaryDirectory() as name:
        for case in CASES:
            if case.model in given.models:
                for target, row in _rows(case, Path(name), given):
                    rows[f"{case.model} {target} {given.effort}"] = row
                    write_page(given.out, rows, about)


def write_page(out: Path, rows: Mapping[str, Sequence[str]], about: Mapping[str, object]) -> None:
    """Write the JSON and the page from it, in the order of the models and targets."""
    order = [f"{case.model} {target} {effort}" for case in CASES for effort in EFFORTS for target in TARGETS]
    table = [COLUMNS, ["---"] * len(COLUMNS), *(rows[key] for key in order if key in rows)]
    lines = [f"| {' | '.join(row)} |" for row in table]
    out.with_suffix(".json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    out.write_text(HEAD.format(**about) + "\n".join(lines) + "\n" + TAIL, encoding="utf-8")


def _rows(case: Case, folder: Path, given: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    files, count = case.frames, given.frames
    held_out = files[3::4]
    training = folder / f"{case.model}.txt"
    training.write_text("\n".join(str(file) for file in files if file not in held_out), encoding="utf-8")
    calibration = edgekit.calibrate(
        case.path, training, recipe=case.recipe, target=TARGETS[1], out=folder / case.model, effort=given.effort
    )
    chosen = folder / f"{case.model}.held-out.txt"
    chosen.write_text("\n".join(map(str, held_out[:: max(len(held_out) // count, 1)][:count])), encoding="utf-8")
    judged = Frames.open(chosen)
    for target in given.targets:
        yield target, [case.model, target, given.effort, str(len(judged)), *_row(case, calibration, target, judged)]


def _row(case: Case, calibration: Calibration, target: str, frames: Frames) -> list[str]:
    out = calibration.folder.with_name(f"{case.model}-{target}.edge")
    bundle = edgekit.compile(calibration, target=target, out=out, overwrite=True)
    built = QnnBackend().build(bundle.read("engine/model.onnx"), bundle.manifest.target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HostMismatchWarning)
        session = load(bundle)
    with session:
        _, tally = tallies(case, frames, [engine_run("onnxruntime", case.path), session.infer])
    row = [*_figures(tally), *_engine(bundle, built)]
    print(case.model, target, *row, sep=" | ", flush=True)
    return row


def _figures(tally: Tally) -> list[str]:
    figures = tally.agreement.figures()
    columns = (("f1", ".3f"), ("iou_lane", ".3f"), ("lateral_px", ".2f"))
    return [f"{figures[name]:{form}}" if name in figures else "" for name, form in columns]


def _engine(bundle: Bundle, built: Build) -> list[str]:
    engine = bundle.manifest.engine
    kinds = Counter(layer.precision for layer in engine.layers)
    context = len(bundle.engine_members()["context_qnn.bin"]) / 1e6
    return [
        f"{engine.nodes - len(engine.fallback)} of {engine.nodes}",
        f"{kinds['int8']}, {kinds['int16']}, {kinds['f16']}",
        f"{context:.2f}",
        f"{(built.peak_bytes or 0) / 1e6:.0f}",
        "yes" if engine.reproducible else "no",
    ]


if __name__ == "__main__":
    main()
