"""An engine that runs in a process of its own, which stays: a simulator, or a processor that is emulated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.backends.base import Engine, Layer, Tensors
from edgekit.backends.signature import TensorSpec, check_inputs
from edgekit.companion import Companion
from edgekit.errors import UsageError


class EngineApart:
    """What runs in the process, behind the interface that every engine has.

    Args:
        process: Made by a function that returned what `told_of` gives, and what runs the model on named inputs.
        layers: What the engine computes, where that is known better here.
    """

    def __init__(self, process: Companion, layers: Sequence[Layer] = ()) -> None:
        self._process: Companion | None = process
        self.inputs, self.outputs = (
            tuple(TensorSpec(name, tuple(shape), np.dtype(kind)) for name, shape, kind in process.told[part])
            for part in ("inputs", "outputs")
        )
        self._layers = tuple(layers) or layers_of(process.told["layers"])

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run once; every array returned is a new one.

        Raises:
            UsageError: The inputs are not the model's, or the engine is closed.
            TargetError: The process crashed, or took too long.
        """
        if self._process is None:
            raise UsageError(problem="The model is closed and cannot run.", fix="Load it again.")
        check_inputs(self.inputs, inputs)
        return self._process(inputs)

    def layers(self) -> tuple[Layer, ...]:
        """Return what the engine made of the model."""
        return self._layers

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
        self._process = None


def told_of(engine: Engine) -> tuple[dict[str, Any], Callable[[Tensors], dict[str, NDArray[Any]]]]:
    """Return, within the process, what an engine there tells of itself, and what runs it."""
    told = {
        "inputs": [[spec.name, spec.shape, spec.dtype.name] for spec in engine.inputs],
        "outputs": [[spec.name, spec.shape, spec.dtype.name] for spec in engine.outputs],
        "layers": [asdict(layer) for layer in engine.layers()],
    }
    return told, engine.run


def layers_of(told: Sequence[Mapping[str, Any]]) -> tuple[Layer, ...]:
    """Return layers that came as JSON."""
    return tuple(Layer(**{**one, "nodes": tuple(one["nodes"])}) for one in told)
