"""`edgekit.compile`: from a calibration to a bundle that runs."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit import __version__
from edgekit.api.built import facts_of
from edgekit.api.evidence import Evidence, Outputs, gather_evidence
from edgekit.api.offload import allowing_fallback, compute_nodes, require_offloaded
from edgekit.api.placing import Placed, Tuning, placements, require_measurable_there
from edgekit.api.slim import slimmed
from edgekit.backends import Backend, Build, backend_for
from edgekit.backends.precision import precision_shares, require_precision
from edgekit.bundle import (
    ENGINE_FOLDER,
    FEATURES_FOLDER,
    REFERENCE,
    SCALES,
    Bundle,
    array_bytes,
    arrays_bytes,
    fill_bundle,
)
from edgekit.calibration import artifact
from edgekit.calibration.artifact import Calibration, GoldenInput
from edgekit.calibration.judging.evaluate import judge
from edgekit.calibration.requantize import requantize
from edgekit.calibration.scales import Scales
from edgekit.errors import ArtifactError, HostMismatchWarning, ModelError, UsageError
from edgekit.graph.cost import node_costs
from edgekit.manifest import (
    EngineRecord,
    Golden,
    GoldenRecord,
    Input,
    Manifest,
    Provenance,
    SceneLimits,
    Tensor,
)
from edgekit.output import new_file
from edgekit.profiling.remote.host import Host, host_of
from edgekit.progress import Progress, silent
from edgekit.targets import Target, cpu_flags, load_target, origin_of

# The same engine gave the same values with any thread count and on any instruction set whose 8-bit products are exact.
# Kept from using VNNI, so that they saturate, OpenVINO's outputs moved by 13 to 48 % of their range on three
# convolutional lane networks and by 1 % on LSTR. 2 % lets rounding pass and damage not.
RELATIVE_TOLERANCE = 0.02
ABSOLUTE_TOLERANCE = 1e-4
TOLERANCE_RULE = (
    f"|difference| at most {RELATIVE_TOLERANCE:.0%} of the output's golden value range, or {ABSOLUTE_TOLERANCE:g}"
)
SCENE_LIMITS = SceneLimits(max_lateral_px=1.0, min_f1=1.0, min_iou=0.98)


def compile(
    calibration: Calibration | str | Path,
    *,
    target: str | Path | None = None,
    out: str | Path,
    tune: bool = True,
    tune_seconds: float = 90.0,
    retune: bool = False,
    threads: int = 1,
    host: Host | str | None = None,
    overwrite: bool = False,
    require_offload: float | None = None,
    slim: bool = False,
    progress: Progress = silent,
) -> Bundle:
    """Build a calibration for a target and write the bundle.

    The built engine runs the calibration's golden inputs and is held against ONNX Runtime's run of the same Q/DQ model
    before the bundle is written. For an engine that is built on the device, the golden outputs are ONNX Runtime's.

    Where the target's engine runs here, what 8 bit makes slower stays in floating point: measured on the golden inputs,
    until the model is not slower than in floating point in the same engine. What was measured is kept in the
    calibration's folder, and used again where model, target, engine, machine and threads are the same.

    With `host` the same is measured on a board: the models are sent there over ssh, and times come back.

    Args:
        calibration: What `edgekit.calibrate` returned, or its folder.
        target: A shipped target's name, or a TOML file; none: the one that was calibrated for.
        out: The .edge file to write.
        tune: Measure what pays; else the placement follows the target's rules.
        tune_seconds: Time that the search may take; what it has found by then counts.
        retune: Measure anew, whatever was measured before.
        threads: Threads of the engine while it is measured; 0 lets it choose.
        host: The board to measure on, ssh://user@board or more of it as a `Host`. None: this machine, where the
            target's engine runs here.
        overwrite: Replace an existing bundle.
        require_offload: So many percent of the model's nodes, not counting Q/DQ, have to run on the target's
            accelerator, and the others may run on its CPU. None: as the target's options say; by those of QNN none may.
        slim: Leave out of the file what the device does not need to run it: the floating-point model, the scales, the
            golden vectors, and what was measured of placements. It can neither be verified nor profiled then.
        progress: Told how far it is.

    Raises:
        UsageError: There is no such target, the calibration simulates fewer bits than any target runs, a figure is
            out of its range, or a board is named and the target's engine cannot be measured there.
        ArtifactError: The calibration is damaged, or does not serve the target.
        GateError: Fewer nodes run on the accelerator than `require_offload` asks for.
        TargetError: The engine is not installed, or computes in another precision than the target asks for; or the
            board is not reached, not trusted, or not what the target stands for.
        ModelError: The engine does not accept the model, or miscomputes it.
        OutputError: The bundle exists, or cannot be written.
    """
    opened = calibration if isinstance(calibration, Calibration) else Calibration.open(calibration)
    board = opened.target if target is None else load_target(target).computing(opened.recipe.operators)
    tuning = _tuning(tune, tune_seconds, retune, threads, host)
    require_measurable_there(board, tuning)
    if require_offload is not None:
        board = allowing_fallback(board, require_offload)
    _require_runnable(opened)
    _warn_of_missing_isa(board)
    if not opened.golden():
        raise ArtifactError(problem=f"{opened.folder} holds no golden inputs.", fix="Calibrate again.")
    with new_file(out, overwrite) as draft:
        progress("compile", 0, 3)
        model, scales = quantized_model(opened, board)
        backend = backend_for(board.backend)
        choices = placements(opened, board, model, scales, tuning, progress)
        placed, built, evidence = _one_that_agrees(opened, board, backend, choices, progress)
        require_offloaded(built, placed.model, board, require_offload)
        progress("compile", 1, 3)
        manifest, members = _content(opened, board, backend, placed, built, evidence)
        if slim:
            manifest, members = slimmed(manifest, members, opened.golden(), evidence.outputs)
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


def _warn_of_missing_isa(board: Target) -> None:
    """Say what cannot be done here for a target whose instruction sets this CPU lacks."""
    missing = [flag for flag in board.device.isa if flag not in cpu_flags()]
    if board.builds == "here" and missing and board.device.arch == load_target("host").device.arch:
        warnings.warn(
            f"{board.name} has {', '.join(missing)}, which this CPU lacks. The model is compiled and held against ONNX "
            "Runtime here on the instruction sets that this CPU has; the kernels that run on the target were not run, "
            "and no engine compiled for this CPU goes into the bundle. Run `edgekit verify` on the target.",
            HostMismatchWarning,
            stacklevel=3,
        )


def _tuning(tune: bool, seconds: float, fresh: bool, threads: int, host: Host | str | None) -> Tuning:
    if not (np.isfinite(seconds) and seconds > 0):
        raise UsageError(
            problem="The search takes more than no time.",
            found=f"tune_seconds = {seconds}",
            fix="Give a time above 0, or no search: --no-tune.",
        )
    if threads < 0:
        raise UsageError(
            problem="An engine cannot have fewer than 0 threads.",
            found=f"threads = {threads}",
            fix="Give 1 or more, or 0 to let the engine choose.",
        )
    return Tuning(seconds if tune else None, fresh, threads, None if host is None else host_of(host))


def quantized_model(calibration: Calibration, board: Target) -> tuple[bytes, Scales]:
    """Return the Q/DQ model and its scales: as calibrated, or placed anew where the target has other rules.

    Raises:
        ArtifactError: The calibration does not serve the target.
    """
    board = board.computing(calibration.recipe.operators)
    if board.scheme == calibration.target.scheme:
        return _read(calibration.qdq_model), calibration.scales
    return requantize(calibration, board)


def _one_that_agrees(
    calibration: Calibration, board: Target, backend: Backend, choices: Sequence[Placed], progress: Progress
) -> tuple[Placed, Build, Evidence]:
    """Build the first choice, unless it misses gates on the golden inputs that the target's rules keep.

    Golden inputs are few: a calibration may miss its gates on them that keeps them on all frames held out, and then no
    choice of placement is to blame.
    """
    reference = _read(calibration.fp_model)

    def build(placed: Placed) -> tuple[Placed, Build, Evidence]:
        built = backend.build(placed.model, board, progress)
        require_precision(backend.name, board, precision_shares(built.layers, _macs(calibration)))
        return placed, built, gather_evidence(calibration, board, backend, placed.model, built.members, reference)

    def agrees(evidence: Evidence) -> bool:
        return all(gate.passed for gate in judge(evidence.total, calibration.recipe.gates))

    first = build(choices[0])
    if len(choices) == 1 or agrees(first[2]):
        return first
    _, by_the_rules, floating = choices
    second = build(by_the_rules)
    if not agrees(second[2]):
        return first
    return second if by_the_rules.pays else build(floating)


def _content(
    calibration: Calibration,
    board: Target,
    backend: Backend,
    placed: Placed,
    built: Build,
    evidence: Evidence,
) -> tuple[Manifest, dict[str, bytes]]:
    golden, scales = calibration.golden(), placed.scales.encode()
    macs = _macs(calibration)
    members = {
        **{ENGINE_FOLDER + name: data for name, data in built.members.items()},
        REFERENCE: _read(calibration.fp_model),
        SCALES: scales,
        **_golden_members(golden, evidence.outputs),
        **{FEATURES_FOLDER + name: data for name, data in calibration.features().items()},
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
            version=built.version or (backend.available().version if board.builds == "here" else board.device.software),
            built=board.builds,
            options=board.options,
            macs=macs,
            **facts_of(built, macs),
            nodes=compute_nodes(placed.model),
        ),
        golden=Golden(
            engine=evidence.engine,
            origin=origin_of(board),
            tolerance=_tolerance(evidence.outputs),
            rule=TOLERANCE_RULE,
            limits=SCENE_LIMITS,
            vectors=tuple(_record(index, one) for index, one in enumerate(golden)),
        ),
        agreement=evidence.agreement,
        placement=placed.table,
        provenance=Provenance(
            model_sha256=calibration.scales.provenance.model_sha256,
            scales_sha256=hashlib.sha256(scales).hexdigest(),
            calibration=calibration.scales.provenance.model_dump(mode="json"),
        ),
        features=calibration.scales.provenance.features_sha256,
    )
    return manifest, members


def _macs(calibration: Calibration) -> dict[str, int]:
    import onnx

    try:
        costs = node_costs(onnx.load(calibration.fp_model))
    # DecodeError, which damaged bytes raise, is protobuf's own and derives from nothing but Exception.
    except Exception as error:
        raise ModelError(
            problem=f"{calibration.fp_model} cannot be read.", found=str(error), fix="Calibrate again."
        ) from error
    return {cost.name: cost.macs for cost in costs if cost.macs}


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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            problem=f"{path} cannot be read.", found=str(error.strerror), fix="Calibrate again: the folder is damaged."
        ) from error
