"""What a compiled model computes on the golden inputs, held against ONNX Runtime and against floating point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.backends import Backend, Engine, backend_for
from edgekit.backends.crosscheck import differences, require_same_results
from edgekit.calibration.artifact import Calibration, GoldenInput
from edgekit.errors import ModelError
from edgekit.manifest import Agreements
from edgekit.runtime.prepare import preprocessor_for
from edgekit.runtime.session import Session, heads_of
from edgekit.targets import Target
from edgekit.tasks import task_for
from edgekit.tasks.base import Agreement, Scene, Task

Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class _Replay:
    """What one model gave on the golden inputs, and what that shows."""

    input_name: str
    outputs: list[Outputs]
    scenes: list[Scene]


@dataclass(frozen=True)
class Evidence:
    """What the golden inputs gave.

    Attributes:
        engine: Engine and version that the outputs are from.
        input_name: The model's input.
        outputs: By output name, one for each golden input.
        agreement: How the models agree.
        total: The same, of the model whose outputs these are against the floating-point model.
    """

    engine: str
    input_name: str
    outputs: list[Outputs]
    agreement: Agreements
    total: Agreement


def gather_evidence(
    calibration: Calibration,
    board: Target,
    backend: Backend,
    model: bytes,
    built: Mapping[str, bytes],
    reference: bytes,
) -> Evidence:
    """Run the golden inputs through all models, and refuse an engine that miscomputes.

    Args:
        calibration: Has the golden inputs.
        board: The target; where its engine runs on the device only, the outputs are ONNX Runtime's.
        backend: Its engine.
        model: The Q/DQ model.
        built: What the backend made of it.
        reference: The floating-point model.

    Raises:
        ModelError: The engine miscomputes the model, or an output is not finite.
        TargetError: The engine does not run here.
    """
    onnxruntime, task = backend_for("onnxruntime"), task_for(calibration.recipe)
    # What goes to the device may have other types than the calibration's model, such as half precision.
    model = built.get("model.onnx", model) if board.runs == "on-device" else model
    floating = _replay(onnxruntime.load({"model.onnx": reference}, {}, threads=1), calibration)
    expected = _replay(onnxruntime.load({"model.onnx": model}, {}, threads=1), calibration)
    wanted = _agreement(task, floating, expected)
    if board.runs == "on-device":
        agreement = Agreements(
            engine_to_reference=None, engine_to_onnxruntime=None, onnxruntime_to_reference=_figures(wanted)
        )
        engine = f"{name_of(onnxruntime)} on the Q/DQ model"
        return Evidence(engine, expected.input_name, expected.outputs, agreement, wanted)
    actual = _replay(backend.load(built, board.options, threads=1), calibration)
    given = _agreement(task, floating, actual)
    found = differences(floating.outputs, expected.outputs, actual.outputs)
    require_same_results(name_of(backend), str(board.options.get("precision", "f32")), found, wanted, given)
    agreement = Agreements(
        engine_to_reference=_figures(given),
        engine_to_onnxruntime=_figures(_agreement(task, expected, actual)),
        onnxruntime_to_reference=_figures(wanted),
    )
    return Evidence(name_of(backend), actual.input_name, actual.outputs, agreement, given)


def _replay(engine: Engine, calibration: Calibration) -> _Replay:
    if len(engine.inputs) != 1:
        raise ModelError(
            problem="The model does not take exactly one input.",
            found=", ".join(map(str, engine.inputs)) or "none",
            fix="Export it with the image as its only input.",
        )
    recipe, golden, name = calibration.recipe, calibration.golden(), engine.inputs[0].name
    preprocessor = preprocessor_for(recipe.preprocessing, golden[0].input.shape)
    heads = heads_of(recipe, [output.name for output in engine.outputs])
    with Session(engine, name, preprocessor, heads, task_for(recipe)) as session:
        outputs = [session.infer(one.input) for one in golden]
        _require_numbers(outputs, golden)
        scenes = [session.decode(values, one.frame_size) for values, one in zip(outputs, golden, strict=True)]
    return _Replay(name, outputs, scenes)


def _require_numbers(outputs: list[Outputs], golden: list[GoldenInput]) -> None:
    for values, one in zip(outputs, golden, strict=True):
        for name, array in values.items():
            if not np.isfinite(array).all():
                raise ModelError(
                    problem=f"The model's output '{name}' is not finite, so what it shows is unknown.",
                    found=f"{np.count_nonzero(~np.isfinite(array))} of {array.size} values, on {one.frame}",
                    fix="Calibrate again; if it stays so, look for NaN and overflow in the trained model.",
                )


def _agreement(task: Task, reference: _Replay, candidate: _Replay) -> Agreement:
    return reduce(add, map(task.compare, reference.scenes, candidate.scenes))


def _figures(agreement: Agreement) -> dict[str, float]:
    # Tensors that are equal have no finite ratio of signal to noise, and JSON has no word for infinity.
    return {name: value for name, value in agreement.figures().items() if np.isfinite(value)}


def name_of(backend: Backend) -> str:
    """Return a backend's name and version."""
    return f"{backend.name} {backend.available().version}"
