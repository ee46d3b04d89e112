"""Backends by name. Each is one file of the same shape; an engine is imported only when it is used."""

from __future__ import annotations

import importlib

from edgekit.backends.base import Availability, Backend, Build, Engine, Fallback, Layer, Members, Tensors, TimedLayer
from edgekit.backends.signature import TensorSpec

__all__ = [
    "BACKENDS",
    "Availability",
    "Backend",
    "Build",
    "Engine",
    "Fallback",
    "Layer",
    "Members",
    "TensorSpec",
    "Tensors",
    "TimedLayer",
    "backend_for",
]

BACKENDS: dict[str, str] = {
    "onnxruntime": "edgekit.backends.onnxruntime:OnnxRuntimeBackend",
    "openvino": "edgekit.backends.openvino:OpenVinoBackend",
    "tensorrt": "edgekit.backends.tensorrt:TensorRtBackend",
    "qnn": "edgekit.backends.qnn:QnnBackend",
}


def backend_for(name: str) -> Backend:
    """Return the backend of that name."""
    module, _, attribute = BACKENDS[name].partition(":")
    backend: Backend = getattr(importlib.import_module(module), attribute)()
    return backend
