"""Write a calibration folder: clean, run the recipe's steps, write Q/DQ, check, and report."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

import edgekit
from edgekit.calibration import artifact
from edgekit.calibration.artifact import GoldenInput, golden_bytes
from edgekit.calibration.bits import grids_of
from edgekit.calibration.judging.evaluate import Evaluation, Gate, Pair, judge
from edgekit.calibration.pipeline import State, run_steps
from edgekit.calibration.ranges.observe import save_observations
from edgekit.calibration.scales import SCHEMA_VERSION, Provenance, Scales, node_scales, parameters_of, sha256_of
from edgekit.errors import UsageError
from edgekit.features.folder import unpack_features
from edgekit.frames import FrameSource
from edgekit.graph.clean import Cleaned, at_opset, clean
from edgekit.graph.cost import node_costs
from edgekit.graph.placement import place
from edgekit.graph.qdq import write_qdq
from edgekit.graph.read import input_of, read_model, with_input_shape
from edgekit.graph.reference import ReferenceRun
from edgekit.process import is_measurable, resident
from edgekit.progress import Progress
from edgekit.recipes import Bits, Recipe
from edgekit.report.sensitivity import sensitivity_png
from edgekit.report.worst import draw_frames
from edgekit.runtime.prepare import Prepare, preprocessor_for
from edgekit.runtime.session import heads_of
from edgekit.targets import Target
from edgekit.tasks import task_for

NEUTRAL_OPSET = 17
"""The floating-point model is kept at this opset, which every backend reads; Q/DQ is written at the target's own."""

CHECK_EVERY = 4
LEAST_FRAMES_TO_SPLIT = 8
GOLDEN_INPUTS = 2
WORST_FRAMES = 6
LABELS: dict[Bits, str] = {"w8a8": "INT8", "w4a8": "W4A8 simulated", "w4a4": "W4A4 simulated"}
"""What pictures call the quantized model."""


@dataclass(frozen=True)
class Request:
    """Everything a calibration is made from, found and read."""

    model_file: Path
    frames: FrameSource
    recipe: Recipe
    target: Target
    folder: Path
    seed: int
    bits: Bits = "w8a8"
    device: str = "cpu"
    features: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def checkpoint(self) -> Path:
        """Where long steps keep what they have learned so far, until the calibration is written."""
        return self.folder.with_name(f"{self.folder.name}.checkpoint")


@dataclass
class Clock:
    """Seconds that each stage took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def write_calibration(folder: Path, request: Request, progress: Progress) -> None:
    """Fill an empty folder with a calibration.

    Raises:
        EdgekitError: The model, the frames or the recipe do not allow it.
    """
    clock = Clock()
    recipe, target = request.recipe, request.target
    with clock.stage("clean"):
        source = read_model(request.model_file)
        heads_of(recipe, [value.name for value in source.graph.output])
        # Roles that the decoder misses are told of now, and not after the long work.
        task_for(recipe)
        cleaned = clean(with_input_shape(source, _input_size(request)), NEUTRAL_OPSET)
        model = at_opset(cleaned.model, target.scheme.opset)
        placement = place(model, target.scheme)
    shape = tuple(extent or 1 for extent in input_of(cleaned.model)[1])
    preprocessor = preprocessor_for(recipe.preprocessing, shape)
    identity = _check_features(request, shape)
    training, held_out = _split(request.frames)
    with clock.stage("calibrate"):
        grids = grids_of(model, placement, target.scheme, request.bits)
        first = State(
            model,
            target,
            placement,
            training,
            preprocessor,
            recipe,
            grids,
            seed=request.seed,
            device=request.device,
            checkpoint=request.checkpoint,
            neutral=cleaned.model,
        )
        state = run_steps(first, progress)
        quantized = write_qdq(
            state.model,
            state.placement,
            target.scheme,
            parameters_of(state.scales),
            state.integers,
            state.biases,
            state.grids,
        )
    with clock.stage("check"):
        pair = Pair(ReferenceRun(cleaned.model), ReferenceRun(quantized), preprocessor, recipe)
        evaluation = pair.evaluate(held_out, progress)
        pictures = _draw_worst(evaluation, pair, held_out, folder, request.bits)
    gates = judge(evaluation.total, recipe.gates)
    scales = Scales(
        schema_version=SCHEMA_VERSION,
        tensors=state.scales,
        nodes=node_scales(state.placement, state.grids),
        kept=tuple(sorted(state.placement.keep)),
        provenance=_provenance(request, training, identity),
    )
    onnx.save(state.neutral or cleaned.model, folder / artifact.FP_MODEL)
    onnx.save(quantized, folder / artifact.QDQ_MODEL)
    save_observations(state.observations, folder / artifact.OBSERVATIONS)
    (folder / artifact.SCALES).write_text(scales.to_json(), encoding="utf-8")
    (folder / artifact.RECIPE).write_text(recipe.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / artifact.TARGET).write_text(target.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / artifact.GOLDEN).write_bytes(golden_bytes(_golden(held_out, preprocessor)))
    _draw_sensitivity(state, request, folder)
    if request.features:
        (folder / artifact.FEATURES).mkdir()
        for name, content in request.features.items():
            (folder / artifact.FEATURES / name).write_bytes(content)
    report = _report(
        request, cleaned, state, scales, evaluation, pictures, gates, held_out is not request.frames, clock
    )
    (folder / artifact.REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _draw_worst(evaluation: Evaluation, pair: Pair, frames: FrameSource, folder: Path, bits: Bits) -> dict[str, str]:
    """Draw the frames that are distorted most; returns picture to frame name. Of requests there is no picture."""
    if pair.recipe.preprocessing.kind == "features":
        return {}
    captions = {frame.name: f"distortion {frame.distortion:.2f}" for frame in evaluation.worst(WORST_FRAMES)}
    (folder / artifact.WORST).mkdir()
    pictures = draw_frames(frames, captions, pair.scenes, folder / artifact.WORST, LABELS[bits])
    return {f"{artifact.WORST}/{picture}": name for picture, name in zip(pictures, captions, strict=True)}


def _draw_sensitivity(state: State, request: Request, folder: Path) -> None:
    if "sensitivity" in state.records:
        chart = sensitivity_png(state.records["sensitivity"], f"{request.model_file.name} for {request.target.name}")
        (folder / artifact.SENSITIVITY).write_bytes(chart)


def _input_size(request: Request) -> tuple[int, int] | None:
    """Return height and width of the input where the model leaves them free, or candidates and width of a ranker's."""
    if request.recipe.preprocessing.kind == "image":
        return request.recipe.preprocessing.size
    first = next(iter(request.frames.spread(1)), None)
    return None if first is None or first.values.ndim != 2 else (first.values.shape[0], first.values.shape[1])


