"""The recipe's step `equalize`: rewrite the floating-point network into an equal one that quantizes better.

Two rewritings. Channels are scaled against each other (`edgekit.graph.equalize`) by the factors with which the least
noise is predicted (`channel_noise`, beside this). And where activations are symmetric and signed, the input is shifted
(`edgekit.graph.shift`), so that its grid holds the 256 levels of the camera's pixels as they are.

Sources: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019; that factors
follow the activations too, as Xiao et al., "SmoothQuant", ICML 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.calibration.distortion import distortion_for
from edgekit.calibration.equalization.balance import least_noise
from edgekit.calibration.equalization.channel_noise import NoiseModel
from edgekit.calibration.equalization.channel_statistics import channel_statistics
from edgekit.calibration.judging.probe import NOTHING, Probe, Reading
from edgekit.calibration.ranges.observe import observe
from edgekit.calibration.ranges.pixels import MIDDLE_PIXEL, pixel_grids, pixel_step, with_grids
from edgekit.calibration.scales import choose_scales, exact_zero_point, parameters_of
from edgekit.frames import FrameSource
from edgekit.graph.channels import Floats
from edgekit.graph.clean import TOLERANCE, difference_of
from edgekit.graph.equalize import channel_groups, scaled
from edgekit.graph.placement import Placement, place
from edgekit.graph.qdq import write_qdq
from edgekit.graph.reference import ReferenceRun
from edgekit.graph.shift import shiftable, shifted
from edgekit.progress import Progress
from edgekit.recipes import EqualizeStep, Recipe, ScaleStep
from edgekit.runtime.prepare import Prepare
from edgekit.targets import Target, TensorScheme

LEAST_FRAMES_TO_SPLIT = 4

LARGEST_NOISE = 0.97
"""A rewriting that leaves the heads more than this share of their noise is not worth it: on few frames it is chance."""


@dataclass(frozen=True)
class Rewriting:
    """What is done to a network; the same for every opset that it is kept at.

    Attributes:
        shift: What the convolutions in `nodes` no longer see in the input.
        nodes: Their names.
        factors: Layer to the factors of its result's channels (`edgekit.graph.equalize.scaled`).
    """

    shift: float = 0.0
    nodes: tuple[str, ...] = ()
    factors: Mapping[str, Floats] | None = None

    def __call__(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return the network, rewritten."""
        moved = shifted(model, self.shift, self.nodes) if self.nodes else model
        return scaled(moved, self.factors) if self.factors else moved


@dataclass(frozen=True)
class Plain:
    """A network before the step, and all that says how it is quantized.

    Attributes:
        model: At the target's opset.
        grids: Tensors of other than 8 bit.
        ranges: How scales are chosen.
    """

    model: onnx.ModelProto
    target: Target
    grids: Mapping[str, TensorScheme]
    recipe: Recipe
    ranges: ScaleStep


@dataclass(frozen=True)
class Equalized:
    """What the step found.

    Attributes:
        rewriting: What is done to the network; nothing where that made it no better.
        model: The network after it.
        placement: Where its Q/DQ go.
        grids: Of its tensors.
        record: For the report.
    """

    rewriting: Rewriting
    model: onnx.ModelProto
    placement: Placement
    grids: dict[str, TensorScheme]
    record: dict[str, Any]


def equalize(
    plain: Plain, frames: FrameSource, preprocessor: Prepare, step: EqualizeStep, progress: Progress
) -> Equalized:
    """Return the network, rewritten so that 8 bit distorts it less; as it was where a few frames show that it does not.

    Args:
        plain: The network.
        frames: The frames to calibrate on.
        preprocessor: Turns them into inputs.
        step: The recipe's.
        progress: Told how far it is.

    Raises:
        DataError: There is no readable frame.
        ModelError: An activation is NaN or infinite.
    """
    few = frames.spread(step.frames)
    seen, checked = few.split(2) if len(few) >= LEAST_FRAMES_TO_SPLIT else (few, few)
    moved = _shift(plain)
    source = _Source(seen, preprocessor, progress, passes=4 if moved.nodes else 3)
    built = [_build(plain, Rewriting())]
    # First of all, because it says which activation is not finite, and on which frame.
    networks = [_quantized(plain, built[0], source)]
    found, predicted = _factors(plain, moved, source)
    candidates = [Rewriting(), *([moved] if moved.nodes else []), *([found] if found.factors else [])]
    built += [_build(plain, one) for one in candidates[1:]]
    networks += [_quantized(plain, one, source) for one in built[1:]]
    probe = Probe(ReferenceRun(plain.model), checked, preprocessor, plain.recipe, distortion_for(plain.recipe))
    readings = [probe.read(ReferenceRun(one)) for one in networks]
    differences = [largest_difference(probe, one.model) for one in built]
    costs = [relative_cost(one, readings[0]) for one in readings]
    noise = [relative_noise(one, readings[0]) for one in readings]
    better = [n for n in range(1, len(built)) if differences[n] <= TOLERANCE and noise[n] <= LARGEST_NOISE]
    best = min((0, *better), key=lambda number: costs[number])
    chosen = built[best]
    record = {
        **predicted,
        "layers_scaled": len(chosen.rewriting.factors or {}),
        "inputs_shifted": len(chosen.rewriting.nodes),
        "largest_difference": differences[best],
        "noise": noise[best],
        "distortion": {"before": readings[0].mean, "after": readings[best].mean, "frames": len(checked)},
        "tried": [
            {
                "layers_scaled": len(one.factors or {}),
                "inputs_shifted": len(one.nodes),
                "noise": noise[number],
                "distortion": readings[number].mean,
                "cost": costs[number],
            }
            for number, one in enumerate(candidates)
        ],
    }
    return replace(chosen, record=record)


