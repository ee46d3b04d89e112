from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.calibration.judging.judge import Verdict
from edgekit.calibration.reconstruction.bias import Correction, correct_biases
from edgekit.calibration.reconstruction.simulation import QuantizedModel
from edgekit.graph.reference import ReferenceRun
from tests.calibration.quantized import inputs, quantized_net
from tests.graph.models import NetBuilder, residual_net

Network = Callable[[Any], Mapping[str, Any]]


def noise_against(start: QuantizedModel) -> Callable[[Network], Verdict]:
    reference = ReferenceRun(start.model)
    expected = [reference(values) for values in inputs()]

    def judge(run: Network) -> Verdict:
        pairs = zip(inputs(), expected, strict=True)
        noise = float(np.mean([np.square(run(one)[name] - two[name]).mean() for one, two in pairs for name in two]))
        return Verdict(noise, noise)

    return judge


def corrected(start: QuantizedModel) -> tuple[Verdict, Correction]:
    judge = noise_against(start)
    before = judge(ReferenceRun(start.qdq()))
    return before, correct_biases(start, inputs, judge, before)


def coarse(start: QuantizedModel) -> QuantizedModel:
    """Move every quantized weight up by half a step: an error with a mean, which biases can take back."""
    model = onnx.ModelProto()
    model.CopyFrom(start.model)
    stored = {one.name: one for one in model.graph.initializer}
    integers = {}
    for weight in start.placement.weights:
        how = start.parameters[weight.tensor]
        steps = numpy_helper.to_array(stored[weight.tensor]) / how.scale[:, None, None, None]
        integers[weight.tensor] = np.clip(np.ceil(steps + 1), -127, 127).astype(np.int8)
    return QuantizedModel(start.model, start.placement, start.scheme, start.parameters, integers)


def test_it_takes_back_a_mean_error() -> None:
    start = coarse(quantized_net(residual_net()))
    before, found = corrected(start)
    assert found.verdict.score < 0.5 * before.score
    assert found.rounds >= 1
    assert noise_against(start)(ReferenceRun(found.result.qdq())) == found.verdict


def test_a_correction_that_does_not_help_is_not_kept() -> None:
    start = coarse(quantized_net(residual_net()))
    before = Verdict(1.0, 1.0)
    for worse in (Verdict(1.1, 0.5, 0.1), Verdict(0.5, 1.1)):
        found = correct_biases(start, inputs, lambda run, worse=worse: worse, before)
        assert found.result is start
        assert (found.verdict, found.rounds) == (before, 0)


def test_a_node_without_a_bias_gets_one() -> None:
    net = NetBuilder()
    model = net.model(net.conv(net.node("Relu", [net.conv("image", (3, 8), "a", bias=False)], "r"), (8, 2), "b"))
    start = coarse(quantized_net(model))
    before, found = corrected(start)
    assert found.verdict.score < before.score
    node = next(one for one in found.result.qdq().graph.node if one.name == "a_node")
    assert len(node.input) == 3


def test_the_same_inputs_give_the_same_bytes() -> None:
    start = coarse(quantized_net(residual_net()))
    one, two = (corrected(start)[1].result.qdq() for _ in range(2))
    assert one.SerializeToString() == two.SerializeToString()


def test_nothing_to_correct_is_no_error() -> None:
    net = NetBuilder()
    model = net.model(net.node("Relu", ["image"], "r"))
    start = quantized_net(model)
    assert corrected(start)[1].result is start
