"""Learn the parameters of one unit, a network or a block of it, step by step; every step depends on its number alone.

Defaults follow QDrop (Wei et al., ICLR 2022) as published in MQBench, with far fewer and larger steps: the whole
network is one unit here, and minutes have to do.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from edgekit.calibration.reconstruction.fake_quantization import Drop
from edgekit.calibration.reconstruction.objective import errors, total
from edgekit.calibration.reconstruction.rounding import beta_at
from edgekit.calibration.reconstruction.samples import SampleFile
from edgekit.calibration.reconstruction.simulation import Simulation, Weights
from edgekit.graph.execute import TorchGraph

EXACT, QUANTIZED = "exact", "quantized"
"""Names in a sample: the unit's input as the floating-point network makes it, and as the quantized one does."""

Kind = Literal["rounding", "scale", "bias"]


@dataclass(frozen=True)
class Options:
    """How a reconstruction learns.

    Attributes:
        unit: Learn the whole network at once, or block after block.
        blocks: At most so many blocks.
        steps: Steps of Adam per unit. A step of the network costs what one step of every block costs together.
        accumulate: Frames per step; one after another, because exported graphs have a batch of 1.
        learn: What is learned.
        rounding: `straight` learns from hardened weights, `soft` is AdaRound's own, for many steps.
        rounding_rate: Learning rate of the rounding logits, annealed to 0 by a cosine.
        scale_rate: That of activation scales, in steps of the grid at its end.
        bias_rate: That of biases, in shares of the noise that quantization adds to the node's results.
        drop: Probability that an activation value skips its quantization (QDrop).
        regularization: Weight of AdaRound's regularizer against a reconstruction error that is 1 at the start.
        warm_up: Share of the steps without it.
        frames: At most so many calibration frames.
        hold_out: Every so-manieth of them is not learned from but checked on; with few frames, every second.
        check_frames: At most so many of those.
        check_every: Steps between checks of the distortion.
        patience: Stop after so many checks without a better one.
        select: Weigh heads by their sensitivities; otherwise alike.
        sensitivity_every: Steps between two estimates of them.
        sensitivity_frames: Held-out frames that they are estimated on.
        floor: Least weight of a head, where 1 is the mean.
        checkpoint_every: Steps between checkpoints.
        seed: Of the order of frames and of what is dropped.
    """

    unit: Literal["network", "block"] = "network"
    blocks: int = 8
    steps: int = 120
    accumulate: int = 4
    learn: tuple[Kind, ...] = ("rounding", "scale", "bias")
    rounding: Literal["straight", "soft"] = "straight"
    rounding_rate: float = 3e-3
    scale_rate: float = 5e-3
    bias_rate: float = 5e-3
    drop: float = 0.0
    regularization: float = 1.0
    warm_up: float = 0.2
    frames: int = 128
    hold_out: int = 4
    check_frames: int = 16
    check_every: int = 20
    patience: int = 6
    select: bool = True
    sensitivity_every: int = 40
    sensitivity_frames: int = 8
    floor: float = 0.1
    checkpoint_every: int = 20
    seed: int = 0


FEW_LEVELS: dict[str, Any] = {
    "rounding_rate": 5e-3,
    "scale_rate": 2e-2,
    "bias_rate": 1e-2,
    "drop": 0.5,
    "sensitivity_frames": 16,
    "floor": 0.5,
}
"""Options for grids of 4 bit: a step of the grid's end is a sixteenth of the range there, not a 256th. And whole lanes
come and go, so that sensitivities swing from one estimate to the next: head weights follow them half as far."""


@dataclass(frozen=True)
class Unit:
    """What is learned at once.

    Attributes:
        index: Its number.
        graph: Computes it.
        nodes: Its nodes.
        learned: Names of its learned parameters.
        weights: Names of its quantized weights.
        samples: Its inputs and what its outputs should be.
        power: Outputs that are compared, with their power.
    """

    index: int
    graph: TorchGraph
    nodes: frozenset[str]
    learned: tuple[str, ...]
    weights: tuple[str, ...]
    samples: SampleFile
    power: Mapping[str, float]

    def taps(self) -> Collection[str]:
        """Return the compared tensors that are no outputs of the graph."""
        return [name for name in self.power if name not in self.graph.output_names]


