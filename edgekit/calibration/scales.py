"""scales.json: the scale of every quantized tensor, the precision of every node, and where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.calibration.observe import Observations
from edgekit.calibration.observers import OBSERVERS
from edgekit.errors import ArtifactError
from edgekit.graph.numerics import integer_limits, scale_and_zero_point
from edgekit.graph.placement import Placement, QuantizedWeight
from edgekit.graph.qdq import QuantizationParameters
from edgekit.graph.view import GraphView
from edgekit.recipes import ScaleStep
from edgekit.schema import Strict, parse
from edgekit.targets import Scheme, TensorScheme

SCHEMA_VERSION = 1


class TensorScale(Strict):
    """How one tensor is quantized, and what that was chosen from.

    A per-channel tensor has one scale and zero point per index of `axis`; any other has one.
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
    recipe: str
    recipe_sha256: str
    target: str
    target_sha256: str
    seed: int
    versions: dict[str, str]

    def changed(self, other: Provenance) -> list[str]:
        """Return the names of the fields in which another provenance differs."""
        return [name for name in type(self).model_fields if getattr(self, name) != getattr(other, name)]


class Scales(Strict):
    """The content of scales.json."""

    schema_version: int
    tensors: dict[str, TensorScale]
    nodes: dict[str, NodeScale]
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


def node_scales(placement: Placement) -> dict[str, NodeScale]:
    """Return the precision of every node of a placement, as scales.json has it."""
    return {name: NodeScale(precision=node.precision, why=node.why) for name, node in placement.nodes.items()}


def sha256_of(text: str) -> str:
    """Return the hexadecimal SHA-256 of a text, as provenance has it."""
    return hashlib.sha256(text.encode()).hexdigest()


def parameters_of(tensors: Mapping[str, TensorScale]) -> dict[str, QuantizationParameters]:
    """Return the arrays that a Q/DQ model is written with."""
    return {name: _parameters(tensor) for name, tensor in tensors.items()}


def choose_scales(
    model: onnx.ModelProto, placement: Placement, scheme: Scheme, observations: Observations, step: ScaleStep
) -> dict[str, TensorScale]:
    """Choose scale and zero point for every tensor of a placement.

    Raises:
        ArtifactError: A tensor that the placement quantizes was not observed.
    """
    view = GraphView(model)
    activations = _activation_scales(placement, scheme.activations, observations, step)
    weights = {
        weight.tensor: _weight_scale(weight, view, scheme.weights, step, activations[weight.activation].scale[0])
        for weight in placement.weights
    }
    return activations | weights


def _activation_scales(
    placement: Placement, scheme: TensorScheme, observations: Observations, step: ScaleStep
) -> dict[str, TensorScale]:
    missing = [activation.tensor for activation in placement.activations if activation.tensor not in observations]
    if missing:
        raise ArtifactError(
            problem="The calibration has not observed every tensor that this target quantizes.",
            found=f"{len(missing)} missing, first '{missing[0]}'",
            fix="Calibrate for this target: edgekit calibrate --target ...",
        )
    groups: dict[str, list[str]] = {}
    for activation in placement.activations:
        groups.setdefault(activation.group, []).append(activation.tensor)
    chosen = {group: _range_of(tensors, scheme, observations, step) for group, tensors in groups.items()}
    return {
        activation.tensor: _activation_scale(activation.tensor, activation.group, chosen, scheme, observations, step)
        for activation in placement.activations
    }


def _range_of(
    tensors: list[str], scheme: TensorScheme, observations: Observations, step: ScaleStep
) -> tuple[float, float]:
    """Choose one range for tensors that share a scale, from all their values together."""
    merged = observations[tensors[0]]
    for name in tensors[1:]:
        merged = merged.merge(observations[name])
    low, high = OBSERVERS[step.activations](merged, scheme, step.percentile)
    # Nothing is known of a tensor that was zero on every frame; a grid around zero would silence it for good.
    return (low, high) if low < 0.0 or high > 0.0 else (0.0, 1.0)


def _activation_scale(
    name: str,
    group: str,
    chosen: Mapping[str, tuple[float, float]],
    scheme: TensorScheme,
    observations: Observations,
    step: ScaleStep,
) -> TensorScale:
    low, high = chosen[group]
    scale, zero_point = scale_and_zero_point(low, high, scheme)
    smallest, largest = integer_limits(scheme)
    seen = observations[name]
    covered = [(limit - int(zero_point)) * float(scale) for limit in (smallest, largest)]
    return TensorScale(
        kind="activation",
        dtype=scheme.dtype,
        scale=(float(scale),),
        zero_point=(int(zero_point),),
        axis=None,
        method=step.activations,
        frames=seen.batches,
        observed=(seen.low, seen.high),
        clipped_share=seen.clipped_share(*covered),
        group=group,
    )


def _weight_scale(
    weight: QuantizedWeight, view: GraphView, scheme: TensorScheme, step: ScaleStep, activation_scale: float
) -> TensorScale:
    values = view.constant(weight.tensor)
    axis = weight.axis if scheme.granularity == "channel" else None
    rows = values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    low, high = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
    if step.weights == "mse":
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
        method=step.weights,
        frames=0,
        observed=(float(values.min()), float(values.max())),
        clipped_share=_clipped(rows, scale, zero_point, scheme),
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
    """Shrink each channel's range to the one of 50 steps with the least squared error."""
    smallest, largest = integer_limits(scheme)
    best = np.full(len(rows), np.inf)
    kept = np.ones(len(rows))
    for share in np.linspace(1.0, 0.5, 51):
        scale, zero = scale_and_zero_point(share * low, share * high, scheme)
        step = scale[:, None].astype(np.float64)
        integers = np.clip(np.rint(rows / step) + zero[:, None], smallest, largest)
        error = (((integers - zero[:, None]) * step - rows) ** 2).sum(axis=1)
        better = error < best
        best, kept = np.where(better, error, best), np.where(better, share, kept)
    return kept * low, kept * high


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
