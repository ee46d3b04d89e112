"""What each part of the reconstruction is worth at 4 bit, on four real lane models.

    python -m tests.benchmarks.ablation -o docs/ablation.md [--only pinetq] [--bits w4a4 w4a8] [--seeds 2] [--steps N]
        [--methods both QDrop-style] [--resume]

Every other frame calibrates, the others judge: what a method makes of the network, written as a Q/DQ model and run by
ONNX Runtime, against the floating-point model. With a second seed the two halves change places. It needs
../shared/lanes; a reconstruction takes about a minute on one core, and there are seven per model, width and seed.

The reconstructions start from the same quantized model, see the same frames in the same order, take the same steps at
the same rates, and keep the state with the least distortion on the same held-out frames. So the Lane Distortion Score
stops all of them alike: what is told apart is the objective, plain mean squared error of the heads or that under Focus,
Selection or both, and which layers have 8 bit all the same. AdaRound alone differs in what is learned as well: the
rounding of weights, softly.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

import edgekit
from edgekit.calibration.bits import Grids, grids_of
from edgekit.calibration.distortion import distortion_for
from edgekit.calibration.focus import FocusOptions
from edgekit.calibration.judging.evaluate import Pair
from edgekit.calibration.judging.judge import Judge
from edgekit.calibration.judging.probe import Probe
from edgekit.calibration.ranges.observe import Observations, observe
from edgekit.calibration.readout import focus_on
from edgekit.calibration.reconstruction.bias import correct_biases
from edgekit.calibration.reconstruction.learning import FEW_LEVELS, Options
from edgekit.calibration.reconstruction.reconstruct import Reconstruction, reconstruct
from edgekit.calibration.reconstruction.simulation import QuantizedModel
from edgekit.calibration.reconstruction.units import Data
from edgekit.calibration.scales import choose_scales, parameters_of
from edgekit.calibration.selection.narrow import select_in_8_bit
from edgekit.calibration.selection.variants import remembered_scales
from edgekit.frames import Frames, FrameSource
from edgekit.graph.clean import at_opset, clean
from edgekit.graph.cost import node_costs
from edgekit.graph.placement import Placement, place
from edgekit.graph.read import input_of, read_model
from edgekit.graph.reference import ReferenceRun
from edgekit.profiling.machine import describe
from edgekit.recipes import Bits, Recipe, ScaleStep, SelectStep, load_recipe
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.targets import Scheme, load_target
from tests.benchmarks.ablation_page import BOTH, FOCUS, FULL, PLAIN, PLAIN_LAYERS, RANGES, SELECTION, TARGET, Row, page
from tests.benchmarks.accuracy import CASES, LANES, ROOT, Case

CHECK_FRAMES = 16
STEPS = ((1.0, 200), (float("inf"), 40))
"""Work per frame in GMAC, up to which a reconstruction takes so many steps."""

COMMON: dict[str, Any] = {**FEW_LEVELS, "check_frames": CHECK_FRAMES, "patience": 1000}
"""No method stops early: all of them take the same steps."""

MIN_MAX = ScaleStep(step="scale", activations="min-max", narrow_weights="min-max")
MSE = ScaleStep(step="scale", activations="mse", narrow_weights="mse")


@dataclass(frozen=True)
class Method:
    """One way to reconstruct.

    Attributes:
        name: In the table.
        focus: Errors count where post-processing reads.
        select: Heads count by their sensitivity.
        layers: The layers that distort most for their work have 8 bit.
        options: What else differs from the common options.
    """

    name: str
    focus: bool = False
    select: bool = False
    layers: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


METHODS = (
    Method("AdaRound", options={"learn": ("rounding",), "rounding": "soft", "rounding_rate": 5e-2, "drop": 0.0}),
    Method(PLAIN),
    Method(FOCUS, focus=True),
    Method(SELECTION, select=True),
    Method(BOTH, focus=True, select=True),
    Method(PLAIN_LAYERS, layers=True),
    Method(FULL, focus=True, select=True, layers=True),
)


@dataclass(frozen=True)
class Setting:
    """One model, prepared: everything that the methods share."""

    case: Case
    recipe: Recipe
    model: onnx.ModelProto
    scheme: Scheme
    placement: Placement
    grids: Grids
    preprocessor: Preprocessor
    training: FrameSource
    judging: FrameSource
    observations: Observations
    options: Options

    def start(self, step: ScaleStep) -> QuantizedModel:
        """Return the model with ranges and nothing learned."""
        scales = choose_scales(self.model, self.placement, self.scheme, self.observations, step, self.grids)
        return QuantizedModel(self.model, self.placement, self.scheme, parameters_of(scales), grids=self.grids)

    def with_layers(self, corrected: QuantizedModel) -> tuple[Setting, float]:
        """Return it with the layers in 8 bit that the recipe's step `select` chooses, and their share of the work."""
        step = SelectStep(step="select")
        probe = Probe(
            ReferenceRun(self.model, 1),
            self.training.spread(step.frames),
            self.preprocessor,
            self.recipe,
            distortion_for(self.recipe),
        )
        parameters = remembered_scales(self.model, self.scheme, self.observations, MSE)
        found, _, grids = select_in_8_bit(corrected, parameters, probe, step, threads=1)
        return replace(self, grids=grids), found.cost - 1.0

    def corrected(self, start: QuantizedModel) -> QuantizedModel:
        """Return it with biases corrected, as the recipe's step does before it learns."""
        few = self.training.spread(CHECK_FRAMES)
        probe = Probe(ReferenceRun(self.model, 1), few, self.preprocessor, self.recipe, distortion_for(self.recipe))
        judge = Judge(probe, ReferenceRun(start.qdq(), 1))
        return correct_biases(start, self._inputs, judge, judge.start).result

    def reconstructed(self, start: QuantizedModel, method: Method, seed: int) -> Reconstruction:
        """Return what a method learns."""
        focus = (lambda heads: focus_on(self.recipe, heads, FocusOptions())) if method.focus else None
        data = Data(self.training, self.preprocessor, self.recipe, distortion_for(self.recipe), focus)
        options = Options(**{**asdict(self.options), "select": method.select, "seed": seed, **method.options})
        return reconstruct(start, data, options)

    def judged(self, quantized: QuantizedModel) -> tuple[dict[str, float], float]:
        """Return figures and distortion of a quantized model on the judging frames."""
        runs = ReferenceRun(self.model, 1), ReferenceRun(quantized.qdq(), 1)
        evaluation = Pair(*runs, self.preprocessor, self.recipe).evaluate(self.judging)
        return evaluation.total.figures(), evaluation.distortion

    def _inputs(self) -> Iterator[NDArray[np.float32]]:
        return (self.preprocessor(frame.values) for frame in self.training)


