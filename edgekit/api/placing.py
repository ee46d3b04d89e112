"""Where compile puts Q/DQ: by the target's rules, and where the target's engine runs here, by what pays there."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError

from edgekit.api.load import host_mismatch
from edgekit.backends import backend_for
from edgekit.calibration.artifact import Calibration
from edgekit.calibration.scales import NodeScale, Scales
from edgekit.calibration.selection.deployed import deployed_variants
from edgekit.calibration.selection.variants import Variants
from edgekit.errors import ArtifactError, UsageError
from edgekit.placements import PlacementTable
from edgekit.progress import Progress
from edgekit.targets import Target, cpu_flags
from edgekit.tuning.bench import Bench, bench_here
from edgekit.tuning.comparison import Comparison, Kept
from edgekit.tuning.record import record_path
from edgekit.tuning.stopwatch import PlacementStopwatch
from edgekit.tuning.table import estimated_table, refused_table
from edgekit.tuning.tune import Plan, Tuned, tune

if TYPE_CHECKING:
    from edgekit.profiling.remote.host import Host

_BF16 = frozenset({"avx512_bf16", "amx_bf16"})


@dataclass(frozen=True)
class Tuning:
    """How compile decides what stays in floating point.

    Attributes:
        seconds: Time that measuring may take; none: by the target's rules, unmeasured.
        fresh: Measure anew, whatever was measured before.
        threads: Threads of the engine.
        host: The board to measure on; none: this machine, where it is what the target stands for.
    """

    seconds: float | None
    fresh: bool
    threads: int
    host: Host | None = None


@dataclass(frozen=True)
class Placed:
    """A model that could be deployed.

    Attributes:
        model: With Q/DQ.
        scales: The content of its scales.json.
        table: What runs in which precision, and why.
        pays: Whether it is not slower than floating point, as far as was measured.
    """

    model: bytes
    scales: str
    table: PlacementTable
    pays: bool = True


def placements(
    calibration: Calibration, board: Target, model: bytes, scales: Scales, tuning: Tuning, progress: Progress
) -> tuple[Placed, ...]:
    """Return what to deploy; where that is not by the rules, also what is by the rules, and what is all in float.

    Args:
        calibration: The calibration.
        board: The target.
        model: The Q/DQ model under the target's rules.
        scales: Its scales.
        tuning: Whether and how to measure.
        progress: Told how far it is.

    Raises:
        ArtifactError: The calibration's files do not belong to each other.
        TargetError: The board to measure on is not reached, or not what the target stands for.
    """
    variants = _variants(calibration, board, model, scales)
    unmeasured = _why_unmeasured(board, tuning)
    if unmeasured or not variants.nodes:
        table = estimated_table(variants.model, variants.full, [unmeasured] if unmeasured else [])
        return (Placed(model, scales.to_json(), table),)
    if variants.without(()).SerializeToString() != model:
        raise ArtifactError(
            problem=f"The files of {calibration.folder} do not belong to each other.",
            found="the Q/DQ model is not what the floating-point model and the scales give",
            fix="Calibrate again.",
        )
    tuned = _tuned(calibration, board, variants, model, tuning, progress)
    best = _placed(variants, tuned.kept, tuned.table, scales)
    if not tuned.kept:
        return (best,)
    others = (
        _placed(variants, kept, refused_table(variants, tuned.table, kept), scales)
        for kept in (frozenset[str](), frozenset(variants.nodes))
    )
    return (best, *others)


def _variants(calibration: Calibration, board: Target, model: bytes, scales: Scales) -> Variants:
    try:
        floating, quantized = onnx.load(calibration.fp_model), onnx.load_model_from_string(model)
        return deployed_variants(floating, quantized, scales, board.scheme)
    # A Q/DQ model that lacks a tensor of its placement was changed since.
    except (DecodeError, KeyError) as error:
        raise ArtifactError(
            problem=f"A model in {calibration.folder} is damaged.", found=str(error), fix="Calibrate again."
        ) from error


def require_measurable_there(board: Target, tuning: Tuning) -> None:
    """Refuse a board to measure on where nothing would be measured there.

    Raises:
        UsageError: There is one.
    """
    if tuning.host is None:
        return
    if tuning.seconds is None:
        raise UsageError(
            problem="A board is named to measure placements on, and nothing is to be measured.",
            found=f"--no-tune and --host {tuning.host.address}",
            fix="Leave one of them out.",
        )
    if not _runs_as_built(board):
        raise UsageError(
            problem=f"Placement for {board.name} cannot be measured over ssh: its engine does not run from what this "
            "machine sends.",
            found=f"{board.backend} on the {board.device.unit} of {board.device.soc}, built "
            f"{'here' if board.builds == 'here' else 'on the device'} and run there by the vendor's own software",
            fix="Leave --host out: placement follows the target's rules then, and the table says `estimated`. Over ssh "
            "it is measured for targets of ONNX Runtime and OpenVINO on a CPU.",
        )


def _runs_as_built(board: Target) -> bool:
    return board.builds == "here" and board.runs == "here"


def _why_unmeasured(board: Target, tuning: Tuning) -> str:
    if not _runs_as_built(board):
        return f"not measured: the engine of {board.name} does not run here"
    if tuning.seconds is None:
        return "not measured: the target's rules were asked for"
    if tuning.host is None and host_mismatch(board.name, board.device, platform.machine(), cpu_flags()):
        return f"not measured: this machine is not what {board.name} is for"
    return ""


def _tuned(
    calibration: Calibration, board: Target, variants: Variants, model: bytes, tuning: Tuning, progress: Progress
) -> Tuned:
    with _bench(calibration, board, model, tuning, progress) as bench:
        stopwatch = PlacementStopwatch(
            bench.timer, board.options, lambda kept: variants.without(kept).SerializeToString()
        )

        def bf16(kept: Kept) -> Comparison:
            return stopwatch.against({**board.options, "precision": "bf16"}, frozenset(variants.nodes), kept)

        tuned = tune(
            variants,
            bench.key,
            record_path(calibration.folder, bench.key),
            stopwatch,
            Plan(tuning.seconds or 0.0, tuning.fresh),
            bf16 if board.options.get("precision") == "f32" and _BF16 & bench.flags else None,
            progress,
            bench.prepare,
        )
    return replace(tuned, table=tuned.table.model_copy(update={"notes": (*tuned.table.notes, *bench.notes)}))


def _bench(
    calibration: Calibration, board: Target, model: bytes, tuning: Tuning, progress: Progress
) -> AbstractContextManager[Bench]:
    backend, inputs = backend_for(board.backend), [golden.input for golden in calibration.golden()]
    if tuning.host is None:
        return nullcontext(bench_here(backend, board, model, tuning.threads, inputs))
    # The ssh client comes with an extra of its own.
    from edgekit.tuning.remote import bench_there

    preferred = backend.available().version
    return bench_there(tuning.host, board, model, tuning.threads, inputs, preferred, progress)


def _placed(variants: Variants, kept: Kept, table: PlacementTable, scales: Scales) -> Placed:
    """Write a placement, and scales.json as it then is: without what is no longer quantized."""
    placement = variants.placement(kept)
    tensors = {one.tensor for one in placement.activations} | {one.tensor for one in placement.weights}
    why = {node: f"kept: {row.why}" for row in table.rows for node in row.nodes if node in variants.nodes}
    nodes = {
        name: NodeScale(precision=placement.nodes[name].precision, why=why[name])
        if placement.nodes[name].precision != node.precision
        else node
        for name, node in scales.nodes.items()
    }
    placed = scales.model_copy(
        update={
            "tensors": {name: scale for name, scale in scales.tensors.items() if name in tensors},
            "nodes": nodes,
            "kept": tuple(sorted({*scales.kept, *kept})),
        }
    )
    pays = table.whole is None or table.whole.placed.speedup >= 1.0
    return Placed(variants.without(kept).SerializeToString(), placed.to_json(), table, pays)
