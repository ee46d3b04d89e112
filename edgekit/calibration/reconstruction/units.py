"""The units of a reconstruction, a network or its blocks: what goes into each, and what should come out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.calibration.distortion import Distortion
from edgekit.calibration.readout import Readout
from edgekit.calibration.reconstruction import objective
from edgekit.calibration.reconstruction.blocks import blocks_of
from edgekit.calibration.reconstruction.learning import EXACT, QUANTIZED, Options, Unit
from edgekit.calibration.reconstruction.objective import TARGET
from edgekit.calibration.reconstruction.samples import SampleFile
from edgekit.calibration.reconstruction.simulation import Simulation
from edgekit.errors import DataError
from edgekit.frames import FrameSource
from edgekit.graph.execute import TorchGraph
from edgekit.recipes import Recipe
from edgekit.runtime.prepare import Prepare
from edgekit.runtime.session import heads_of
from edgekit.tasks.heads import on_frame, require_finite

SAMPLES_OF_START = 16
LEAST_ERROR = 1e-6
"""As a share of a head's power: a head that quantization hardly touches has no part in the objective."""

Focus = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[np.float32] | Readout]]
"""Given the heads of one frame, how errors of each count: by element, or of what is read of several together."""


@dataclass(frozen=True)
class Data:
    """Frames and what they mean.

    Attributes:
        frames: The calibration frames; part of them is held out.
        preprocessor: Turns a frame into an input.
        recipe: Names the heads and decodes them.
        distortion: How far two decoded scenes lie apart.
        focus: Where a head counts; none: everywhere alike.
    """

    frames: FrameSource
    preprocessor: Prepare
    recipe: Recipe
    distortion: Distortion
    focus: Focus | None = None


class Units:
    """All units of one reconstruction, in the order in which they are learned.

    Args:
        simulation: The network.
        data: What outputs mean.
        options: Network or blocks.
        folder: For samples, which lie on disk.
        frames: The frames to learn from.

    Attributes:
        heads: The recipe's head names with the model's output for each.

    Raises:
        DataError: No frame could be read.
    """

    def __init__(self, simulation: Simulation, data: Data, options: Options, folder: Path, frames: FrameSource) -> None:
        self._simulation, self._folder = simulation, folder
        self._device = simulation.graph.device
        self.heads = heads_of(data.recipe, simulation.graph.output_names)
        blocks = options.unit == "block"
        self._blocks = blocks_of(simulation.model, simulation.placement, options.blocks) if blocks else ()
        self._samples = SampleFile(folder / "network")
        for frame in frames:
            with on_frame(frame.name):
                self._samples.append(self._sample(data.preprocessor(frame.values), data.focus))
        if not len(self._samples):
            raise DataError(problem="There is no frame to learn from.", fix="Give at least one readable frame.")

        # Before anything is learned, and before a checkpoint is loaded: both must see the same.
        self._first_errors = {} if self._blocks else self._errors_of_start()

    def __len__(self) -> int:
        return len(self._blocks) or 1

    def unit(self, index: int) -> Unit:
        """Return a unit; the inputs of a block are made by the blocks before it as they are now."""
        return self._block(index) if self._blocks else self._network()

    def noise(self) -> dict[str, torch.Tensor]:
        """Return the root mean square of what quantization adds to each node with a bias, on the first frame."""
        results = {node.name: node.output[0] for node in self._simulation.model.graph.node}
        taps = {name: results[name] for name in self._simulation.nodes_with_bias()}
        values = self._samples.read(0, self._device)[EXACT]
        exact = self._simulation.reference(values, taps=tuple(taps.values()))
        found = self._simulation(values, taps=tuple(taps.values()))
        return {name: (found[tensor] - exact[tensor]).square().mean().sqrt() for name, tensor in taps.items()}

    def _sample(self, values: NDArray[np.float32], focus: Focus | None) -> dict[str, NDArray[Any]]:
        """Return input, floating-point heads and their focus for a frame."""
        outputs = arrays(self._simulation.reference(torch.from_numpy(values)))
        heads = {name: outputs[output] for name, output in self.heads.items()}
        for name, head in heads.items():
            require_finite(head, name)
        weights = focus(heads) if focus else {}
        sample: dict[str, NDArray[Any]] = {EXACT: values}
        sample |= {TARGET + self.heads[name]: head for name, head in heads.items()}
        for name, weight in weights.items():
            sample |= objective.stored_focus(self.heads[name], weight)
        return sample

    def _errors_of_start(self) -> dict[str, float]:
        """Return each head's error before anything is learned, over the first samples; in no head next to nothing."""
        power = objective.powers(self._samples, tuple(self.heads.values()))
        count = min(len(self._samples), SAMPLES_OF_START)
        sums = dict.fromkeys(power, 0.0)
        for index in range(count):
            sample = self._samples.read(index, self._device)
            found = objective.errors(sample, self._simulation(sample[EXACT]), power)
            sums = {name: whole + float(found[name]) for name, whole in sums.items()}
        return {name: power[name] * max(whole / count, LEAST_ERROR) for name, whole in sums.items()}

    def _network(self) -> Unit:
        return Unit(
            index=0,
            graph=self._simulation.graph,
            nodes=frozenset(node.name for node in self._simulation.model.graph.node),
            learned=tuple(self._simulation.learned),
            weights=tuple(dict.fromkeys(weight.tensor for weight in self._simulation.placement.weights)),
            samples=self._samples,
            power=self._first_errors,
        )

    def _block(self, index: int) -> Unit:
        block = self._blocks[index]
        samples = self._block_samples(index)
        return Unit(
            index=index,
            graph=TorchGraph(block.model, str(self._device)),
            nodes=block.nodes,
            learned=self._learned_in(index),
            weights=block.weights,
            samples=samples,
            power=objective.powers(samples, block.outputs),
        )

    def _block_samples(self, index: int) -> SampleFile:
        """Run the blocks before one over the frames, exact and quantized, and write what that one needs."""
        # Only one block is learned at a time, so one file serves them all.
        file = SampleFile(self._folder / "block")
        blocks = self._blocks[: index + 1]
        graphs = [TorchGraph(block.model, str(self._device)) for block in blocks]
        quantizers = [self._simulation.quantizers(nodes=block.nodes) for block in blocks]
        for number in range(len(self._samples)):
            exact = quantized = self._samples.read(number, self._device)[EXACT]
            with torch.no_grad():
                for block, graph, reading in zip(blocks[:-1], graphs, quantizers, strict=False):
                    exact = graph(exact)[block.outputs[0]]
                    quantized = graph(quantized, quantizers=reading)[block.outputs[0]]
                wanted = graphs[-1](exact)
            sample = {EXACT: exact, QUANTIZED: quantized}
            file.append(arrays(sample | {TARGET + name: wanted[name] for name in blocks[-1].outputs}))
        return file

    def _learned_in(self, index: int) -> tuple[str, ...]:
        """Return the learned parameters of a block; a scale that several blocks share belongs to the first of them."""
        owner: dict[str, int] = {}
        for number, block in enumerate(self._blocks):
            for activation in self._simulation.placement.activations:
                if any(reader.node in block.nodes for reader in activation.readers):
                    owner.setdefault(f"scale/{activation.group}", number)
            for weight in self._simulation.placement.weights:
                if weight.node in block.nodes:
                    owner.setdefault(f"rounding/{weight.tensor}", number)
                    owner.setdefault(f"bias/{weight.node}", number)
        return tuple(name for name in self._simulation.learned if owner.get(name) == index)


def arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    """Return tensors as arrays."""
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