class Learner:
    """Adam over the parameters of one unit.

    Args:
        simulation: Holds the parameters.
        unit: What is learned.
        options: How.
        first_error: The unit's error when its learning began.
    """

    def __init__(self, simulation: Simulation, unit: Unit, options: Options, first_error: float) -> None:
        self._simulation, self._unit, self._options = simulation, unit, options
        self._unity = 1.0 / max(first_error, 1e-30)
        self._rates = {
            "rounding": options.rounding_rate,
            "scale": options.scale_rate,
            "bias": options.bias_rate,
        }
        groups = [
            {"params": [simulation.learned[name] for name in unit.learned if name.startswith(f"{kind}/")], "kind": kind}
            for kind in options.learn
        ]
        # Gradients of single weights are tiny beside Adam's usual epsilon of 1e-8.
        self.adam = torch.optim.Adam([group for group in groups if group["params"]], lr=0.0, eps=1e-15)
        # Rounding that is not learned is what it is: soft, it would be the exact weights.
        self._weights: Weights = options.rounding if "rounding" in options.learn else "hard"
        self._generator = torch.Generator(device=unit.graph.device)

    def step(self, number: int, weights: Mapping[str, float]) -> float:
        """Take a step and return the error that it saw, as a share of the error at the start.

        Args:
            number: Which step, from 0.
            weights: Of the unit's outputs.
        """
        options, unit = self._options, self._unit
        self._generator.manual_seed((options.seed * 1_000_003 + unit.index) * 1_000_003 + number)
        self.adam.zero_grad(set_to_none=True)
        seen = 0.0
        for index in self._indices(number):
            sample = unit.samples.read(index, unit.graph.device)
            drop = Drop(options.drop, self._generator) if options.drop else None
            quantizers = self._simulation.quantizers(weights=self._weights, drop=drop, nodes=unit.nodes)
            results = unit.graph(self._input(sample), taps=unit.taps(), quantizers=quantizers)
            error = total(errors(sample, results, unit.power), weights) * self._unity
            # On some frames a network is far more easily upset than on others; log1p keeps them from ruling the rest.
            loss = torch.log1p(error) / options.accumulate
            loss.backward()  # type: ignore[no-untyped-call]
            seen += float(error.detach()) / options.accumulate
        beta = beta_at(number / options.steps, warm_up=options.warm_up)
        if beta is not None and self._weights == "soft" and unit.weights:
            penalty = options.regularization * self._simulation.regularizer(beta, unit.weights)
            penalty.backward()  # type: ignore[no-untyped-call]
        for group in self.adam.param_groups:
            group["lr"] = self._rates[group["kind"]] * 0.5 * (1.0 + math.cos(math.pi * number / options.steps))
        self.adam.step()
        return seen

    def _input(self, sample: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Mix both inputs as QDrop mixes activations; of a network, both are the frame."""
        if QUANTIZED not in sample:
            return sample[EXACT]
        kept = torch.rand(sample[EXACT].shape, generator=self._generator, device=self._unit.graph.device)
        return torch.where(kept < self._options.drop, sample[EXACT], sample[QUANTIZED])

    def _indices(self, number: int) -> Iterator[int]:
        """Return the samples of a step: every one comes once before any comes again."""
        count = len(self._unit.samples)
        for place in range(number * self._options.accumulate, (number + 1) * self._options.accumulate):
            key = (self._options.seed, self._unit.index, place // count)
            yield int(np.random.default_rng(key).permutation(count)[place % count])


def error_of(simulation: Simulation, unit: Unit, weights: Mapping[str, float], most: int = 8) -> float:
    """Return a unit's error as it would be exported now, over its first samples."""
    quantizers = simulation.quantizers(nodes=unit.nodes)
    whole = 0.0
    count = min(most, len(unit.samples))
    with torch.no_grad():
        for index in range(count):
            sample = unit.samples.read(index, unit.graph.device)
            values = sample.get(QUANTIZED, sample[EXACT])
            results = unit.graph(values, taps=unit.taps(), quantizers=quantizers)
            whole += float(total(errors(sample, results, unit.power), weights))
    return whole / max(count, 1)


@contextmanager
def deterministic() -> Iterator[None]:
    """Let cuDNN choose the same exact algorithms every time, and put its settings back."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, False, False, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
