"""scales.json: the scale of every quantized tensor, the precision of every node, and where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.calibration.bits import with_bits
from edgekit.calibration.ranges.histogram import Grid
from edgekit.calibration.ranges.observe import Observations
from edgekit.calibration.ranges.observers import OBSERVERS
from edgekit.errors import ArtifactError
from edgekit.graph.numerics import WIDENING, integer_limits, scale_and_zero_point
from edgekit.graph.placement import Placement, QuantizedWeight, wide_key
from edgekit.graph.qdq import QuantizationParameters
from edgekit.graph.view import GraphView
from edgekit.recipes import Bits, ScaleStep
from edgekit.schema import Strict, parse
from edgekit.targets import Scheme, TensorScheme

SCHEMA_VERSION = 1

EXACT = "exact"
"""The method of a scale that is known, as that of camera pixels: rounding to its grid changes nothing."""


class TensorScale(Strict):
    """How one tensor is quantized, and what that was chosen from.

    A per-channel tensor has one scale and zero point per index of `axis`; any other has one. `bits` is null where the
    grid has all bits of the dtype; where it has fewer, the tensor is simulated in that dtype.
    """

    kind: str
    dtype: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None
    method: str
    frames: int
    observed: tuple[float, float]
    clipped_share: float
    group: str = ""
    bits: int | None = None


class NodeScale(Strict):
    """The precision of one node, and why."""

    precision: str
    why: str


class Provenance(Strict):
    """What the scales were made from: a calibration is used again only where all of it is the same."""

    model_sha256: str
    frames_sha256: str
    frames: int
    preprocessing_sha256: str
    features_sha256: str = ""
    recipe: str
    recipe_sha256: str
    target: str
    target_sha256: str
    seed: int
    bits: Bits = "w8a8"
    versions: dict[str, str]

    def changed(self, other: Provenance) -> list[str]:
        """Return the names of the fields in which another provenance differs."""
        return [name for name in type(self).model_fields if getattr(self, name) != getattr(other, name)]


class Scales(Strict):
    """The content of scales.json; `kept` names the nodes that were selected to stay in higher precision."""

    schema_version: int
    tensors: dict[str, TensorScale]
    nodes: dict[str, NodeScale]
    kept: tuple[str, ...] = ()
    provenance: Provenance

    def to_json(self) -> str:
        """Return the file's text: the same scales give the same bytes."""
        return json.dumps(self.model_dump(), indent=1, sort_keys=True) + "\n"


