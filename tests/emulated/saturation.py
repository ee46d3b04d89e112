"""What an engine makes of a model, in a process of its own: for `edgekit.isolation`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.backends import backend_for
from edgekit.engines import import_onnxruntime


def run(folder: Path, backend: str) -> list[float]:
    """Run the model as EdgeKit does."""
    engine = backend_for(backend).load({"model.onnx": _model(folder)}, {}, 1)
    return engine.run({"image": np.load(folder / "in" / "image.npy")})["out"].ravel().tolist()


def run_fast(folder: Path) -> list[float]:
    """Run it in ONNX Runtime as that is by itself, with the kernels that are fast and may saturate."""
    session = import_onnxruntime().InferenceSession(_model(folder), providers=["CPUExecutionProvider"])
    return session.run(["out"], {"image": np.load(folder / "in" / "image.npy")})[0].ravel().tolist()


def _model(folder: Path) -> bytes:
    return (folder / "in" / "model.onnx").read_bytes()