def prepare(case: Case, bits: Bits, folder: Path, seed: int = 0, steps: int | None = None) -> Setting:
    """Clean a model, place and observe it; an odd seed calibrates on the frames that an even one judges on."""
    files = [file for name in case.folders for file in sorted((LANES / "frames" / name).glob("*.jpg"))]
    halves = [folder / f"{case.model}-{half}.txt" for half in (0, 1)]
    for half, listed in enumerate(halves):
        listed.write_text("\n".join(map(str, files[half::2])))
    training, judging = (Frames.open(halves[(seed + half) % 2]) for half in (0, 1))
    recipe, scheme = load_recipe(case.recipe), load_target(TARGET).scheme
    model = at_opset(clean(read_model(case.path), 17).model, scheme.opset)
    placement = place(model, scheme)
    preprocessor = Preprocessor(recipe.preprocessing, tuple(extent or 1 for extent in input_of(model)[1]))
    tensors = [one.tensor for one in placement.activations]
    observations = observe(model, tensors, (preprocessor(frame.values) for frame in training))
    return Setting(
        case,
        recipe,
        model,
        scheme,
        placement,
        grids_of(model, placement, scheme, bits),
        preprocessor,
        training,
        judging,
        observations,
        options_for(model, steps),
    )


def options_for(model: onnx.ModelProto, steps: int | None = None) -> Options:
    """Return the common options; a model with more work per frame takes fewer steps."""
    gmacs = sum(cost.macs for cost in node_costs(model)) / 1e9
    return Options(steps=steps or next(number for limit, number in STEPS if gmacs <= limit), **COMMON)