def largest_difference(probe: Probe, model: onnx.ModelProto) -> float:
    """Return the largest difference of a network's outputs from those of the probe's, as a share of their range."""
    run = ReferenceRun(model)
    pairs = [(sample.heads, probe.heads_of(run(sample.input))) for sample in probe.samples]
    return float(np.max([difference_of(one.values(), [two[head] for head in one]) for one, two in pairs]))


def relative_noise(reading: Reading, base: Reading) -> float:
    """Return the noise of the heads as a multiple of what it was, in amplitude.

    It is the geometric mean over heads and frames: single frames have many times the noise of others, and would decide
    alone.
    """
    one, other = (np.array([values.noise[head] for head in base.noise]) for values in (reading, base))
    return float(np.exp(np.mean(np.log(np.maximum(one, NOTHING**2) / np.maximum(other, NOTHING**2))) / 2))


def relative_cost(reading: Reading, base: Reading) -> float:
    """Return how much a variant's heads and scenes are off, as a multiple of what it was.

    On few frames chance rules over the distortion of scenes, so the noise of the heads counts as much, and the
    distortion by a factor of two at most.
    """
    distortion = 1.0 if base.mean <= NOTHING else float(np.clip(reading.mean / base.mean, 0.5, 2.0))
    return relative_noise(reading, base) * distortion


class _Source:
    """Inputs made of the frames that choose, one at a time."""

    def __init__(self, frames: FrameSource, preprocessor: Prepare, progress: Progress, passes: int) -> None:
        self._frames = frames
        self._preprocessor = preprocessor
        self._progress = progress
        self._done, self._all = 0, passes * len(frames)
        self.names: list[str] = []

    def inputs(self) -> Iterator[NDArray[np.float32]]:
        self.names.clear()
        for frame in self._frames:
            self.names.append(frame.name)
            yield self._preprocessor(frame.values)
            self._done += 1
            self._progress("equalize", self._done, self._all)


def _shift(plain: Plain) -> Rewriting:
    """Shift the input where it is one of pixels, and the target's grid is symmetric about zero and signed."""
    scheme, step = plain.target.scheme, pixel_step(plain.recipe.preprocessing)
    if step is None or not scheme.activations.symmetric or not scheme.activations.dtype.startswith("int"):
        return Rewriting()
    quantized = {weight.node for weight in place(plain.model, scheme).weights}
    nodes = tuple(node for node in shiftable(plain.model) if node in quantized)
    return Rewriting(shift=MIDDLE_PIXEL * step, nodes=nodes)


def _factors(plain: Plain, moved: Rewriting, source: _Source) -> tuple[Rewriting, dict[str, Any]]:
    """Return the factors that are predicted to add the least noise, and the prediction."""
    built = _build(plain, moved)
    groups = channel_groups(built.model)
    tensors = [one.tensor for one in built.placement.activations]
    statistics = channel_statistics(built.model, tensors, source.inputs())
    read = {weight.activation for weight in built.placement.weights}
    if not read & set(statistics):
        return moved, {"layers": 0, "predicted_noise": {"before": 0.0, "after": 0.0}}
    pixels = pixel_grids(built.model, plain.recipe.preprocessing)
    exact = [
        name for name, grid in pixels.items() if exact_zero_point(grid, plain.target.scheme.activations) is not None
    ]
    noise = NoiseModel(
        built.model,
        built.placement,
        plain.target.scheme,
        built.grids,
        groups,
        statistics,
        exact,
    )
    values = least_noise(noise)
    before, after = (float(noise.of_parts(np.log(one)).sum()) for one in (np.ones_like(values), values))
    predicted = {"layers": noise.layers, "predicted_noise": {"before": before, "after": after}}
    return replace(moved, factors=groups.factors(values)), predicted


def _build(plain: Plain, rewriting: Rewriting) -> Equalized:
    model = rewriting(plain.model)
    scheme = plain.target.scheme
    placement = place(model, scheme)
    # A constant that several layers share is copied where only some of them change it; the copy keeps its grid.
    before = {weight.node: weight.tensor for weight in place(plain.model, scheme).weights}
    grids = dict(plain.grids)
    for weight in placement.weights:
        if before[weight.node] in plain.grids:
            grids[weight.tensor] = plain.grids[before[weight.node]]
    return Equalized(rewriting, model, placement, grids, {})


def _quantized(plain: Plain, built: Equalized, source: _Source) -> onnx.ModelProto:
    scheme = plain.target.scheme
    observations = with_grids(
        observe(built.model, [one.tensor for one in built.placement.activations], source.inputs(), source.names),
        pixel_grids(built.model, plain.recipe.preprocessing),
    )
    placement = built.placement.without_wide()
    scales = choose_scales(built.model, placement, scheme, observations, plain.ranges, built.grids)
    return write_qdq(built.model, placement, scheme, parameters_of(scales), grids=built.grids)
