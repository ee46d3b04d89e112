"""ONNX Runtime on an emulated Arm core: what real aarch64 kernels compute from a model, at no real speed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.backends import backend_for
from edgekit.bundle import arrays_bytes
from edgekit.emulation import EmulatedPython
from edgekit.isolation import call_isolated
from edgekit.progress import Progress, silent

TIMEOUT_S = 900.0
"""An emulated run takes some 20 times as long as one here."""

_INPUTS = "inputs.npz"


def run_emulated(
    python: EmulatedPython,
    members: Mapping[str, bytes],
    options: Mapping[str, Any],
    inputs: Sequence[NDArray[Any]],
    progress: Progress = silent,
) -> tuple[str, list[dict[str, NDArray[Any]]]]:
    """Run a model on every input and return ONNX Runtime's version there, and the outputs by name.

    Args:
        python: Where to run.
        members: What ONNX Runtime's backend built.
        options: Of the target.
        inputs: Arrays for the model's only input.
        progress: Told of the seconds that have passed.

    Raises:
        ArtifactError: The members are damaged or foreign.
        TargetError: The process crashed, or ran out of time.
    """
    found = call_isolated(
        f"{__name__}:replay",
        {"members": sorted(members), "options": dict(options)},
        {**members, _INPUTS: arrays_bytes(list(inputs))},
        what=f"ONNX Runtime on an emulated {python.core}",
        timeout_s=TIMEOUT_S,
        progress=progress,
        environment=python.environment(),
        python=python.command(),
    )
    names = found.result["outputs"]
    return found.result["version"], [
        dict(zip(names, _arrays(found.files[f"{index}.npz"]), strict=True)) for index in range(len(inputs))
    ]


def replay(folder: Path, members: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Be the emulated process of `run_emulated`."""
    backend = backend_for("onnxruntime")
    engine = backend.load({name: (folder / "in" / name).read_bytes() for name in members}, options, threads=1)
    (name,) = [spec.name for spec in engine.inputs]
    for index, values in enumerate(_arrays((folder / "in" / _INPUTS).read_bytes())):
        outputs = engine.run({name: values})
        (folder / "out" / f"{index}.npz").write_bytes(arrays_bytes(list(outputs.values())))
    return {"version": backend.available().version, "outputs": [spec.name for spec in engine.outputs]}


def _arrays(data: bytes) -> list[NDArray[Any]]:
    with np.load(io.BytesIO(data)) as stored:
        return [stored[f"arr_{index}"] for index in range(len(stored.files))]
