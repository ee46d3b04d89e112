"""What every backend offers: the shape that makes them comparable side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from edgekit.backends.signature import TensorSpec
from edgekit.targets import Target

Tensors = Mapping[str, NDArray[Any]]
Members = dict[str, bytes]


@dataclass(frozen=True)
class Availability:
    """Whether an engine can run here.

    Attributes:
        version: The engine's version; empty where it is not installed.
        reason: Why it cannot run here, and what to do; empty where it can.
    """

    version: str
    reason: str = ""


class Engine(Protocol):
    """A loaded model that runs."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the model gives."""
        ...

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run once on named inputs of the model's shapes and dtypes; the arrays returned are the caller's own."""
        ...

    def close(self) -> None:
        """Free the engine; it cannot run after that."""
        ...


class Backend(Protocol):
    """An inference engine: how to build for it and how to run on it."""

    name: str

    def available(self) -> Availability:
        """Say whether the engine can run on this machine, without loading it."""
        ...

    def build(self, model: bytes, target: Target) -> Members:
        """Build what can be built here from an ONNX model; member names carry no folder.

        Raises:
            ModelError: The engine does not accept the model.
        """
        ...

    def load(self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> Engine:
        """Load what `build` returned.

        Raises:
            TargetError: The engine is not installed, or runs on the board only.
            ArtifactError: The members are damaged or foreign.
        """
        ...
