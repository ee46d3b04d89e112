"""Quantization schemes like those of the shipped targets, with the rules that a test varies as arguments."""

from __future__ import annotations

from typing import Any

from edgekit.targets import Scheme, TensorScheme

UNSIGNED = TensorScheme(dtype="uint8", symmetric=False, granularity="tensor")
SIGNED = TensorScheme(dtype="int8", symmetric=True, granularity="tensor")
WEIGHTS = TensorScheme(dtype="int8", symmetric=True, granularity="channel", narrow_range=True)


def scheme(**changes: Any) -> Scheme:
    rules: dict[str, Any] = {
        "activations": UNSIGNED,
        "weights": WEIGHTS,
        "bias": "float",
        "higher_precision": "fp32",
        "operators": ("Conv", "ConvTranspose"),
        "outputs": False,
        "residual_add": "none",
        "opset": 21,
    }
    return Scheme(**(rules | changes))
