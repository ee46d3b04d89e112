"""The built-in default: a small lane network, and generated road frames with ground truth to feed it."""

from __future__ import annotations

from pathlib import Path


def model_path() -> Path:
    """Return the ONNX file of the reference lane network; its recipe is `reference-lane`."""
    return Path(__file__).parent / "model.onnx"
