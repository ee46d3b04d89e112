"""ONNX Runtime on an emulated Arm core: what real aarch64 kernels compute from a model, at no real speed."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.backends.apart import EngineApart, told_of
from edgekit.backends.base import Availability, Build, Engine, Tensors, TimedLayer
from edgekit.backends.onnxruntime import OnnxRuntimeBackend
from edgekit.companion import Companion
from edgekit.emulation import EMULATED, EmulatedPython
from edgekit.progress import Progress, silent
from edgekit.targets import Target

TIMEOUT_S = 900.0
"""An emulated run takes some 20 times as long as one here."""


class EmulatedBackend:
    """Builds here, and runs in a real aarch64 Python on a core that qemu emulates.

    Args:
        python: Where to run.
    """

    name = OnnxRuntimeBackend.name

    def __init__(self, python: EmulatedPython) -> None:
        self._python = python

    def available(self) -> Availability:
        """Return ONNX Runtime's version there, and that its times do not count."""
        site = [str(self._python.root / "site")]
        found = next(iter(importlib.metadata.distributions(name="onnxruntime", path=site)), None)
        return Availability(found.version, EMULATED) if found else Availability("", f"no onnxruntime in {site[0]}")

    def build(self, model: bytes, target: Target, progress: Progress = silent) -> Build:
        """Build as for any other processor: what ONNX Runtime loads is the same."""
        return OnnxRuntimeBackend().build(model, target, progress)

    def load(self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> Engine:
        """Load what `build` returned.

        Raises:
            ArtifactError: The members are damaged or foreign.
            TargetError: The process crashed, or ran out of time.
            UsageError: An option is not known.
        """
        process = Companion(
            f"{__name__}:serve",
            {"members": sorted(members), "options": dict(options), "threads": threads},
            members,
            what=f"ONNX Runtime on an emulated {self._python.core}",
            start_s=TIMEOUT_S,
            call_s=TIMEOUT_S,
            environment=self._python.environment(),
            python=self._python.command(),
        )
        return EngineApart(process)

    def time_layers(
        self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int, inputs: Tensors, runs: int
    ) -> tuple[TimedLayer, ...]:
        """Return nothing: an emulator's times are not a processor's."""
        return ()


def serve(folder: Path, members: Sequence[str], options: Mapping[str, Any], threads: int) -> Any:
    """Be the emulated process."""
    files = {name: (folder / "in" / name).read_bytes() for name in members}
    return told_of(OnnxRuntimeBackend().load(files, options, threads))