def _check_features(request: Request, shape: tuple[int, ...]) -> str:
    """Return the identity of a ranker's features, once they are known to make the model's input.

    Raises:
        UsageError: They are as wide as another model's.
    """
    if not request.features:
        return ""
    found = unpack_features(request.features, "the features")
    if found.schema.width != shape[-1]:
        raise UsageError(
            problem="The features are not those that the model was trained with.",
            found=f"'{found.schema.name}' is {found.schema.width} wide, the model's input {shape[-1]}",
            fix="Give the folder that was written together with this model.",
        )
    return found.identity


def _split(frames: FrameSource) -> tuple[FrameSource, FrameSource]:
    """Hold every fourth frame out for the check; with few frames, all serve for both."""
    if len(frames) < LEAST_FRAMES_TO_SPLIT:
        return frames, frames
    return frames.split(CHECK_EVERY)


def _golden(frames: FrameSource, preprocessor: Prepare) -> list[GoldenInput]:
    return [
        GoldenInput(frame.name, (frame.values.shape[0], frame.values.shape[1]), preprocessor(frame.values))
        for frame in frames.spread(GOLDEN_INPUTS)
    ]


def _provenance(request: Request, training: FrameSource, features: str) -> Provenance:
    return Provenance(
        model_sha256=hashlib.sha256(request.model_file.read_bytes()).hexdigest(),
        frames_sha256=training.digest(),
        frames=len(training),
        preprocessing_sha256=sha256_of(request.recipe.preprocessing.model_dump_json()),
        features_sha256=features,
        recipe=request.recipe.name,
        recipe_sha256=sha256_of(request.recipe.model_dump_json()),
        target=request.target.name,
        target_sha256=sha256_of(request.target.model_dump_json()),
        seed=request.seed,
        bits=request.bits,
        versions={"edgekit": edgekit.__version__}
        | {name: version(name) for name in ("numpy", "onnx", "onnxruntime", "onnxscript", "opencv-python-headless")},
    )


def _report(
    request: Request,
    cleaned: Cleaned,
    state: State,
    scales: Scales,
    evaluation: Evaluation,
    pictures: dict[str, str],
    gates: tuple[Gate, ...],
    held_out: bool,
    clock: Clock,
) -> dict[str, Any]:
    costs = node_costs(cleaned.model)
    total_macs = sum(cost.macs for cost in costs)
    high = request.target.scheme.higher_precision
    quantized_macs = sum(cost.macs for cost in costs if _is_quantized(cost.name, scales, high))
    return {
        "schema_version": 1,
        "model": {
            "file": request.model_file.name,
            "changes": list(cleaned.changes),
            "largest_difference": cleaned.largest_difference,
            "macs": total_macs,
            "parameters": sum(cost.parameters for cost in costs),
        },
        "quantized": {
            "bits": request.bits,
            "simulated": request.bits != "w8a8",
            "nodes": sum(_is_quantized(name, scales, high) for name in scales.nodes),
            "nodes_with_weights": len(scales.nodes),
            "macs_share": quantized_macs / total_macs if total_macs else 0.0,
            "activations": sum(tensor.kind == "activation" for tensor in scales.tensors.values()),
        },
        "agreement": {
            "origin": "measured",
            "engine": f"onnxruntime {version('onnxruntime')}, this machine's CPU",
            "reference": "the floating-point model",
            "held_out": held_out,
            "frames": evaluation.total.frames,
            "figures": evaluation.total.figures(),
            "distortion": evaluation.distortion,
            "ground_shift_cm": evaluation.ground_cm,
            "per_frame": {
                frame.name: frame.agreement.figures() | {"distortion": frame.distortion} for frame in evaluation.frames
            },
            "worst": pictures,
        },
        **state.records,
        "gates": [asdict(gate) for gate in gates],
        "frames": {"calibrated_on": _observed(state), "skipped": sorted(request.frames.skipped)},
        "seconds": clock.seconds,
        "peak_rss_mb": round(resident()[1] / 2**20, 1) if is_measurable() else None,
    }


def _observed(state: State) -> int:
    """Return how many frames the ranges come from: no more than the recipe asks for, and only those that were read."""
    return max((seen.batches for seen in state.observations.values()), default=0)


def _is_quantized(node: str, scales: Scales, higher_precision: str) -> bool:
    return node in scales.nodes and scales.nodes[node].precision not in (higher_precision, "fp16")
