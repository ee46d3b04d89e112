"""The real models and frames of the benchmarks, and how a quantized model is held against its float32 model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.frames import Frames
from edgekit.graph.cost import node_costs
from edgekit.graph.read import input_of, read_model
from edgekit.graph.reference import ReferenceRun
from edgekit.recipes import load_recipe
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.runtime.session import heads_of
from edgekit.tasks import task_for
from edgekit.tasks.base import Agreement, Scene
from edgekit.tasks.lanes.metrics import read_lines, recall

ROOT = Path(__file__).resolve().parents[2]
LANES = ROOT.parent / "shared" / "lanes"
THREADS = 1
SECONDS_PER_RUN = 1.5
LEAST_ROUNDS = 10

Run = Callable[[NDArray[np.float32]], Mapping[str, NDArray[Any]]]


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

    @property
    def frames(self) -> list[Path]:
        """The frames' files, in their order."""
        return [file for name in self.folders for file in sorted((LANES / "frames" / name).glob("*.jpg"))]

    def preprocessor(self) -> Preprocessor:
        shape = input_of(read_model(self.path))[1]
        return Preprocessor(load_recipe(self.recipe).preprocessing, tuple(extent or 1 for extent in shape))


CASES = (
    Case("lstr-culane", "lane-curve", ("culane",), labelled=True),
    Case("quantlanenet-tusimple", "lane-row-anchor", ("tusimple", "tusimple-clip")),
    Case("pinetq", "lane-keypoint", ("us123", "bdd100k")),
    Case("twinlitenet-bdd100k", "lane-segmentation", ("us123", "bdd100k")),
)


@dataclass(frozen=True)
class Tally:
    """Agreement with float32, and labelled lanes found of all."""

    agreement: Agreement = field(default_factory=Agreement)
    found: int = 0
    labelled: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.agreement + other.agreement, self.found + other.found, self.labelled + other.labelled)

    @property
    def recall(self) -> float | None:
        return self.found / self.labelled if self.labelled else None


def tallies(case: Case, frames: Frames, runs: Sequence[Run]) -> list[Tally]:
    """Return, per run, its agreement with the first one, and its recall of labelled lanes where there are labels."""
    recipe = load_recipe(case.recipe)
    prepare = case.preprocessor()
    task = task_for(recipe)
    totals = [Tally() for _ in runs]
    for frame in frames:
        size = (frame.values.shape[0], frame.values.shape[1])
        labels = read_lines(Path(frame.name).with_suffix(".lines.txt")) if case.labelled else []
        scenes: list[Scene] = []
        for run in runs:
            outputs = run(prepare(frame.values))
            heads = {head: outputs[name] for head, name in heads_of(recipe, outputs).items()}
            scenes.append(task.decode(heads, prepare.geometry(size)))
        totals = [
            total + Tally(task.compare(scenes[0], scene), *recall(labels, scene.lanes, size))
            for total, scene in zip(totals, scenes, strict=True)
        ]
    return totals


def engine_run(engine: str, path: Path, precision: str = "f32") -> Run:
    """Load a model into an engine with `THREADS` threads.

    Args:
        engine: "onnxruntime" or "openvino".
        path: The model, .onnx or .xml.
        precision: What OpenVINO computes floating point in: "f32" or "bf16".
    """
    if engine == "onnxruntime":
        return ReferenceRun(path.read_bytes(), THREADS)
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": THREADS,
        "NUM_STREAMS": 1,
    }
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    request = compiled.create_infer_request()
    names = {port.get_any_name(): port for port in compiled.outputs}

    def run(values: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        results = request.infer({0: values})
        return {name: np.array(results[port]) for name, port in names.items()}

    return run


def times_ms(case: Case, runs: Sequence[Run]) -> list[float]:
    """Return each run's median time in ms: rounds of three calls in turn, so that drift hits all alike."""
    shape = tuple(extent or 1 for extent in input_of(read_model(case.path))[1])
    values = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    samples: list[list[float]] = [[] for _ in runs]
    for run in runs:
        for _ in range(5):
            run(values)
    end, rounds = time.perf_counter() + SECONDS_PER_RUN * len(runs), 0
    while rounds < LEAST_ROUNDS or time.perf_counter() < end:
        rounds += 1
        for run, taken in zip(runs, samples, strict=True):
            for _ in range(3):
                start = time.perf_counter()
                run(values)
                taken.append(time.perf_counter() - start)
    return [float(np.median(taken)) * 1e3 for taken in samples]


def int8_macs_share(path: Path) -> float:
    """Return the share of a Q/DQ file's multiply-accumulates whose two factors both come from a DequantizeLinear."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    factors = {node.output[0]: node.input[:2] for node in model.graph.node}
    outputs = [node.output[0] for node in model.graph.node]
    costs = list(zip(outputs, node_costs(model), strict=True))
    total = sum(cost.macs for _, cost in costs)
    inside = sum(cost.macs for output, cost in costs if cost.macs and set(factors[output]) <= dequantized)
    return inside / total if total else 0.0
