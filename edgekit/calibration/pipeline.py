"""The steps of a recipe, run in its order over one state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.calibration.distortion import distortion_for
from edgekit.calibration.equalization.equalize import Plain, equalize
from edgekit.calibration.judging.probe import Probe
from edgekit.calibration.ranges.observe import Observations, observe
from edgekit.calibration.ranges.pixels import pixel_grids, with_grids
from edgekit.calibration.scales import TensorScale, choose_scales
from edgekit.calibration.selection.select import Budget, select
from edgekit.calibration.selection.sensitivity import Analysis, analyse
from edgekit.calibration.selection.speed import estimated_cost, macs_cost
from edgekit.calibration.selection.variants import ChooseParameters, Variants, remembered_scales
from edgekit.errors import UsageError
from edgekit.frames import FrameSource
from edgekit.graph.placement import Placement, place
from edgekit.graph.reference import ReferenceRun
from edgekit.progress import Progress
from edgekit.recipes import EqualizeStep, ObserveStep, Recipe, ReconstructStep, ScaleStep, SelectStep
from edgekit.runtime.prepare import Prepare
from edgekit.targets import Target, TensorScheme, list_targets, load_target


@dataclass(frozen=True)
class State:
    """What the steps have found so far.

    Attributes:
        model: The cleaned floating-point model at the opset that the target wants, and after the step equalize an
            equal one.
        target: The board.
        placement: Where its rules put Q/DQ.
        frames: The frames to calibrate on.
        preprocessor: Turns them into inputs.
        grids: Tensors of other than 8 bit (`edgekit.calibration.bits`).
        observations: Histograms, from the observe step on.
        scales: Scales, from the scale step on.
        ranges: The scale step that chose them.
        integers: Learned integers of weights, from the reconstruct step on; other weights are rounded to nearest.
        biases: Learned biases, by node.
        records: What steps tell the report, by step.
        seed: Of every random number.
        device: Where to learn, as torch names it.
        checkpoint: Where long steps keep what they have learned so far; none: nowhere.
        neutral: `model` at the opset that it is stored at; steps that change the one change the other alike.
    """

    model: onnx.ModelProto
    target: Target
    placement: Placement
    frames: FrameSource
    preprocessor: Prepare
    recipe: Recipe
    grids: Mapping[str, TensorScheme] = field(default_factory=dict)
    observations: Observations = field(default_factory=dict)
    scales: dict[str, TensorScale] = field(default_factory=dict)
    ranges: ScaleStep | None = None
    integers: dict[str, NDArray[Any]] = field(default_factory=dict)
    biases: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "cpu"
    checkpoint: Path | None = None
    neutral: onnx.ModelProto | None = None


def run_steps(state: State, progress: Progress) -> State:
    """Run the recipe's steps in their order.

    Raises:
        UsageError: A step comes before the one that it builds on, or no step chooses scales.
    """
    recipe = state.recipe
    seconds: list[dict[str, Any]] = []
    for step in recipe.step:
        start = time.perf_counter()
        state = STEPS[step.step](state, step, progress)
        seconds.append({"step": step.step, "seconds": round(time.perf_counter() - start, 3)})
    if not state.scales:
        raise UsageError(
            problem=f"The recipe '{recipe.name}' chooses no scales.",
            found="steps: " + (", ".join(step.step for step in recipe.step) or "none"),
            fix="Add [[step]] step = 'observe' and then [[step]] step = 'scale'.",
        )
    return replace(state, records=state.records | {"steps": seconds})


def equalize_channels(state: State, step: EqualizeStep, progress: Progress) -> State:
    """Rewrite the network into an equal one that quantizes better."""
    if state.observations:
        raise UsageError(
            problem="The step 'equalize' changes what is observed.", fix="Put it before the step 'observe'."
        )
    ranges = next((one for one in state.recipe.step if isinstance(one, ScaleStep)), ScaleStep(step="scale"))
    plain = Plain(state.model, state.target, state.grids, state.recipe, ranges)
    found = equalize(plain, state.frames, state.preprocessor, step, progress)
    return replace(
        state,
        model=found.model,
        neutral=None if state.neutral is None else found.rewriting(state.neutral),
        placement=found.placement,
        grids=found.grids,
        records=state.records | {"equalization": found.record},
    )


def observe_frames(state: State, step: ObserveStep, progress: Progress) -> State:
    """Collect histograms over the frames."""
    frames = state.frames.spread(step.frames)
    names: list[str] = []
    inputs = _inputs(frames, state.preprocessor, progress, names)
    tensors = observable(state.model, state.target, state.recipe.operators)
    observations = observe(state.model, tensors, inputs, names)
    grids = pixel_grids(state.model, state.recipe.preprocessing)
    return replace(state, observations=with_grids(observations, grids))


def scale_tensors(state: State, step: ScaleStep, progress: Progress) -> State:
    """Choose scales from the histograms."""
    if not state.observations:
        raise UsageError(
            problem="The step 'scale' needs observations.", fix="Put a step 'observe' before it in the recipe."
        )
    scales = choose_scales(state.model, state.placement, state.target.scheme, state.observations, step, state.grids)
    return replace(state, scales=scales, ranges=step)


def select_nodes(state: State, step: SelectStep, progress: Progress) -> State:
    """Leave in higher precision what distorts most for its cost, and choose the scales of the rest."""
    ranges, recipe = state.ranges, state.recipe
    if ranges is None:
        raise UsageError(problem="The step 'select' needs scales.", fix="Put a step 'scale' before it in the recipe.")
    frames = state.frames.spread(step.frames)
    probe = Probe(ReferenceRun(state.model), frames, state.preprocessor, recipe, distortion_for(recipe))
    parameters = remembered_scales(state.model, state.target.scheme, state.observations, ranges)
    choose = _keep_in_8_bit if state.grids else _keep_in_floating_point
    state = choose(state, step, probe, parameters, progress)
    return scale_tensors(state, ranges, progress)


def _keep_in_floating_point(
    state: State, step: SelectStep, probe: Probe, parameters: ChooseParameters, progress: Progress
) -> State:
    scheme = state.target.scheme
    variants = Variants(state.model, scheme, parameters)
    analysis = Analysis(probe, variants)
    sensitivity = analyse(analysis, progress)
    by_time = step.cost == "time"
    cost = estimated_cost(state.model, variants.nodes) if by_time else macs_cost(state.model)
    budget = Budget(step.max_slowdown if by_time else math.inf, step.min_macs_share, max_rounds=step.max_rounds)
    selection = select(analysis, sensitivity, cost, budget, progress, step.cost)
    placement = _explained(place(state.model, scheme, selection.keep), selection.why())
    records = {"sensitivity": sensitivity.to_json(), "selection": selection.to_json()}
    return replace(state, placement=placement, records=state.records | records)


def _keep_in_8_bit(
    state: State, step: SelectStep, probe: Probe, parameters: ChooseParameters, progress: Progress
) -> State:
    # Torch takes seconds to import, and of the steps before `reconstruct` this one alone needs it.
    from edgekit.calibration.reconstruction.learn import start_of
    from edgekit.calibration.selection.narrow import select_in_8_bit

    learning = next((one for one in state.recipe.step if isinstance(one, ReconstructStep)), NO_LEARNING)
    start = start_of(state, learning, progress)
    selection, sensitivity, grids = select_in_8_bit(start, parameters, probe, step, progress=progress)
    placement = _explained(state.placement, selection.why())
    records = {"sensitivity": sensitivity.to_json(), "selection": selection.to_json()}
    return replace(state, placement=placement, grids=grids, records=state.records | records)


def reconstruct_network(state: State, step: ReconstructStep, progress: Progress) -> State:
    """Learn rounding, scales and biases."""
    if not state.scales:
        raise UsageError(
            problem="The step 'reconstruct' needs scales.", fix="Put a step 'scale' before it in the recipe."
        )
    # Torch takes seconds to import, and no other step needs it.
    from edgekit.calibration.reconstruction.learn import learn

    return learn(state, step, progress)


NO_LEARNING = ReconstructStep(step="reconstruct", correct_bias=False)
"""Of a recipe without the step: biases are not corrected later, so nothing may be chosen as if they were."""

STEPS: dict[str, Callable[[State, Any, Progress], State]] = {
    "equalize": equalize_channels,
    "observe": observe_frames,
    "scale": scale_tensors,
    "select": select_nodes,
    "reconstruct": reconstruct_network,
}


def observable(model: onnx.ModelProto, target: Target, operators: Collection[str] = ()) -> list[str]:
    """Return the activations that this target or any shipped one quantizes, so that one calibration serves them all."""
    schemes = {target.name: target.scheme} | {
        name: load_target(name).computing(operators).scheme for name, _ in list_targets()
    }
    placements = [place(model, scheme) for scheme in schemes.values()]
    names = {activation.tensor for placement in placements for activation in placement.activations}
    return sorted(names.union(*(placement.wide_tensors() for placement in placements)))


def _explained(placement: Placement, why: Mapping[str, str]) -> Placement:
    nodes = {
        name: replace(node, why=f"kept: {why[name]}") if name in why else node for name, node in placement.nodes.items()
    }
    return replace(placement, nodes=nodes)


def _inputs(
    frames: FrameSource, preprocessor: Prepare, progress: Progress, names: list[str]
) -> Iterator[NDArray[np.float32]]:
    for index, frame in enumerate(frames):
        names.append(frame.name)
        yield preprocessor(frame.values)
        progress("observe", index + 1, len(frames))
