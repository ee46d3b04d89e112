"""Variants of a quantized model as it is deployed: other nodes kept, everything else to the bit as calibrated."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekit.calibration.scales import Scales, parameters_of
from edgekit.calibration.selection.variants import Variants
from edgekit.graph.clean import at_opset
from edgekit.graph.placement import Placement, place
from edgekit.targets import Scheme

Array = NDArray[Any]


def deployed_variants(
    floating: onnx.ModelProto, quantized: onnx.ModelProto, scales: Scales, scheme: Scheme
) -> Variants:
    """Return the variants of a Q/DQ model that keep more nodes in floating point than it does.

    Its scales, its learned integers and its learned biases are taken from where they are stored, so that a node which
    is kept costs no other node its learned rounding. With nothing more kept, a variant is the Q/DQ model itself.

    Args:
        floating: The cleaned model in floating point.
        quantized: Its Q/DQ model.
        scales: The scales that it was written with.
        scheme: The rules that it was written by.
    """
    model = at_opset(floating, scheme.opset)
    stored = {tensor.name: tensor for tensor in quantized.graph.initializer}
    placement = place(model, scheme, scales.kept)
    parameters = parameters_of(scales.tensors)
    return Variants(
        model,
        scheme,
        lambda *_: parameters,
        integers={
            weight.tensor: numpy_helper.to_array(stored[f"{weight.tensor}_quantized"]) for weight in placement.weights
        },
        biases=_biases(stored, placement),
        kept=scales.kept,
    )


def _biases(stored: dict[str, onnx.TensorProto], placement: Placement) -> dict[str, Array]:
    """Return the biases that were learned, by node; those in int32 in the precision that gives the same integers."""
    found: dict[str, Array] = {}
    for weight in placement.weights:
        name = f"{weight.node}/bias"
        if name in stored:
            found[weight.node] = numpy_helper.to_array(stored[name])
        elif f"{name}_quantized" in stored:
            scale = numpy_helper.to_array(stored[f"{name}_scale"]).astype(np.float64)
            found[weight.node] = numpy_helper.to_array(stored[f"{name}_quantized"]) * scale
    return found
