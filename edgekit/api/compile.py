"""`edgekit.compile`: from a calibration to a bundle that runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit import __version__
from edgekit.backends import Backend, Engine, backend_for
from edgekit.backends.crosscheck import differences, require_same_results
from edgekit.bundle import (
    ENGINE_FOLDER,
    REFERENCE,
    SCALES,
    Agreements,
    Bundle,
    EngineRecord,
    Golden,
    GoldenRecord,
    Input,
    Manifest,
    Provenance,
    SceneLimits,
    Tensor,
    array_bytes,
    arrays_bytes,
    fill_bundle,
)
from edgekit.calibration import artifact
from edgekit.calibration.artifact import Calibration, GoldenInput
from edgekit.calibration.requantize import requantize
from edgekit.errors import ArtifactError, ModelError, UsageError
from edgekit.output import new_file
from edgekit.progress import Progress, silent
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.runtime.session import Session, heads_of
from edgekit.targets import Target, load_target
from edgekit.tasks import task_for
from edgekit.tasks.base import Agreement, Scene, Task

Outputs = dict[str, NDArray[Any]]

# The same engine gave the same values with any thread count and on any instruction set whose 8-bit products are exact.
# Kept from using VNNI, so that they saturate, OpenVINO's outputs moved by 13 to 48 % of their range on three
# convolutional lane networks and by 1 % on LSTR. 2 % lets rounding pass and damage not.
RELATIVE_TOLERANCE = 0.02
ABSOLUTE_TOLERANCE = 1e-4
TOLERANCE_RULE = (
    f"|difference| at most {RELATIVE_TOLERANCE:.0%} of the output's golden value range, or {ABSOLUTE_TOLERANCE:g}"
)
SCENE_LIMITS = SceneLimits(max_lateral_px=1.0, min_f1=1.0, min_iou=0.98)


@dataclass(frozen=True)
class _Replay:
    """What one model gave on the golden inputs, and what that shows."""

    input_name: str
    outputs: list[Outputs]
    scenes: list[Scene]


@dataclass(frozen=True)
class _Evidence:
    """The golden outputs, where they are from, and how the models agree."""

    engine: str
    input_name: str
    outputs: list[Outputs]
    agreement: Agreements


def compile(
    calibration: Calibration | str | Path,
    *,
    target: str | Path | None = None,
    out: str | Path,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Bundle:
    """Build a calibration for a target and write the bundle.

    The built engine runs the calibration's golden inputs and is held against ONNX Runtime's run of the same Q/DQ model
    before the bundle is written. For an engine that is built on the device, the golden outputs are ONNX Runtime's.

    Args:
        calibration: What `edgekit.calibrate` returned, or its folder.
        target: A shipped target's name, or a TOML file; none: the one that was calibrated for.
        out: The .edge file to write.
        overwrite: Replace an existing bundle.
        progress: Told how far it is.

    Raises:
        UsageError: There is no such target, or the calibration simulates fewer bits than any target runs.
        ArtifactError: The calibration is damaged, or does not serve the target.
        TargetError: The engine is not installed.
        ModelError: The engine does not accept the model, or miscomputes it.
        OutputError: The bundle exists, or cannot be written.
    """
    opened = calibration if isinstance(calibration, Calibration) else Calibration.open(calibration)
    board = opened.target if target is None else load_target(target)
    _require_runnable(opened)
    with new_file(out, overwrite) as draft:
        progress("compile", 0, 3)
        model, scales = _quantized(opened, board)
        backend = backend_for(board.backend)
        built = backend.build(model, board)
        progress("compile", 1, 3)
        manifest, members = _content(opened, board, backend, model, scales, built)
        progress("compile", 2, 3)
        filled = fill_bundle(draft, manifest, members)
        progress("compile", 3, 3)
    return Bundle(Path(out), filled)


def _require_runnable(calibration: Calibration) -> None:
    bits = calibration.scales.provenance.bits
    if bits != "w8a8":
        raise UsageError(
            problem=f"{calibration.folder} is a simulation, which no shipped target runs.",
            found=f"a calibration with --bits {bits}",
            fix=f"Calibrate with 8 bit: edgekit calibrate --target {calibration.target.name} --bits w8a8. "
            f"What {bits} makes of the lanes is told by {artifact.REPORT} there.",
        )


def _quantized(calibration: Calibration, board: Target) -> tuple[bytes, bytes]:
    """Return the Q/DQ model and scales.json: as calibrated, or placed anew where the target has other rules."""
    if board.scheme == calibration.target.scheme:
        return _read(calibration.qdq_model), _read(calibration.folder / SCALES)
    model, scales = requantize(calibration, board)
    return model, scales.to_json().encode()


def _content(
    calibration: Calibration,
    board: Target,
    backend: Backend,
    model: bytes,
    scales: bytes,
    built: Mapping[str, bytes],
) -> tuple[Manifest, dict[str, bytes]]:
    golden, reference = calibration.golden(), _read(calibration.fp_model)
    if not golden:
        raise ArtifactError(problem=f"{calibration.folder} holds no golden inputs.", fix="Calibrate again.")
    evidence = _evidence(calibration, board, backend, model, built, reference)
    members = {
        **{ENGINE_FOLDER + name: data for name, data in built.items()},
        REFERENCE: reference,
        SCALES: scales,
        **_golden_members(golden, evidence.outputs),
    }
    manifest = Manifest(
        edgekit=__version__,
        target=board,
        recipe=calibration.recipe,
        input=_input(evidence.input_name, calibration),
        outputs=tuple(
            Tensor(name=name, shape=values.shape, dtype=str(values.dtype))
            for name, values in evidence.outputs[0].items()
        ),
        engine=EngineRecord(
            backend=board.backend,
            version=backend.available().version if board.builds == "here" else board.device.software,
            built=board.builds,
            options=board.options,
            members=tuple(sorted(built)),
        ),
        golden=Golden(
            engine=evidence.engine,
            tolerance=_tolerance(evidence.outputs),
            rule=TOLERANCE_RULE,
            limits=SCENE_LIMITS,
            vectors=tuple(_record(index, one) for index, one in enumerate(golden)),
        ),
        agreement=evidence.agreement,
        provenance=Provenance(
            model_sha256=calibration.scales.provenance.model_sha256,
            scales_sha256=hashlib.sha256(scales).hexdigest(),
            calibration=calibration.scales.provenance.model_dump(mode="json"),
        ),
    )
    return manifest, members


def _evidence(
    calibration: Calibration,
    board: Target,
    backend: Backend,
    model: bytes,
    built: Mapping[str, bytes],
    reference: bytes,
) -> _Evidence:
    """Run the golden inputs through all models, and refuse an engine that miscomputes."""
    onnxruntime, task = backend_for("onnxruntime"), task_for(calibration.recipe)
    floating = _replay(onnxruntime.load({"model.onnx": reference}, {}, threads=1), calibration)
    expected = _replay(onnxruntime.load({"model.onnx": model}, {}, threads=1), calibration)
    wanted = _agreement(task, floating, expected)
    if board.builds == "on-device":
        agreement = Agreements(
            engine_to_reference=None, engine_to_onnxruntime=None, onnxruntime_to_reference=_figures(wanted)
        )
        return _Evidence(f"{_name(onnxruntime)} on the Q/DQ model", expected.input_name, expected.outputs, agreement)
    actual = _replay(backend.load(built, board.options, threads=1), calibration)
    given = _agreement(task, floating, actual)
    found = differences(floating.outputs, expected.outputs, actual.outputs)
    require_same_results(_name(backend), str(board.options.get("precision", "f32")), found, wanted, given)
    agreement = Agreements(
        engine_to_reference=_figures(given),
        engine_to_onnxruntime=_figures(_agreement(task, expected, actual)),
        onnxruntime_to_reference=_figures(wanted),
    )
    return _Evidence(_name(backend), actual.input_name, actual.outputs, agreement)


def _replay(engine: Engine, calibration: Calibration) -> _Replay:
    if len(engine.inputs) != 1:
        raise ModelError(
            problem="The model does not take exactly one input.",
            found=", ".join(map(str, engine.inputs)) or "none",
            fix="Export it with the image as its only input.",
        )
    recipe, golden, name = calibration.recipe, calibration.golden(), engine.inputs[0].name
    preprocessor = Preprocessor(recipe.preprocessing, golden[0].input.shape)
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


def _input(name: str, calibration: Calibration) -> Input:
    seen = np.stack([one.input for one in calibration.golden()])
    scale = calibration.scales.tensors.get(name)
    observed = scale.observed if scale is not None else (float(seen.min()), float(seen.max()))
    return Input(name=name, shape=seen.shape[1:], dtype=str(seen.dtype), observed=observed)


def _tolerance(outputs: list[Outputs]) -> dict[str, float]:
    return {
        name: max(RELATIVE_TOLERANCE * float(np.ptp(np.stack([one[name] for one in outputs]))), ABSOLUTE_TOLERANCE)
        for name in outputs[0]
    }


def _record(index: int, golden: GoldenInput) -> GoldenRecord:
    stem = f"golden/{index}"
    return GoldenRecord(
        frame=golden.frame, frame_size=golden.frame_size, input=f"{stem}.input.npy", outputs=f"{stem}.outputs.npz"
    )


def _golden_members(golden: list[GoldenInput], outputs: list[Outputs]) -> dict[str, bytes]:
    members = {}
    for index, (one, values) in enumerate(zip(golden, outputs, strict=True)):
        record = _record(index, one)
        members[record.input] = array_bytes(one.input)
        members[record.outputs] = arrays_bytes(list(values.values()))
    return members


def _figures(agreement: Agreement) -> dict[str, float]:
    # Tensors that are equal have no finite ratio of signal to noise, and JSON has no word for infinity.
    return {name: value for name, value in agreement.figures().items() if np.isfinite(value)}


def _name(backend: Backend) -> str:
    return f"{backend.name} {backend.available().version}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            problem=f"{path} cannot be read.", found=str(error.strerror), fix="Calibrate again: the folder is damaged."
        ) from error
