"""`edgekit.agreement_matrix`: whether every engine that is here sees the same in the golden inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.api.replays import FLOAT, Absent, Replay, Replays
from edgekit.api.sources import Outputs, Source, open_source
from edgekit.backends.crosscheck import differences
from edgekit.emulation import DEFAULT_ROOT
from edgekit.progress import Progress, silent
from edgekit.runtime.prepare import preprocessor_for
from edgekit.runtime.session import heads_of
from edgekit.tasks import task_for
from edgekit.tasks.base import Scene

_LEVELS = 255
"""Steps that 8 bit cut a range into."""


@dataclass(frozen=True)
class Step:
    """One quantization step of an output.

    Attributes:
        size: In the output's own unit.
        source: What it follows from: the output's own scale, or the range of its golden values.
    """

    size: float
    source: str


@dataclass(frozen=True)
class Distance:
    """How far two replays lie apart.

    Attributes:
        figures: In task units, as `Agreement.figures` names them.
        largest: Output to the largest |difference|, in quantization steps of that output.
        rms: Output to the root mean square of the differences, in steps as well.
        identical: The share of all values that are the same bit by bit.
    """

    figures: Mapping[str, float]
    largest: Mapping[str, float]
    rms: Mapping[str, float]
    identical: float


@dataclass(frozen=True)
class Matrix:
    """Every engine held against every other one.

    Attributes:
        source: The calibration or bundle.
        recipe: Its recipe.
        target: Its own target.
        frames: The golden frames.
        steps: Output to its quantization step.
        replays: Floating point first; for each quantized model ONNX Runtime on this machine before all others.
        absent: Engines that gave nothing.
        distances: Of each two replays, by their places in `replays`, the lower one first.
        disagreeing: Place of a replay to why its engine computes something else than ONNX Runtime from the same model.
    """

    source: Path
    recipe: str
    target: str
    frames: tuple[str, ...]
    steps: Mapping[str, Step]
    replays: tuple[Replay, ...]
    absent: tuple[Absent, ...]
    distances: Mapping[tuple[int, int], Distance]
    disagreeing: Mapping[int, str]

    @property
    def agrees(self) -> bool:
        """Whether every engine computes what ONNX Runtime does from the same model."""
        return not self.disagreeing

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON holds it; what has no finite value, as the SQNR of equal tensors, is left out."""
        return {
            "source": str(self.source),
            "recipe": self.recipe,
            "target": self.target,
            "frames": list(self.frames),
            "agrees": self.agrees,
            "steps": {name: {"size": step.size, "source": step.source} for name, step in self.steps.items()},
            "replays": [
                {
                    "engine": one.engine,
                    "model": one.model,
                    "origin": one.origin,
                    "same_model_in_onnxruntime": self.reference_of(place),
                    "disagreement": self.disagreeing.get(place),
                }
                for place, one in enumerate(self.replays)
            ],
            "absent": [{"engine": one.engine, "reason": one.reason} for one in self.absent],
            "distances": [
                {
                    "between": list(places),
                    "origins": sorted({self.replays[place].origin for place in places}),
                    "figures": {name: value for name, value in one.figures.items() if np.isfinite(value)},
                    "largest_steps": dict(one.largest),
                    "rms_steps": dict(one.rms),
                    "identical": one.identical,
                }
                for places, one in self.distances.items()
            ],
        }

    def reference_of(self, place: int) -> int | None:
        """Return the place of ONNX Runtime's replay of the same model here; none for that one itself."""
        return _reference_of(self.replays, place)


