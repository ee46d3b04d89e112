"""What a board calls to time placements; see `edgekit.tuning.remote`. It needs the engine, and no onnx."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends import backend_for
from edgekit.targets import BackendName
from edgekit.tuning.stopwatch import EngineTimer, Variant

INPUTS = "inputs"
"""Folder beside those of the jobs, with what all of them run on."""


def model_name(index: int) -> str:
    """Return the name of the file with a variant's model."""
    return f"{index}.onnx"


def time_there(
    folder: Path, backend: BackendName, threads: int, options: Sequence[Mapping[str, Any]], rounds: int
) -> dict[str, Any]:
    """Time the models that were sent into this folder, each with its options, in turn.

    Returns:
        `version`, the engine's, and `times`: one list a model, (rounds, calls) in ns.
    """
    engine, sent = backend_for(backend), folder / "in"
    variants = [Variant((sent / model_name(index)).read_bytes(), each) for index, each in enumerate(options)]
    # A board's disk may hold one batch of a search, and not all of them.
    shutil.rmtree(sent)
    inputs = [np.load(path) for path in sorted((folder.parent / INPUTS).iterdir())]
    times = EngineTimer(engine, threads, inputs)(variants, rounds)
    return {"version": engine.available().version, "times": [each.tolist() for each in times]}
