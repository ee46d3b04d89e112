"""Four lane networks on Qualcomm's HTP, in the simulator: what of them runs there, and how true it is to float32.

    python -m tests.benchmarks.qnn -o docs/qnn.md [--frames 3] [--effort quick]

It needs ../shared/lanes and onnxruntime-qnn. The simulator takes seconds for a frame; its times say nothing and are not
written down.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
import warnings
from collections import Counter
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
from edgekit.output import new_file
from edgekit.profiling.machine import describe
from tests.benchmarks.judging import CASES, Case, Tally, engine_run, tallies

TARGETS = ("qualcomm-htp-v69", "qualcomm-htp-v73", "qualcomm-htp-v75")

HEAD = """\
# Qualcomm HTP, simulated

What `edgekit compile` makes of four public lane networks for Qualcomm's HTP, and how far it lies from the float32
model under ONNX Runtime. All figures of accuracy are `simulated`: the context binary ran in the simulator of
onnxruntime-qnn on x86-64, with fallback to the CPU disabled. No Snapdragon was at hand.

Written {date} by `python -m tests.benchmarks.qnn`: {cpu}, onnxruntime {onnxruntime}, onnxruntime-qnn {qnn};
`edgekit calibrate --effort {effort}` on every frame but each fourth, judged on {frames} of those held out.

"""

COLUMNS = (
    "model",
    "target",
    "F1",
    "IoU lane",
    "lateral px",
    "nodes on HTP",
    "operations in 8 bit, 16 bit, half precision",
    "context MB",
    "compile s",
    "peak MB",
    "same bytes again",
)

TAIL = """
F1, IoU and lateral shift are those of the [accuracy page](accuracy.md): 1.000 and 0 px would be the float32 model's own
lanes. "Nodes on HTP" counts the nodes of the Q/DQ model without Q/DQ itself. Operations are QNN's own; conversions
between precisions are among them. Compile time and peak memory are those of the compiler's process, `measured`.
"""


def main() -> None:
    """Write the page."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("-o", "--out", type=Path, required=True)
    arguments.add_argument("--frames", type=int, default=3)
    arguments.add_argument("--effort", default="quick")
    arguments.add_argument("--models", nargs="*", default=[case.model for case in CASES])
    given = arguments.parse_args()
    rows: list[str] = []
    with new_file(given.out, overwrite=True) as draft, tempfile.TemporaryDirectory() as name:
        for case in CASES:
            if case.model in given.models:
                rows += _rows(case, Path(name), given.frames, given.effort)
        about = describe({})
        draft.write_text(
            HEAD.format(
                date=datetime.date.today().isoformat(),
                cpu=about.cpu,
                onnxruntime=version("onnxruntime"),
                qnn=version("onnxruntime-qnn"),
                effort=given.effort,
                frames=given.frames,
            )
            + "\n".join([f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *rows])
            + "\n"
            + TAIL,
            encoding="utf-8",
        )


def _rows(case: Case, folder: Path, count: int, effort: str) -> list[str]:
    files = case.frames
    held_out = files[3::4]
    training = folder / f"{case.model}.txt"
    training.write_text("\n".join(str(file) for file in files if file not in held_out), encoding="utf-8")
    calibration = edgekit.calibrate(
        case.path, training, recipe=case.recipe, target=TARGETS[1], out=folder / case.model, effort=effort
    )
    chosen = folder / f"{case.model}.held-out.txt"
    chosen.write_text("\n".join(map(str, held_out[:: max(len(held_out) // count, 1)][:count])), encoding="utf-8")
    judged = Frames.open(chosen)
    return [_row(case, calibration, target, judged, folder) for target in TARGETS]


def _row(case: Case, calibration: Calibration, target: str, frames: Frames, folder: Path) -> str:
    bundle = edgekit.compile(calibration, target=target, out=folder / f"{case.model}-{target}.edge", overwrite=True)
    built = QnnBackend().build(bundle.read("engine/model.onnx"), bundle.manifest.target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HostMismatchWarning)
        session = load(bundle)
    with session:
        _, tally = tallies(case, frames, [engine_run("onnxruntime", case.path), session.infer])
    row = f"| {case.model} | {target} | {_figures(tally)} | {_engine(bundle, built)} |"
    print(row, flush=True)
    return row


def _figures(tally: Tally) -> str:
    figures = tally.agreement.figures()
    columns = (("f1", ".3f"), ("iou_lane", ".3f"), ("lateral_px", ".2f"))
    return " | ".join(f"{figures[name]:{form}}" if name in figures else "" for name, form in columns)


def _engine(bundle: Bundle, built: Build) -> str:
    engine = bundle.manifest.engine
    kinds = Counter(layer.precision for layer in engine.layers)
    context = len(bundle.engine_members()["context_qnn.bin"]) / 1e6
    return " | ".join(
        [
            f"{engine.nodes - len(engine.fallback)} of {engine.nodes}",
            f"{kinds['int8']}, {kinds['int16']}, {kinds['f16']}",
            f"{context:.2f}",
            f"{built.seconds:.1f}",
            f"{(built.peak_bytes or 0) / 1e6:.0f}",
            "yes" if engine.reproducible else "no",
        ]
    )


if __name__ == "__main__":
    main()
