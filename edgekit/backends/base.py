"""What every backend offers: the shape that makes them comparable side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from edgekit.backends.signature import TensorSpec
from edgekit.progress import Progress, silent
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


@dataclass(frozen=True)
class Layer:
    """What an engine computes in one go.

    Attributes:
        name: The engine's own name of it.
        kind: The engine's kernel or operator.
        precision: What it computes in, as the engine tells: int8, int16, f32, f16, bf16, or int32 and others for what
            is neither; empty where the engine does not tell.
        device: The execution provider or device that runs it.
        nodes: The nodes of the ONNX model that it computes, as far as the engine tells.
    """

    name: str
    kind: str
    precision: str
    device: str
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TimedLayer:
    """A layer and what it takes.

    Attributes:
        layer: What the engine computes in one go.
        microseconds: The median over several runs, measured on its device; their mean where the engine's profiler does
            not tell single runs.
    """

    layer: Layer
    microseconds: float


@dataclass(frozen=True)
class Fallback:
    """A node of the model that the target's accelerator does not run, and the CPU does.

    Attributes:
        node: The node's name.
        operator: Its operator.
        why: Why, as far as the engine tells.
    """

    node: str
    operator: str
    why: str


@dataclass(frozen=True)
class Build:
    """What a backend made of a model.

    Attributes:
        members: What goes into the bundle; names carry no folder.
        layers: What the engine computes in which precision; empty where it does not tell, or is built on the device.
        fallback: Nodes that the accelerator does not run; Q/DQ nodes are not counted.
        reproducible: Whether the same model and target give the same bytes again.
        log: What the engine's own compiler printed, where it ran in a process of its own.
        seconds: How long the engine's compiler took, where it ran here.
        peak_bytes: The most resident memory that its process held, where it had one of its own.
        version: The engine's version that built it; empty for the one that `available` names.
        built_for: What the engine is bound to, GPU, versions and the like; empty where it is bound to nothing.
    """

    members: Members
    layers: tuple[Layer, ...] = ()
    fallback: tuple[Fallback, ...] = ()
    reproducible: bool = True
    log: str = ""
    seconds: float | None = None
    peak_bytes: int | None = None
    version: str = ""
    built_for: Mapping[str, str] = field(default_factory=dict)


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

    def layers(self) -> tuple[Layer, ...]:
        """Return what the engine made of the model, in the order that it runs; empty where it does not tell."""
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

    def build(self, model: bytes, target: Target, progress: Progress = silent) -> Build:
        """Build what can be built here from an ONNX model.

        Raises:
            ModelError: The engine does not accept the model.
        """
        ...

    def load(self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> Engine:
        """Load the members that `build` returned, or a floating-point model as the only member `model.onnx`.

        Raises:
            TargetError: The engine is not installed, or runs on the board only.
            ArtifactError: The members are damaged or foreign.
        """
        ...

    def time_layers(
        self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int, inputs: Tensors, runs: int
    ) -> tuple[TimedLayer, ...]:
        """Load the model with the engine's own profiler on, and return the time of every layer.

        Profiling slows a run down, so this is no measurement of latency: what it tells is each layer's share.

        Args:
            members: As for `load`.
            options: As for `load`.
            threads: As for `load`.
            inputs: What every run gets.
            runs: How many runs are timed, after one that is not.

        Returns:
            In the order that they run; empty where the engine has no such profiler.

        Raises:
            TargetError: As for `load`.
            ArtifactError: As for `load`.
        """
        ...


@runtime_checkable
class BuildsInPlace(Protocol):
    """A backend that builds an engine from what lies in a bundle, on the device that runs it."""

    def rebuild(self, members: Mapping[str, bytes], target: Target, progress: Progress = silent) -> Build:
        """Build the engine anew from the members that `build` returned.

        Raises:
            TargetError: The engine's compiler is not here, or this machine is not what the target stands for.
            ArtifactError: The members are damaged or foreign.
            ModelError: The engine does not accept the model.
        """
        ...