def rows_of(
    setting: Setting, bits: Bits, seed: int, methods: Sequence[Method] = METHODS, ranges: bool = True
) -> Iterator[Row]:
    """Yield what every method reaches, from the plainest on; without `ranges`, those that learn alone."""

    def row(method: str, quantized: QuantizedModel, start: float, steps: int = 0, chosen: float = 0.0) -> Row:
        seconds = round(time.perf_counter() - start, 1)
        figures, distortion = setting.judged(quantized)
        return Row(setting.case.model, bits, method, seed, figures, distortion, seconds, steps, chosen)

    if ranges:
        start = time.perf_counter()
        yield row(RANGES[0], setting.start(MIN_MAX), start)
    start = time.perf_counter()
    quantized = setting.start(MSE)
    if ranges:
        yield row(RANGES[1], quantized, start)
    start = time.perf_counter()
    quantized = setting.corrected(quantized)
    if ranges:
        yield row(RANGES[2], quantized, start)
    for method in (one for one in methods if not one.layers):
        start = time.perf_counter()
        found = setting.reconstructed(quantized, method, seed)
        yield row(method.name, found.result, start, found.history[-1].step)
    if not any(one.layers for one in methods):
        return
    start = time.perf_counter()
    wider, chosen = setting.with_layers(quantized)
    quantized = wider.corrected(wider.start(MSE))
    took = time.perf_counter() - start
    for method in (one for one in methods if one.layers):
        start = time.perf_counter() - took
        found = wider.reconstructed(quantized, method, seed)
        yield row(method.name, found.result, start, found.history[-1].step, chosen)


@dataclass(frozen=True)
class Order:
    """What a run of this benchmark is asked for."""

    only: Sequence[str]
    widths: Sequence[Bits]
    seeds: int
    steps: int | None
    methods: Sequence[str]

    def settings(self) -> Iterator[tuple[Case, Bits, int]]:
        cases = [case for case in CASES if not self.only or case.model in self.only]
        return ((case, bits, seed) for case in cases for bits in self.widths for seed in range(self.seeds))


def main(out: Path, order: Order, resume: bool) -> None:
    torch.set_num_threads(1)
    stored = out.with_suffix(".json")
    rows = [Row(**row) for row in json.loads(stored.read_text())] if resume and stored.exists() else []
    for case, bits, seed in order.settings():
        done = {row.method for row in rows if (row.model, row.bits, row.seed) == (case.model, bits, seed)}
        methods = [one for one in METHODS if one.name in (order.methods or [one.name]) and one.name not in done]
        ranges = not set(RANGES) <= done
        if not methods and not ranges:
            continue
        with tempfile.TemporaryDirectory() as folder:
            for row in rows_of(prepare(case, bits, Path(folder), seed, order.steps), bits, seed, methods, ranges):
                print(f"{row.model} {bits} {seed} {row.method}: {row.figures}", file=sys.stderr, flush=True)
                rows.append(row)
                # Written after every row: a run of hours that is broken off has something to show.
                _write(out, sorted(rows, key=_place))


def _place(row: Row) -> tuple[int, int, int, int]:
    """Return where a row stands on the page, in whatever order it was measured."""
    models = [case.model for case in CASES]
    names = [*RANGES, *(method.name for method in METHODS)]
    return models.index(row.model), ["w4a4", "w4a8", "w8a8"].index(row.bits), row.seed, names.index(row.method)


def _write(out: Path, rows: Sequence[Row]) -> None:
    versions = {name: version(name) for name in ("torch", "onnxruntime", "onnx", "numpy")}
    machine = describe({"edgekit": edgekit.__version__, **versions})
    out.with_suffix(".json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    out.write_text(page(rows, machine.cpu, machine.versions))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs" / "ablation.md")
    parser.add_argument("--only", nargs="*", default=[], metavar="MODEL")
    parser.add_argument("--bits", nargs="*", default=["w4a4", "w4a8"], choices=["w4a4", "w4a8", "w8a8"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, help="steps of every reconstruction; by the model's work if not given")
    parser.add_argument("--methods", nargs="*", default=[], choices=[method.name for method in METHODS])
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there and measure what they lack")
    given = parser.parse_args()
    asked = Order(given.only, cast(list[Bits], given.bits), given.seeds, given.steps, given.methods)
    main(given.out, asked, given.resume)