def read_scales(path: Path) -> Scales:
    """Read a scales.json.

    Raises:
        ArtifactError: It is missing, not JSON, of a newer schema, or not valid.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            problem=f"{path} cannot be read.", found=str(error), fix="Calibrate again: the folder is damaged."
        ) from error
    if isinstance(data, dict) and data.get("schema_version", 0) > SCHEMA_VERSION:
        raise ArtifactError(
            problem=f"{path} was written by a newer EdgeKit.",
            found=f"schema version {data['schema_version']}; this one reads {SCHEMA_VERSION}",
            fix="Update EdgeKit, or calibrate again with this version.",
        )
    return parse(Scales, data, str(path), ArtifactError)


def node_scales(placement: Placement, grids: Mapping[str, TensorScheme] | None = None) -> dict[str, NodeScale]:
    """Return the precision of every node of a placement, as scales.json has it."""
    nodes = {name: NodeScale(precision=node.precision, why=node.why) for name, node in placement.nodes.items()}
    for weight in placement.weights:
        grid = (grids or {}).get(weight.tensor)
        if grid is not None and grid.bits is not None:
            why = f"{grid.bits} bit were asked for; simulated in {grid.dtype}"
            nodes[weight.node] = NodeScale(precision=f"int{grid.bits}", why=why)
    return nodes


def sha256_of(text: str) -> str:
    """Return the hexadecimal SHA-256 of a text, as provenance has it."""
    return hashlib.sha256(text.encode()).hexdigest()


def parameters_of(tensors: Mapping[str, TensorScale]) -> dict[str, QuantizationParameters]:
    """Return the arrays that a Q/DQ model is written with."""
    return {name: _parameters(tensor) for name, tensor in tensors.items()}


def choose_scales(
    model: onnx.ModelProto,
    placement: Placement,
    scheme: Scheme,
    observations: Observations,
    step: ScaleStep,
    grids: Mapping[str, TensorScheme] | None = None,
) -> dict[str, TensorScale]:
    """Choose scale and zero point for every tensor of a placement.

    Args:
        model: The model that was placed.
        placement: Its quantized tensors.
        scheme: The target's rules.
        observations: Histograms of the activations.
        step: How to choose.
        grids: Tensors whose grid is not the scheme's; those of one group have the same.

    Raises:
        ArtifactError: A tensor that the placement quantizes was not observed.
    """
    view, grids = GraphView(model), grids or {}
    activations = _activation_scales(placement, scheme.activations, grids, observations, step)
    weights = {
        weight.tensor: _weight_scale(
            weight,
            view,
            grids.get(weight.tensor, scheme.weights),
            step,
            activations[weight.activation].scale[0],
        )
        for weight in placement.weights
    }
    wide = _wide_scales(view, placement, scheme, activations, observations, step)
    return wide | activations | weights


def _wide_scales(
    view: GraphView,
    placement: Placement,
    scheme: Scheme,
    narrow: Mapping[str, TensorScale],
    observations: Observations,
    step: ScaleStep,
) -> dict[str, TensorScale]:
    """Choose the grids of 16-bit activations, wide enough for all values that were seen, and of what they multiply."""
    grid = with_bits(scheme.activations, 16)
    names = placement.wide_tensors()
    _require_observed(names, observations)
    whole = step.model_copy(update={"activations": "min-max"})
    chosen = {name: _chosen([name], grid, observations, whole) for name in names}
    wide = {wide_key(name): _activation_scale(name, name, chosen, grid, observations) for name in names}
    weights = {}
    for node in placement.wide:
        source = node.weight.activation
        step_read = wide[wide_key(source)].scale[0] if source in names else narrow[source].scale[0] / WIDENING
        weights[node.weight.tensor] = _weight_scale(node.weight, view, scheme.weights, step, step_read)
    return wide | weights


def _activation_scales(
    placement: Placement,
    scheme: TensorScheme,
    grids: Mapping[str, TensorScheme],
    observations: Observations,
    step: ScaleStep,
) -> dict[str, TensorScale]:
    _require_observed([activation.tensor for activation in placement.activations], observations)
    groups: dict[str, list[str]] = {}
    for activation in placement.activations:
        groups.setdefault(activation.group, []).append(activation.tensor)
    chosen = {
        group: _chosen(tensors, grids.get(tensors[0], scheme), observations, step) for group, tensors in groups.items()
    }
    return {
        one.tensor: _activation_scale(one.tensor, one.group, chosen, grids.get(one.tensor, scheme), observations)
        for one in placement.activations
    }


def _require_observed(names: Sequence[str], observations: Observations) -> None:
    missing = [name for name in names if name not in observations]
    if missing:
        raise ArtifactError(
            problem="The calibration has not observed every tensor that this target quantizes.",
            found=f"{len(missing)} missing, first '{missing[0]}'",
            fix="Calibrate for this target: edgekit calibrate --target ...",
        )


@dataclass(frozen=True)
class _Chosen:
    scale: float
    zero_point: int
    method: str


def _chosen(tensors: list[str], scheme: TensorScheme, observations: Observations, step: ScaleStep) -> _Chosen:
    """Choose one grid for tensors that share it, from all their values together."""
    merged = observations[tensors[0]]
    for name in tensors[1:]:
        merged = merged.merge(observations[name])
    zero_point = None if merged.grid is None else exact_zero_point(merged.grid, scheme)
    if merged.grid is not None and zero_point is not None:
        return _Chosen(float(np.float32(merged.grid.step)), zero_point, EXACT)
    low, high = OBSERVERS[step.activations](merged, scheme, step.percentile)
    # Nothing is known of a tensor that was zero on every frame; a grid around zero would silence it for good.
    scale, zero = scale_and_zero_point(*((low, high) if low < 0.0 or high > 0.0 else (0.0, 1.0)), scheme)
    return _Chosen(float(scale), int(zero), step.activations)


def exact_zero_point(grid: Grid, scheme: TensorScheme) -> int | None:
    """Return the zero point with which integers hold all values of a grid as they are; none where there is none."""
    smallest, largest = integer_limits(scheme)
    zero_point = (smallest + largest + 1) // 2 if scheme.symmetric else smallest - grid.first
    fits = smallest <= grid.first + zero_point and grid.last + zero_point <= largest
    return zero_point if fits and smallest <= zero_point <= largest else None


def _activation_scale(
    name: str,
    group: str,
    chosen: Mapping[str, _Chosen],
    scheme: TensorScheme,
    observations: Observations,
) -> TensorScale:
    how = chosen[group]
    smallest, largest = integer_limits(scheme)
    seen = observations[name]
    covered = [(limit - how.zero_point) * how.scale for limit in (smallest, largest)]
    return TensorScale(
        kind="activation",
        dtype=scheme.dtype,
        scale=(how.scale,),
        zero_point=(how.zero_point,),
        axis=None,
        method=how.method,
        frames=seen.batches,
        observed=(seen.low, seen.high),
        clipped_share=seen.clipped_share(*covered),
        group=group,
        bits=scheme.bits,
    )


def _weight_scale(
    weight: QuantizedWeight, view: GraphView, scheme: TensorScheme, step: ScaleStep, activation_scale: float
) -> TensorScale:
    values = view.constant(weight.tensor)
    axis = weight.axis if scheme.granularity == "channel" else None
    rows = values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    low, high = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
    method = step.narrow_weights if _is_narrow(scheme) else step.weights
    if method == "mse":
        low, high = _least_error(rows.astype(np.float64), low, high, scheme)
    scale, zero_point = scale_and_zero_point(low, high, scheme)
    if weight.bias is not None:
        scale = np.maximum(scale, _least_scale_for(view.constant(weight.bias), len(scale), activation_scale))
    return TensorScale(
        kind="weight",
        dtype=scheme.dtype,
        scale=tuple(scale.tolist()),
        zero_point=tuple(zero_point.tolist()),
        axis=axis,
        method=method,
        frames=0,
        observed=(float(values.min()), float(values.max())),
        clipped_share=_clipped(rows, scale, zero_point, scheme),
        bits=scheme.bits,
    )


def _least_scale_for(bias: NDArray[Any], channels: int, activation_scale: float) -> NDArray[np.float32]:
    """Return the least weight scale with which a bias fits into int32.

    A channel whose weights are tiny would else have so fine a scale that its bias overflows and changes its value.
    """
    largest = np.abs(bias) if len(bias) == channels else np.abs(bias).max(keepdims=True)
    return np.asarray(largest / (activation_scale * 2.0**30), np.float32)


def _least_error(
    rows: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], scheme: TensorScheme
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shrink each channel's range to the one with the least squared error: by half at most, on 4 bit to a tenth.

    With few levels it pays to clip far more than with 256.
    """
    smallest, largest = integer_limits(scheme)
    best = np.full(len(rows), np.inf)
    kept = np.ones(len(rows))
    for share in np.linspace(1.0, 0.1, 91) if _is_narrow(scheme) else np.linspace(1.0, 0.5, 51):
        scale, zero = scale_and_zero_point(share * low, share * high, scheme)
        step = scale[:, None].astype(np.float64)
        integers = np.clip(np.rint(rows / step) + zero[:, None], smallest, largest)
        error = (((integers - zero[:, None]) * step - rows) ** 2).sum(axis=1)
        better = error < best
        best, kept = np.where(better, error, best), np.where(better, share, kept)
    return kept * low, kept * high


def _is_narrow(scheme: TensorScheme) -> bool:
    return scheme.bits is not None and scheme.bits < 8


def _clipped(rows: NDArray[Any], scale: NDArray[Any], zero_point: NDArray[Any], scheme: TensorScheme) -> float:
    smallest, largest = integer_limits(scheme)
    steps = np.rint(rows / scale[:, None]) + zero_point[:, None]
    return float(np.mean((steps < smallest) | (steps > largest)))


def _parameters(tensor: TensorScale) -> QuantizationParameters:
    shape = () if tensor.axis is None else (len(tensor.scale),)
    return QuantizationParameters(
        scale=np.array(tensor.scale, np.float32).reshape(shape),
        zero_point=np.array(tensor.zero_point, tensor.dtype).reshape(shape),
        axis=tensor.axis,
    )