def agreement_matrix(source: str | Path, *, arm_root: str | Path = DEFAULT_ROOT, progress: Progress = silent) -> Matrix:
    """Replay golden inputs in every engine that is here, and measure how far each two lie apart.

    A calibration is quantized by the rules of a target of every backend, a bundle is what it is. Engines that are not
    here are named in the result, with the reason.

    Args:
        source: A calibration folder, or a bundle.
        arm_root: Where the emulated Arm cores are (`edgekit.emulation`).
        progress: Told what runs.

    Raises:
        ArtifactError: The source is neither, or damaged.
        TargetError: ONNX Runtime, which all others are held against, is not installed.
    """
    opened = open_source(source)
    found = list(Replays(opened, Path(arm_root), progress))
    replays = tuple(one for one in found if isinstance(one, Replay))
    steps = _steps(opened.quantized(opened.target), replays[0].outputs)
    task, scenes = task_for(opened.recipe), [_scenes(opened, one.outputs) for one in replays]
    distances = {}
    for one, two in combinations(range(len(replays)), 2):
        figures = reduce(add, map(task.compare, scenes[one], scenes[two])).figures()
        distances[one, two] = _distance(figures, steps, replays[one].outputs, replays[two].outputs)
    return Matrix(
        source=opened.path,
        recipe=opened.recipe.name,
        target=opened.target.name,
        frames=tuple(one.frame for one in opened.golden),
        steps=steps,
        replays=replays,
        absent=tuple(one for one in found if isinstance(one, Absent)),
        distances=distances,
        disagreeing=disagreeing(replays),
    )


def _scenes(source: Source, outputs: Sequence[Outputs]) -> list[Scene]:
    preprocessor = preprocessor_for(source.recipe.preprocessing, source.golden[0].input.shape)
    heads, task = heads_of(source.recipe, outputs[0]), task_for(source.recipe)
    return [
        task.decode({head: values[name] for head, name in heads.items()}, preprocessor.geometry(one.frame_size))
        for values, one in zip(outputs, source.golden, strict=True)
    ]


def _steps(quantized: bytes, reference: Sequence[Outputs]) -> dict[str, Step]:
    """Return each output's step: its own scale where the quantized model has one for it, else a part of its range."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_model_from_string(quantized).graph
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    scales = {node.input[0]: constants.get(node.input[1]) for node in graph.node if node.op_type == "QuantizeLinear"}
    steps = {}
    for name in reference[0]:
        scale = scales.get(name)
        if scale is not None and scale.size == 1:
            steps[name] = Step(float(scale.item()), "its own scale")
        else:
            extent = float(np.ptp(np.stack([one[name] for one in reference])))
            steps[name] = Step(extent / _LEVELS or 1.0, f"its golden range / {_LEVELS}")
    return steps


def _distance(
    figures: Mapping[str, float], steps: Mapping[str, Step], one: Sequence[Outputs], two: Sequence[Outputs]
) -> Distance:
    gaps = {name: _gaps(name, one, two) / step.size for name, step in steps.items()}
    same = [np.equal(a[name], b[name]) for name in steps for a, b in zip(one, two, strict=True)]
    return Distance(
        figures=figures,
        largest={name: float(gap.max(initial=0.0)) for name, gap in gaps.items()},
        rms={name: float(np.sqrt(np.mean(gap**2))) for name, gap in gaps.items()},
        identical=sum(int(each.sum()) for each in same) / sum(each.size for each in same),
    )


def _gaps(name: str, one: Sequence[Outputs], two: Sequence[Outputs]) -> NDArray[np.float64]:
    return np.stack([np.abs(np.float64(a[name]) - b[name]) for a, b in zip(one, two, strict=True)])


def _reference_of(replays: Sequence[Replay], place: int) -> int | None:
    chosen = replays[place]
    if chosen.is_reference:
        return None
    return next(at for at, one in enumerate(replays) if one.is_reference and one.model == chosen.model)


def disagreeing(replays: Sequence[Replay]) -> dict[int, str]:
    """Judge every engine as `edgekit compile` does: by the noise of quantization."""
    told = {}
    for place, one in enumerate(replays):
        reference = _reference_of(replays, place)
        if reference is not None and one.model != FLOAT:
            found = differences(replays[0].outputs, replays[reference].outputs, one.outputs)
            if broken := [str(each) for each in found if not each.within(one.precision)]:
                told[place] = "; ".join(broken)
    return told
