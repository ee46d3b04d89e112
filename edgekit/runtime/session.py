"""A model that runs: camera frame in, lanes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.recipes import Recipe
from edgekit.runtime.prepare import Prepare
from edgekit.tasks.base import Lane, Scene, Task


class Runnable(Protocol):
    """What a session needs of an engine."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once on named inputs."""
        ...

    def close(self) -> None:
        """Free the engine."""
        ...


@runtime_checkable
class OnDevice(Protocol):
    """What an engine tells that runs on a device with a clock and memory of its own, such as a GPU."""

    @property
    def device_ns(self) -> int:
        """What the last run took by the device's clock, in ns."""
        ...

    @property
    def device_bytes(self) -> int:
        """Bytes of the device's memory that the engine took when it was loaded."""
        ...


class Session:
    """Preprocessing, engine and decoder in one call; closes its engine.

    Frames may differ in size. A session keeps nothing between frames.

    Args:
        engine: The loaded model.
        input_name: The model's input.
        preprocessor: Turns a frame into that input.
        heads: The recipe's head name to the name of the model's output.
        task: Decodes the heads.
    """

    def __init__(
        self, engine: Runnable, input_name: str, preprocessor: Prepare, heads: Mapping[str, str], task: Task
    ) -> None:
        self._engine = engine
        self._input_name = input_name
        self._heads = dict(heads)
        self.preprocessor = preprocessor
        self.task = task

    def __call__(self, frame: NDArray[np.uint8]) -> list[Lane]:
        """Return the lanes in a frame (H, W, 3), uint8, BGR.

        Raises:
            DataError: The frame is of another kind.
        """
        return list(self.scene(frame).lanes)

    def scene(self, frame: NDArray[np.uint8]) -> Scene:
        """Return all that is decoded from a frame (H, W, 3), uint8, BGR.

        Raises:
            DataError: The frame is of another kind.
        """
        return self.decode(self.infer(self.preprocessor(frame)), (frame.shape[0], frame.shape[1]))

    def infer(self, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run the model alone and return its outputs by name.

        Args:
            values: The network's input, as `preprocessor` makes it.

        Raises:
            UsageError: The input has another shape or type, or the session is closed.
        """
        return self._engine.run({self._input_name: values})

    @property
    def on_device(self) -> OnDevice | None:
        """The engine, where it runs on a device with a clock of its own."""
        return self._engine if isinstance(self._engine, OnDevice) else None

    def decode(self, outputs: Mapping[str, NDArray[Any]], frame_size: tuple[int, int]) -> Scene:
        """Decode the model's outputs for a frame of that height and width."""
        heads = {head: outputs[name] for head, name in self._heads.items()}
        return self.task.decode(heads, self.preprocessor.geometry(frame_size))

    def close(self) -> None:
        """Free the engine; the session cannot run after that."""
        self._engine.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def heads_of(recipe: Recipe, outputs: Iterable[str]) -> dict[str, str]:
    """Return the recipe's head names with the model's output for each.

    A recipe without heads takes every output under its own name.

    Raises:
        UsageError: The model lacks an output that the recipe names.
    """
    known = list(outputs)
    if not recipe.heads:
        return {name: name for name in known}
    heads = {name: head.output or name for name, head in recipe.heads.items()}
    missing = [name for name, output in heads.items() if output not in known]
    if missing:
        head = missing[0]
        raise UsageError(
            problem=f"The model has no output '{heads[head]}', which the recipe '{recipe.name}' reads as '{head}'.",
            found=f"outputs: {', '.join(known)}; missing: {', '.join(heads[name] for name in missing)}",
            fix="Use the recipe of this model's family (`edgekit recipes` lists them), or say in a recipe of your own "
            f"which output it is: output = '...' under [heads.{head}].",
        )
    return heads
