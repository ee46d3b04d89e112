"""Frames for small networks, and Q/DQ models of them under three schemes."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.calibration.ranges.observe import observe
from edgekit.calibration.scales import choose_scales, parameters_of
from edgekit.graph.clean import at_opset
from edgekit.graph.placement import place
from edgekit.graph.qdq import write_qdq
from edgekit.recipes import ScaleStep
from edgekit.targets import Scheme
from tests.graph.schemes import SIGNED, scheme

RULES = {
    "inputs": scheme(),
    "signed": scheme(activations=SIGNED, residual_add="branch", share_scale=("MaxPool", "Concat", "Resize"), opset=17),
    "outputs": scheme(outputs=True, bias="int32", residual_add="full", share_scale=("MaxPool", "Concat", "Resize")),
}


def image(shape: tuple[int, ...] = (1, 3, 16, 16), seed: int = 5) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def quantized(model: onnx.ModelProto, rules: Scheme, frame: NDArray[np.float32]) -> onnx.ModelProto:
    model = at_opset(model, rules.opset)
    placement = place(model, rules)
    observations = observe(model, [one.tensor for one in placement.activations], [frame])
    scales = choose_scales(model, placement, rules, observations, ScaleStep(step="scale", activations="min-max"))
    return write_qdq(model, placement, rules, parameters_of(scales))
