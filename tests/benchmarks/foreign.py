"""Tools that live in a Python environment of their own: their inputs are written to disk, and a script runs there."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.frames import Frames
from edgekit.runtime.preprocessing import Preprocessor

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 4 * 3600


def quantize(
    python: Path, script: str, preprocessor: Preprocessor, order: Mapping[str, Any], folder: Path
) -> dict[str, float]:
    """Run a script of this folder under another Python; returns its seconds and peak memory.

    The reading and preprocessing of the frames counts, since the other tools do that within their time.

    Args:
        python: The interpreter.
        script: File name of the script.
        preprocessor: Turns frames into inputs.
        order: What the script is told, beside the folder of inputs.
        folder: An empty folder, for the inputs, and as the home and working folder of the tool.

    Raises:
        CalledProcessError: The script failed.
        TimeoutExpired: It did not end in `TIMEOUT_S`.
    """
    inputs = folder / "inputs"
    inputs.mkdir()
    start = time.perf_counter()
    for index, frame in enumerate(Frames.open(order["frames"])):
        np.save(inputs / f"{index:06d}.npy", preprocessor(frame.values))
    prepared = time.perf_counter() - start
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(python), str(HERE / script), json.dumps({**order, "inputs": str(inputs)})],
        cwd=folder,
        env=environment | {"HOME": str(folder), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return {"seconds": round(told["seconds"] + prepared, 2), "peak_rss_mb": round(told["peak_rss_mb"], 1)}


def version_of(python: Path, package: str) -> str:
    """Return the version of a package in another Python's environment.

    Raises:
        CalledProcessError: It is not installed there.
    """
    code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    return subprocess.run([str(python), "-c", code, package], capture_output=True, text=True, check=True).stdout.strip()
