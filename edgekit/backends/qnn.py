"""QNN: the engine for Qualcomm's Hexagon processor in phones and cars. Its context is built for the device's SoC."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from typing import Any

from edgekit.backends.base import Availability, Build, Engine, Tensors, TimedLayer
from edgekit.backends.deferred import build_on_device, checked_model, refusal_to_run
from edgekit.progress import Progress, silent
from edgekit.targets import Target

_MUST_MATCH = (
    "the context binary only loads on the Hexagon version that it was built for",
    "session.disable_cpu_ep_fallback must be 1, or a context that fails to load runs on the CPU without a word",
    "the SHA-256 of model.onnx is model_sha256",
)


class QnnBackend:
    """Gives the Q/DQ model and the recipe to build a context binary from it; runs nothing here."""

    name = "qnn"

    def available(self) -> Availability:
        """Say what of QNN is on this machine, without loading it."""
        if importlib.util.find_spec("onnxruntime_qnn") is None:
            return Availability("", f"{_absent()} The context binary is built for the device and runs there.")
        return Availability(_version(), "EdgeKit does not run QNN itself: build and run the context on the device.")

    def build(self, model: bytes, target: Target, progress: Progress = silent) -> Build:
        """Return the model and how its context binary is built.

        Raises:
            ModelError: The model is damaged.
            UsageError: The target does not say how the context is built.
        """
        checked_model(model)
        return build_on_device(self.name, model, target, _MUST_MATCH)

    def load(self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> Engine:
        """Refuse, and say how the context binary is built.

        Raises:
            TargetError: Always, for members of this engine.
            ArtifactError: The members are damaged or foreign.
        """
        present = importlib.util.find_spec("onnxruntime_qnn") is not None
        here = f"onnxruntime-qnn {_version()}, which EdgeKit does not run contexts with" if present else _absent()
        raise refusal_to_run(self.name, members, here)

    def time_layers(
        self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int, inputs: Tensors, runs: int
    ) -> tuple[TimedLayer, ...]:
        """Return nothing: the context binary runs on the device only."""
        return ()


def _absent() -> str:
    return "The Python module onnxruntime_qnn is not installed here."


def _version() -> str:
    try:
        return importlib.metadata.version("onnxruntime-qnn")
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
