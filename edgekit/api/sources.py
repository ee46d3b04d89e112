"""What the agreement matrix is made from: a calibration, which serves every target, or a bundle, which serves one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from edgekit.api.compile import quantized_model
from edgekit.backends import backend_for
from edgekit.bundle import REFERENCE, Bundle, open_bundle
from edgekit.calibration.artifact import Calibration, GoldenInput
from edgekit.errors import ArtifactError
from edgekit.progress import Progress
from edgekit.recipes import Recipe
from edgekit.targets import Target

Outputs = Mapping[str, NDArray[Any]]


class Source(Protocol):
    """What is replayed. What a source cannot give, it refuses with an `EdgekitError` that says why.

    Attributes:
        path: Where it lies.
        recipe: Says what outputs mean.
        target: Its own target.
        golden: The golden inputs.
    """

    path: Path
    recipe: Recipe
    target: Target
    golden: Sequence[GoldenInput]

    def reference(self) -> bytes:
        """Return the floating-point model."""
        ...

    def quantized(self, target: Target) -> bytes:
        """Return the Q/DQ model under a target's rules."""
        ...

    def built(self, target: Target, model: bytes, progress: Progress) -> Mapping[str, bytes]:
        """Return what the target's backend makes of that model."""
        ...

    def simulated(self) -> list[Outputs]:
        """Return what the torch simulation of the quantized model gives for each golden input."""
        ...


class CalibrationSource:
    """A calibration folder."""

    def __init__(self, calibration: Calibration) -> None:
        self.path, self.recipe, self.target = calibration.folder, calibration.recipe, calibration.target
        self.golden: Sequence[GoldenInput] = calibration.golden()
        self._calibration = calibration

    def reference(self) -> bytes:
        """Return the floating-point model."""
        return self._calibration.fp_model.read_bytes()

    def quantized(self, target: Target) -> bytes:
        """Return the Q/DQ model as calibrated, or with scales chosen anew where the target has other rules."""
        return quantized_model(self._calibration, target)[0]

    def built(self, target: Target, model: bytes, progress: Progress) -> Mapping[str, bytes]:
        """Return what the target's backend makes of the Q/DQ model."""
        return backend_for(target.backend).build(model, target, progress).members

    def simulated(self) -> list[Outputs]:
        """Return what the torch simulation gives."""
        import torch

        from edgekit.calibration.reconstruction.simulation import Simulation
        from edgekit.calibration.restore import restore

        simulation = Simulation(restore(self._calibration))
        outputs = [value.name for value in simulation.model.graph.output]
        found = [simulation(torch.from_numpy(one.input)) for one in self.golden]
        return [{name: values[name].numpy() for name in outputs} for values in found]


class BundleSource:
    """A bundle: its own engine, and its Q/DQ model."""

    def __init__(self, bundle: Bundle) -> None:
        self.path, self.recipe, self.target = bundle.path, bundle.manifest.recipe, bundle.manifest.target
        self.golden: Sequence[GoldenInput] = [
            GoldenInput(one.frame, one.frame_size, one.input) for one in bundle.golden()
        ]
        self._bundle = bundle

    def reference(self) -> bytes:
        """Return the floating-point model."""
        return self._bundle.read(REFERENCE)

    def quantized(self, target: Target) -> bytes:
        """Return the Q/DQ model, for the bundle's own target and those that share engine and rules with it."""
        if target.backend != self.target.backend or target.scheme != self.target.scheme:
            raise ArtifactError(
                problem=f"The bundle is compiled for {self.target.name} alone.",
                found=f"{self.path}, and not the calibration that it was made from",
                fix="Give the calibration.",
            )
        members = self._bundle.engine_members()
        if "model.onnx" not in members:
            raise ArtifactError(
                problem="The bundle holds no Q/DQ model.", found=", ".join(members), fix="Give the calibration."
            )
        return members["model.onnx"]

    def built(self, target: Target, model: bytes, progress: Progress) -> Mapping[str, bytes]:
        """Return the engine of the bundle."""
        return self._bundle.engine_members()

    def simulated(self) -> list[Outputs]:
        """Refuse: what the simulation is made of lies in the calibration."""
        raise ArtifactError(
            problem="The torch simulation is made from a calibration.",
            found=f"{self.path}, a bundle",
            fix="Give the calibration.",
        )


def open_source(path: str | Path) -> Source:
    """Open a calibration folder or a bundle.

    Raises:
        ArtifactError: It is neither, or it is damaged or holds no golden inputs.
    """
    source: Source = (
        CalibrationSource(Calibration.open(path)) if Path(path).is_dir() else BundleSource(open_bundle(path))
    )
    if not source.golden:
        raise ArtifactError(problem=f"{path} holds no golden inputs to replay.", fix="Make it again.")
    return source
