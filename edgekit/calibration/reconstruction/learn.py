"""The recipe's step `reconstruct`: correct biases, then learn rounding, scales and biases under the focus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.calibration.distortion import distortion_for
from edgekit.calibration.focus import FocusOptions
from edgekit.calibration.judging.judge import Judge
from edgekit.calibration.judging.probe import Probe
from edgekit.calibration.pipeline import State
from edgekit.calibration.readout import focus_on
from edgekit.calibration.reconstruction.bias import correct_biases
from edgekit.calibration.reconstruction.learning import FEW_LEVELS, Options
from edgekit.calibration.reconstruction.reconstruct import reconstruct
from edgekit.calibration.reconstruction.simulation import QuantizedModel
from edgekit.calibration.reconstruction.units import Data
from edgekit.calibration.scales import EXACT, TensorScale, parameters_of
from edgekit.graph.qdq import QuantizationParameters
from edgekit.graph.reference import ReferenceRun
from edgekit.progress import Progress
from edgekit.recipes import ReconstructStep

CHECK_FRAMES = 16


def learn(state: State, step: ReconstructStep, progress: Progress) -> State:
    """Return the state with learned scales, integer weights and biases; never one that distorts measurably more."""
    corrected = start_of(state, step, progress)
    recipe = state.recipe
    data = Data(
        state.frames,
        state.preprocessor,
        recipe,
        distortion_for(recipe),
        (lambda heads: focus_on(recipe, heads, FocusOptions())) if step.focus else None,
    )
    options = Options(
        **(FEW_LEVELS if state.grids else {}),
        unit=step.unit,
        steps=step.steps,
        frames=step.frames,
        select=step.select,
        check_frames=CHECK_FRAMES,
        seed=state.seed,
    )
    found = reconstruct(corrected, data, options, device=state.device, checkpoint=state.checkpoint, progress=progress)
    record = {
        "before": found.before,
        "after": found.after,
        "held_out": found.held_out,
        "biases_corrected": len(corrected.biases),
        "history": [asdict(check) for check in found.history],
    }
    return replace(
        state,
        scales={name: _learned(scale, found.result.parameters[name]) for name, scale in state.scales.items()},
        integers=dict(found.result.integers),
        biases=dict(found.result.biases),
        records=state.records | {"reconstruction": record},
    )


def start_of(state: State, step: ReconstructStep, progress: Progress) -> QuantizedModel:
    """Return the quantized model that learning starts from: as the scales make it, with its biases corrected."""
    start = QuantizedModel(
        state.model,
        state.placement,
        state.target.scheme,
        parameters_of(state.scales),
        grids=state.grids,
        pinned=frozenset(scale.group for scale in state.scales.values() if scale.method == EXACT),
    )
    return _corrected(state, start, step, progress) if step.correct_bias else start


def _corrected(state: State, start: QuantizedModel, step: ReconstructStep, progress: Progress) -> QuantizedModel:
    frames = state.frames.spread(step.frames)

    def inputs() -> Iterator[NDArray[np.float32]]:
        for index, frame in enumerate(frames):
            yield state.preprocessor(frame.values)
            progress("correct biases", index + 1, len(frames))

    few = state.frames.spread(CHECK_FRAMES)
    probe = Probe(ReferenceRun(state.model), few, state.preprocessor, state.recipe, distortion_for(state.recipe))
    judge = Judge(probe, ReferenceRun(start.qdq()))
    return correct_biases(start, inputs, judge, judge.start).result


def _learned(scale: TensorScale, how: QuantizationParameters) -> TensorScale:
    values: Mapping[str, Any] = {
        "scale": tuple(np.atleast_1d(how.scale).tolist()),
        "zero_point": tuple(np.atleast_1d(how.zero_point).tolist()),
    }
    if values["scale"] == scale.scale and values["zero_point"] == scale.zero_point:
        return scale
    return scale.model_copy(update={**values, "method": f"{scale.method}, then learned"})
