"""From a calibration folder back to the quantized model that it was written from."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekit.calibration.artifact import Calibration
from edgekit.calibration.bits import grids_of, widened
from edgekit.calibration.reconstruction.simulation import QuantizedModel
from edgekit.calibration.scales import parameters_of
from edgekit.graph.clean import at_opset
from edgekit.graph.placement import HEAD_RESULT, WIDE, Placement, place

Array = NDArray[Any]


def restore(calibration: Calibration) -> QuantizedModel:
    """Return the quantized model of a calibration: its `qdq()` is the calibration's own Q/DQ model again.

    Nodes with 16-bit activations are left in floating point, as they are while a network is learned.
    """
    scheme, scales = calibration.target.scheme, calibration.scales
    model = at_opset(onnx.load(calibration.fp_model), scheme.opset)
    precisions = (scheme.higher_precision, WIDE, "fp16")
    higher = {name: node for name, node in scales.nodes.items() if node.precision in precisions}
    keep = [name for name, node in higher.items() if node.why != f"kept: {HEAD_RESULT}"]
    placement = place(model, scheme, keep).without_wide()
    everything = place(model, scheme).without_wide()
    in_8_bit = [name for name, node in scales.nodes.items() if node.precision == scheme.weights.dtype]
    written = onnx.load(calibration.qdq_model).graph
    stored = {one.name: numpy_helper.to_array(one) for one in written.initializer}
    return QuantizedModel(
        model,
        placement,
        scheme,
        parameters_of(scales.tensors),
        integers={weight.tensor: stored[f"{weight.tensor}_quantized"] for weight in placement.weights},
        biases=_biases(placement, stored),
        grids=widened(grids_of(model, everything, scheme, scales.provenance.bits), model, everything, in_8_bit),
    )


def _biases(placement: Placement, stored: dict[str, Array]) -> dict[str, NDArray[np.float32]]:
    """Return the biases that replaced the model's own: they alone are named for their node."""
    found = {}
    for node in (weight.node for weight in placement.weights):
        name = f"{node}/bias"
        if name in stored:
            found[node] = np.asarray(stored[name], np.float32)
        elif f"{name}_quantized" in stored:
            exact = stored[f"{name}_quantized"].astype(np.float64) * stored[f"{name}_scale"]
            found[node] = exact.astype(np.float32)
    return found
