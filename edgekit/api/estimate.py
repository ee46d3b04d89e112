"""`edgekit.estimate`: what a model would cost on a board that is not here."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.bundle import REFERENCE, SCALES, Bundle, open_bundle
from edgekit.errors import ArtifactError, EdgekitError, UsageError
from edgekit.profiling.estimate import Estimate, estimate_model
from edgekit.profiling.peaks import own_peaks
from edgekit.targets import Target, host_target_name, list_targets, load_target

if TYPE_CHECKING:
    import onnx

    from edgekit.calibration.artifact import Calibration

__all__ = ["Estimate", "estimate", "estimate_others"]


def estimate(source: Bundle | Calibration | str | Path, target: Target | str | Path | None = None) -> Estimate:
    """Estimate what a model costs on a target by the roofline model: ranges, never a measurement.

    Floating point is held against the target's rules: which layers a calibration keeps in floating point counts where
    it was made for that target; else everything is in 8 bit that the rules allow. The peaks are the descriptor's; for
    this machine's own CPU they are measured without an engine.

    Args:
        source: An .onnx model, a calibration or a bundle.
        target: The board; a calibration and a bundle have one of their own.

    Raises:
        UsageError: There is nothing at `source`, or a model comes without a target.
        ModelError: The model is damaged or not supported.
        ArtifactError: The calibration or bundle is damaged.
    """
    found = _read(source)
    board = found.target if target is None else target if isinstance(target, Target) else load_target(target)
    if board is None:
        raise UsageError(
            problem=f"For which board is {found.name} to be estimated?",
            fix="Name a target; `edgekit targets list` shows them.",
        )
    keep = found.keep if found.target is not None and found.target.name == board.name else ()
    return estimate_model(
        found.name, found.model, board, keep=keep, peaks=own_peaks() if is_this_machine(board) else None
    )


def estimate_others(source: Bundle | Calibration | str | Path) -> list[Estimate]:
    """Estimate a model on every shipped target that this machine is not, aliases left out."""
    names = [name for name, title in list_targets() if not title.startswith("alias of")]
    boards = [load_target(name) for name in names]
    return [estimate(source, board) for board in boards if not is_this_machine(board)]


def is_this_machine(target: Target) -> bool:
    """Whether a target stands for the CPU of this machine."""
    try:
        return target.name == host_target_name()
    except UsageError:
        return False


@dataclass(frozen=True)
class _Source:
    """A model in floating point, and what was decided for it."""

    name: str
    model: onnx.ModelProto
    target: Target | None = None
    keep: Collection[str] = ()


def _read(source: Bundle | Calibration | str | Path) -> _Source:
    if isinstance(source, Bundle):
        return _from_bundle(source)
    if not isinstance(source, str | Path):
        return _from_calibration(source)
    path = Path(source)
    if not path.exists():
        raise UsageError(
            problem=f"There is nothing at {path}.", fix="Give an .onnx file, a calibration folder or an .edge bundle."
        )
    if path.is_dir():
        from edgekit.calibration.artifact import Calibration

        return _from_calibration(Calibration.open(path))
    return _from_bundle(open_bundle(path)) if path.suffix == ".edge" else _from_model(path)


def _from_model(path: Path) -> _Source:
    from edgekit.graph.clean import clean, opset_of
    from edgekit.graph.read import read_model, with_input_shape

    model = read_model(path)
    return _Source(path.name, clean(with_input_shape(model, None), opset_of(model)).model)


def _from_calibration(calibration: Calibration) -> _Source:
    import onnx

    nodes = {name: node.precision for name, node in calibration.scales.nodes.items()}
    return _Source(
        str(calibration.folder), onnx.load(calibration.fp_model), calibration.target, _kept(nodes, calibration.target)
    )


def _from_bundle(bundle: Bundle) -> _Source:
    import onnx

    try:
        scales: Any = json.loads(bundle.read(SCALES))
        nodes = {name: str(node["precision"]) for name, node in scales["nodes"].items()}
        model = onnx.load_from_string(bundle.read(REFERENCE))
    except EdgekitError:
        raise
    except Exception as error:  # protobuf's and json's errors share no base
        raise ArtifactError(
            problem=f"The bundle {bundle.path} cannot be read.", found=str(error), fix="Compile the calibration again."
        ) from error
    target = bundle.manifest.target
    return _Source(str(bundle.path), model, target, _kept(nodes, target))


def _kept(precisions: dict[str, str], target: Target) -> tuple[str, ...]:
    return tuple(name for name, precision in precisions.items() if precision != target.scheme.weights.dtype)
