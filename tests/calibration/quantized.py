"""Quantized small networks, and generic frames for them, to learn on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from edgekit.calibration.ranges.observe import observe
from edgekit.calibration.reconstruction.simulation import QuantizedModel
from edgekit.calibration.scales import choose_scales, parameters_of
from edgekit.graph.placement import place
from edgekit.recipes import Recipe, ScaleStep
from edgekit.targets import Scheme, TensorScheme
from tests.graph.schemes import scheme

LOW = {
    "activations": TensorScheme(dtype="uint8", symmetric=False, granularity="tensor", bits=4),
    "weights": TensorScheme(dtype="int8", symmetric=True, granularity="channel", narrow_range=True, bits=4),
}
"""W4A4, simulated in 8-bit dtypes."""


def inputs(count: int = 6, size: int = 16) -> Iterator[np.ndarray]:
    random = np.random.default_rng(3)
    return (random.uniform(0, 1, (1, 3, size, size)).astype(np.float32) for _ in range(count))


def quantized_net(model: onnx.ModelProto, rules: Scheme | None = None, **changes: Any) -> QuantizedModel:
    """Quantize a model's Conv on the inputs above, min-max."""
    rules = rules or scheme(opset=17, **changes)
    placement = place(model, rules)
    observations = observe(model, [one.tensor for one in placement.activations], inputs())
    step = ScaleStep(step="scale", activations="min-max")
    scales = choose_scales(model, placement, rules, observations, step)
    return QuantizedModel(model, placement, rules, parameters_of(scales))


def generic_recipe() -> Recipe:
    """Outputs without a known meaning; frames of the network's own size, /255."""
    return Recipe.model_validate(
        {"name": "generic", "title": "test", "decoder": {"family": "generic"}, "step": [{"step": "observe"}]}
    )
