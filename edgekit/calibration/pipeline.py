"""The steps of a recipe, run in its order over one state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.calibration.observe import Observations, observe
from edgekit.calibration.scales import TensorScale, choose_scales
from edgekit.errors import UsageError
from edgekit.frames import FrameSource
from edgekit.graph.placement import Placement, place
from edgekit.progress import Progress
from edgekit.recipes import ObserveStep, Recipe, ScaleStep
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.targets import Target, list_targets, load_target


@dataclass(frozen=True)
class State:
    """What the steps have found so far.

    Attributes:
        model: The cleaned floating-point model at the opset that the target wants.
        target: The board.
        placement: Where its rules put Q/DQ.
        frames: The frames to calibrate on.
        preprocessor: Turns them into inputs.
        observations: Histograms, from the observe step on.
        scales: Scales, from the scale step on.
    """

    model: onnx.ModelProto
    target: Target
    placement: Placement
    frames: FrameSource
    preprocessor: Preprocessor
    observations: Observations = field(default_factory=dict)
    scales: dict[str, TensorScale] = field(default_factory=dict)


def run_steps(state: State, recipe: Recipe, progress: Progress) -> State:
    """Run a recipe's steps in their order.

    Raises:
        UsageError: A step comes before the one that it builds on, or no step chooses scales.
    """
    for step in recipe.step:
        state = STEPS[step.step](state, step, progress)
    if not state.scales:
        raise UsageError(
            problem=f"The recipe '{recipe.name}' chooses no scales.",
            found="steps: " + (", ".join(step.step for step in recipe.step) or "none"),
            fix="Add [[step]] step = 'observe' and then [[step]] step = 'scale'.",
        )
    return state


def observe_frames(state: State, step: ObserveStep, progress: Progress) -> State:
    """Collect histograms over the frames."""
    frames = state.frames.spread(step.frames)
    inputs = _inputs(frames, state.preprocessor, progress)
    return replace(state, observations=observe(state.model, observable(state.model, state.target), inputs))


def scale_tensors(state: State, step: ScaleStep, progress: Progress) -> State:
    """Choose scales from the histograms."""
    if not state.observations:
        raise UsageError(
            problem="The step 'scale' needs observations.", fix="Put a step 'observe' before it in the recipe."
        )
    scales = choose_scales(state.model, state.placement, state.target.scheme, state.observations, step)
    return replace(state, scales=scales)


STEPS: dict[str, Callable[[State, Any, Progress], State]] = {"observe": observe_frames, "scale": scale_tensors}


def observable(model: onnx.ModelProto, target: Target) -> list[str]:
    """Return the activations that this target or any shipped one quantizes, so that one calibration serves them all."""
    schemes = {target.name: target.scheme} | {name: load_target(name).scheme for name, _ in list_targets()}
    names = {activation.tensor for scheme in schemes.values() for activation in place(model, scheme).activations}
    return sorted(names)


def _inputs(frames: FrameSource, preprocessor: Preprocessor, progress: Progress) -> Iterator[NDArray[np.float32]]:
    for index, frame in enumerate(frames):
        yield preprocessor(frame.pixels)
        progress("observe", index + 1, len(frames))
