"""Reconstruction: learn rounding, activation scales and biases so that the quantized network gives the same lanes.

The floating-point network's heads are the targets, and frozen. The network is learned at once, gradients running
through all of it (the choice of Fan et al., "Selective Focus", AAAI 2024, as summaries tell it), or block by block
(BRECQ, Li et al., ICLR 2021; QDrop, Wei et al., ICLR 2022). Held-out frames say, in the units of the task, which state
was the best; what is returned is never measurably worse on them than the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.calibration.judging.judge import Judge, Verdict
from edgekit.calibration.judging.probe import Probe
from edgekit.calibration.reconstruction import objective
from edgekit.calibration.reconstruction.checkpoint import Progress as Done
from edgekit.calibration.reconstruction.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from edgekit.calibration.reconstruction.learning import Learner, Options, Unit, deterministic, error_of
from edgekit.calibration.reconstruction.simulation import QuantizedModel, Simulation
from edgekit.calibration.reconstruction.units import Data, Units, arrays
from edgekit.progress import Progress, silent

LEAST_FRAMES_TO_HOLD_OUT = 4
MANY_FRAMES = 32
"""Of fewer, every second is held out: a distortion on a handful of frames is ruled by chance."""


@dataclass(frozen=True)
class Check:
    """One look at the quantized network while it is learned.

    Attributes:
        unit: The unit that is being learned.
        step: Steps of that unit so far.
        error: The last step's error as a share of the first; none before a step.
        distortion: Mean distortion on the held-out frames.
        score: What the best state has least of (`edgekit.calibration.judging.judge`).
        weights: Head weights at that step.
    """

    unit: int
    step: int
    error: float | None
    distortion: float
    score: float
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Reconstruction:
    """What was learned.

    Attributes:
        result: The quantized model; the one it started from where nothing better was found.
        before: Distortion of the start on the held-out frames.
        after: That of the result.
        history: Every check.
        held_out: Whether the checked frames were kept apart; with fewer than 4 frames they are not.
    """

    result: QuantizedModel
    before: float
    after: float
    history: tuple[Check, ...]
    held_out: bool


def reconstruct(
    start: QuantizedModel,
    data: Data,
    options: Options,
    *,
    device: str = "cpu",
    checkpoint: Path | None = None,
    progress: Progress = silent,
    report: Callable[[Check], None] | None = None,
) -> Reconstruction:
    """Learn rounding, activation scales and biases.

    The same arguments give the same bytes, on the same device with the same number of threads. Memory does not grow
    with the number of frames: inputs and targets lie in a temporary file.

    Args:
        start: The quantized model to improve.
        data: Frames, and what outputs mean.
        options: How to learn.
        device: As torch names it.
        checkpoint: Written as it goes. If it is there already, learning goes on from it, to the same bytes as if it had
            never stopped.
        progress: Called at each step.
        report: Called at each check, the first of them the start's.

    Raises:
        ArtifactError: The checkpoint is damaged or belongs to other work.
        DataError: No frame could be read.
        ModelError: The network holds an operator without a gradient.
    """
    with deterministic(), TemporaryDirectory(prefix="edgekit-") as folder:
        work = _Work(start, data, options, device, Path(folder), checkpoint)
        return work.run(progress, report or (lambda check: None))


class _Work:
    """One reconstruction under way."""

    def __init__(
        self, start: QuantizedModel, data: Data, options: Options, device: str, folder: Path, checkpoint: Path | None
    ) -> None:
        self._start, self._data, self._options, self._folder = start, data, options, folder
        self._simulation = Simulation(start, device)
        self._checkpoint = checkpoint
        self._belongs_to = _fingerprint(start, data, options, device) if checkpoint else ""
        frames = data.frames.spread(options.frames)
        self._held_out = len(frames) >= LEAST_FRAMES_TO_HOLD_OUT
        every = options.hold_out if len(frames) >= MANY_FRAMES else 2
        training, kept = frames.split(every) if self._held_out else (frames, frames)
        probe = Probe(
            self._reference, kept.spread(options.check_frames), data.preprocessor, data.recipe, data.distortion
        )
        self._judge = Judge(probe, self._quantized(), options.sensitivity_frames)
        self._units = Units(self._simulation, data, options, folder, training)
        self._simulation.set_bias_units(self._units.noise())
        state = self._simulation.state()
        self._done = Done(learned=state, best=state, verdict=asdict(self._judge.start))

    def run(self, progress: Progress, report: Callable[[Check], None]) -> Reconstruction:
        done = self._resume()
        if not done.history:
            self._note(0, None, self._judge.start, report)
        while done.unit < len(self._units):
            self._learn(self._units.unit(done.unit), progress, report)
            done.unit, done.step, done.moments = done.unit + 1, 0, {}
            self._save()
        self._simulation.load(done.best)
        best, start = Verdict(**done.verdict), self._judge.start
        return Reconstruction(
            result=self._start if best == start else self._simulation.export(),
            before=start.distortion,
            after=best.distortion,
            history=tuple(Check(**check) for check in done.history),
            held_out=self._held_out,
        )

    def _learn(self, unit: Unit, progress: Progress, report: Callable[[Check], None]) -> None:
        """Learn one unit, from where it was left."""
        done, options = self._done, self._options
        alike = dict.fromkeys(unit.power, 1.0)
        if not done.step:
            done.first_error = error_of(self._simulation, unit, alike)
        learner = Learner(self._simulation, unit, options, done.first_error)
        if done.moments:
            learner.adam.load_state_dict(done.moments)
        by_head = options.unit == "network" and options.select
        while done.step < options.steps and done.stale < options.patience:
            if by_head and done.step % options.sensitivity_every == 0:
                done.estimates.append(self._estimate())
            weights = self._weights() if by_head else alike
            error = learner.step(done.step, weights)
            done.step += 1
            progress("reconstruct", unit.index * options.steps + done.step, len(self._units) * options.steps)
            last = done.step == options.steps
            if last or (options.unit == "network" and done.step % options.check_every == 0):
                self._check(done.step, error, report)
            if done.step % options.checkpoint_every == 0:
                done.moments = learner.adam.state_dict()
                self._save()

    def _check(self, step: int, error: float, report: Callable[[Check], None]) -> None:
        """Judge the network on the held-out frames and keep its state if it is the best."""
        done, verdict = self._done, self._judge(self._quantized())
        if verdict.improves_on(Verdict(**done.verdict)):
            done.best, done.verdict, done.stale = self._simulation.state(), asdict(verdict), 0
        elif self._options.unit == "network":
            done.stale += 1
        self._note(step, error, verdict, report)

    def _note(self, step: int, error: float | None, verdict: Verdict, report: Callable[[Check], None]) -> None:
        weights = self._weights() if self._done.estimates else {}
        check = Check(self._done.unit, step, error, verdict.distortion, verdict.score, weights)
        self._done.history.append(asdict(check))
        report(check)

    def _estimate(self) -> dict[str, float]:
        """Estimate head weights from the sensitivities of this moment."""
        weights = objective.weights_from(self._judge.sensitivities(self._quantized()), self._options.floor)
        return {self._units.heads[name]: weight for name, weight in weights.items()}

    def _weights(self) -> dict[str, float]:
        every = self._options.sensitivity_every
        since = (self._done.step - (len(self._done.estimates) - 1) * every) / every
        return objective.interpolated(self._done.estimates, since)

    def _reference(self, values: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        return arrays(self._simulation.reference(torch.from_numpy(values)))

    def _quantized(self) -> Callable[[NDArray[np.float32]], dict[str, NDArray[Any]]]:
        """Return the quantized network as it would be exported at this moment."""
        quantizers = self._simulation.quantizers()
        return lambda values: arrays(self._simulation(torch.from_numpy(values), quantizers=quantizers))

    def _resume(self) -> Done:
        if self._checkpoint is not None and self._checkpoint.is_file():
            self._done = load_checkpoint(self._checkpoint, self._belongs_to)
            self._simulation.load(self._done.learned)
        return self._done

    def _save(self) -> None:
        if self._checkpoint is not None:
            self._done.learned = self._simulation.state()
            save_checkpoint(self._checkpoint, self._done, self._belongs_to)


def _fingerprint(start: QuantizedModel, data: Data, options: Options, device: str) -> str:
    arrays: list[bytes] = []
    for name, how in sorted(start.parameters.items()):
        arrays += [name.encode(), how.scale.tobytes(), how.zero_point.tobytes()]
    for values in (start.integers, start.biases):
        for name, array in sorted(values.items()):
            arrays += [name.encode(), array.tobytes()]
    return fingerprint(
        start.model.SerializeToString(deterministic=True),
        repr(start.placement),
        start.scheme.model_dump_json(),
        repr((sorted(start.grids.items()), sorted(start.pinned))),
        *arrays,
        data.frames.digest(),
        data.recipe.model_dump_json(),
        repr((options, data.focus is not None)),
        torch.device(device).type,
        torch.__version__,
    )
