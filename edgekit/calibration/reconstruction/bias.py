"""Bias correction: take back the mean error that quantization leaves in each channel of a node's result.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019; here the mean
errors are measured on frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekit.calibration.judging.evaluate import Run
from edgekit.calibration.judging.judge import Verdict
from edgekit.calibration.reconstruction.simulation import QuantizedModel, bias_of
from edgekit.errors import DataError, ModelError
from edgekit.graph.clean import opset_of
from edgekit.graph.placement import QuantizedWeight
from edgekit.graph.qdq import bias_channels
from edgekit.graph.reference import ReferenceRun
from edgekit.graph.view import GraphView

Inputs = Callable[[], Iterable[NDArray[np.float32]]]
"""Returns the calibration inputs, again and again in the same order."""


@dataclass(frozen=True)
class Correction:
    """What bias correction found.

    Attributes:
        result: The quantized model with corrected biases; the one given where no correction helped.
        verdict: What was found of it.
        rounds: Rounds that were kept.
    """

    result: QuantizedModel
    verdict: Verdict
    rounds: int


def correct_biases(
    start: QuantizedModel, inputs: Inputs, judge: Callable[[Run], Verdict], before: Verdict, rounds: int = 2
) -> Correction:
    """Correct biases, round by round as long as that helps; never to measurably more distortion than before.

    In one pass, per channel, the mean difference is measured between each quantized node's result and what the node
    would make in floating point of the same input. Only the node's own error is in it: what the nodes before it pass on
    is taken back by their correction. So all nodes are corrected at once, and that is what correcting one after another
    in graph order does. A further round finds what the first one changed in the inputs.

    Everything runs under ONNX Runtime, on Q/DQ. Memory does not grow with the number of inputs.

    Args:
        start: The quantized model.
        inputs: The calibration inputs.
        judge: Judges a network, given as a function from input to outputs by name.
        before: What it found of `start`.
        rounds: At most so many.

    Raises:
        DataError: There is no input.
        ModelError: A node's result is NaN or infinite on one of them.
    """
    view = GraphView(start.model)
    weights = [weight for weight in start.placement.weights if bias_channels(view, weight) is not None]
    found = Correction(start, before, 0)
    for number in range(1, rounds + 1 if weights else 0):
        errors = _mean_errors(found.result, view, weights, inputs())
        biases = {
            weight.node: np.asarray(bias_of(found.result, view, weight) + errors[weight.node], np.float32)
            for weight in weights
        }
        corrected = start.with_biases(biases)
        verdict = judge(ReferenceRun(corrected.qdq()))
        if not verdict.improves_on(found.verdict):
            break
        found = Correction(corrected, verdict, number)
    return found


def _mean_errors(
    quantized: QuantizedModel, view: GraphView, weights: list[QuantizedWeight], inputs: Iterable[NDArray[np.float32]]
) -> dict[str, NDArray[np.float64]]:
    """Return, by node, what is missing from each channel of its result, the mean over all inputs."""
    model = quantized.qdq()
    opset = opset_of(model)
    del model.graph.output[:]
    for weight in weights:
        _add_exact_twin(model, view, weight, opset)
    run = ReferenceRun(model)
    sums = {weight.node: np.zeros(bias_channels(view, weight) or 0) for weight in weights}
    count = 0
    for values in inputs:
        errors = run(values)
        count += 1
        for node in sums:
            sums[node] += errors[f"{node}/mean_error"]
            if not np.isfinite(sums[node]).all():
                raise ModelError(
                    problem=f"The result of the node '{node}' is not finite.",
                    found=f"on calibration frame {count}",
                    fix="Leave out the frame if it shows no road; otherwise check the recipe's preprocessing.",
                )
    if not count:
        raise DataError(problem="There is no frame to correct biases on.", fix="Give at least one readable frame.")
    return {node: total / count for node, total in sums.items()}


def _add_exact_twin(model: onnx.ModelProto, view: GraphView, weight: QuantizedWeight, opset: int) -> None:
    """Beside a quantized node, let its floating-point twin read the same tensor, and give their mean difference."""
    node, graph = view.nodes[weight.node], model.graph
    twin = onnx.NodeProto()
    twin.CopyFrom(node)
    twin.name = f"{node.name}/twin"
    twin.output[0] = f"{twin.name}/result"
    for slot, name in enumerate(node.input):
        if slot and name:
            twin.input[slot] = f"{twin.name}/{slot}"
            graph.initializer.append(numpy_helper.from_array(view.constant(name), twin.input[slot]))
    rank = view.constant(weight.tensor).ndim
    axes = [axis for axis in range(rank) if axis != 1]
    difference, mean = f"{twin.name}/difference", f"{node.name}/mean_error"
    subtract = helper.make_node("Sub", [twin.output[0], node.output[0]], [difference], name=difference)
    if opset >= 18:
        graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), f"{twin.name}/axes"))
        reduce = helper.make_node("ReduceMean", [difference, f"{twin.name}/axes"], [mean], name=mean, keepdims=0)
    else:
        reduce = helper.make_node("ReduceMean", [difference], [mean], name=mean, keepdims=0, axes=axes)
    graph.node.extend([twin, subtract, reduce])
    graph.output.append(helper.make_tensor_value_info(mean, TensorProto.FLOAT, [bias_channels(view, weight)]))
