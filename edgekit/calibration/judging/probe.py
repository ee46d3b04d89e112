"""Hold quantized variants of a network against the network itself on a few frames, in the units of the task.

Two figures are read of every variant. The distortion is what post-processing makes of it. But where a network is
undecided between two columns, a hair's breadth decides over hundreds of px, and on a few frames chance rules. So beside
it stands the distortion that the variant's noise lets one expect: everything quantized costs a known distortion, each
head has a known share in it, and a variant with half the noise at a head is expected to cost half of that share:

    expected(v) = sum over heads h of  share_h * noise_h(v) / noise_h(all)      where sum of share_h = distortion(all)

noise_h is the root mean square error of the head under the focus (`edgekit.calibration.readout`), the mean over frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.calibration.distortion import Distortion
from edgekit.calibration.focus import FocusOptions
from edgekit.calibration.judging.evaluate import Run
from edgekit.calibration.readout import Readout, focus_on, mean_error
from edgekit.errors import DataError
from edgekit.frames import FrameSource
from edgekit.recipes import Recipe
from edgekit.runtime.prepare import Prepare
from edgekit.runtime.session import heads_of
from edgekit.tasks import task_for
from edgekit.tasks.base import FrameGeometry, Scene
from edgekit.tasks.heads import on_frame

Heads = Mapping[str, NDArray[Any]]

NOTHING = 1e-9
"""A distortion below this is a rounding error."""


@dataclass(frozen=True)
class Sample:
    """One frame and what the floating-point network makes of it.

    Attributes:
        frame: The frame's name.
        input: The network's input, float32.
        geometry: Where that input lies in the frame.
        heads: The network's outputs by head.
        scene: What they decode to.
        weights: How errors of a head count (`edgekit.calibration.readout`).
    """

    frame: str
    input: NDArray[np.float32]
    geometry: FrameGeometry
    heads: Heads
    scene: Scene
    weights: Mapping[str, NDArray[np.float32] | Readout]


@dataclass(frozen=True)
class Reading:
    """What a variant does on some of the samples.

    Attributes:
        distortion: Per sample.
        noise: Head to the weighted mean square of its error, per sample.
    """

    distortion: tuple[float, ...] = ()
    noise: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __add__(self, other: Reading) -> Reading:
        noise = {head: (*self.noise.get(head, ()), *values) for head, values in other.noise.items()}
        return Reading(self.distortion + other.distortion, noise or self.noise)

    @property
    def mean(self) -> float:
        """Mean distortion over the samples."""
        return float(np.mean(self.distortion))

    def first(self, count: int) -> Reading:
        """Return the reading of the first samples alone."""
        return Reading(self.distortion[:count], {head: values[:count] for head, values in self.noise.items()})


class Probe:
    """A few frames with the floating-point network's outputs on them, computed once.

    Args:
        reference: The floating-point network.
        frames: The frames; all are used and their inputs held in memory, so give a small spread subset.
        preprocessor: Turns a frame into an input.
        recipe: Says what the heads mean.
        distortion: How far two scenes lie apart, in px of the frame or the task's own unit.

    Raises:
        DataError: No frame could be read.
    """

    def __init__(
        self,
        reference: Run,
        frames: FrameSource,
        preprocessor: Prepare,
        recipe: Recipe,
        distortion: Distortion,
    ) -> None:
        self.recipe = recipe
        self._task = task_for(recipe)
        self._distortion = distortion
        samples = []
        for frame in frames:
            values = preprocessor(frame.values)
            geometry = preprocessor.geometry((frame.values.shape[0], frame.values.shape[1]))
            heads = self.heads_of(reference(values))
            with on_frame(frame.name):
                scene = self._task.decode(heads, geometry)
            weights = focus_on(recipe, heads, FocusOptions())
            samples.append(Sample(frame.name, values, geometry, heads, scene, weights))
        if not samples:
            raise DataError(problem="There is no frame to probe the network on.", fix="Give a readable frame.")
        self.samples = tuple(samples)

    def heads_of(self, outputs: Heads) -> dict[str, NDArray[Any]]:
        """Name the network's outputs as the recipe names its heads."""
        return {head: np.array(outputs[name]) for head, name in heads_of(self.recipe, outputs).items()}

    def read(self, run: Run, start: int = 0, stop: int | None = None) -> Reading:
        """Run a variant on samples `start` to `stop` and compare."""
        return self.compare([self.heads_of(run(sample.input)) for sample in self.samples[start:stop]], start)

    def compare(self, outputs: Sequence[Heads], start: int = 0) -> Reading:
        """Compare a variant's heads with those of the samples from `start` on."""
        pairs = list(zip(self.samples[start:], outputs, strict=False))
        return Reading(
            tuple(self.distortion(sample, heads) for sample, heads in pairs),
            {head: tuple(_noise(heads[head], sample, head) for sample, heads in pairs) for head in outputs[0]},
        )

    def distortion(self, sample: Sample, heads: Heads) -> float:
        """Return the distortion of heads against the sample's own."""
        return float(self._distortion(sample.scene, self._task.decode(heads, sample.geometry)))


def expected(variant: Reading, everything: Reading, shares: Mapping[str, float]) -> float:
    """Return the distortion that a variant's noise lets one expect, see the module's formula.

    Args:
        variant: The variant's reading.
        everything: That of everything quantized, on at least as many samples.
        shares: Head to its share in the distortion of everything quantized; they need not add up to 1.
    """
    same = everything.first(len(variant.distortion))
    total = sum(shares.values())
    if total <= NOTHING:
        return variant.mean
    ratios = {
        head: _mean_root(values) / max(_mean_root(same.noise[head]), 1e-30) for head, values in variant.noise.items()
    }
    return same.mean * sum(share * ratios[head] for head, share in shares.items()) / total


def _mean_root(squares: Sequence[float]) -> float:
    return float(np.mean(np.sqrt(squares)))


def _noise(values: NDArray[Any], sample: Sample, head: str) -> float:
    return mean_error(values.astype(np.float64) - sample.heads[head], sample.weights[head])
