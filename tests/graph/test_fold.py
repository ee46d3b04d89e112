from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.graph.fold import without_qdq
from tests.graph.models import joining_net, residual_net
from tests.graph.quantized import RULES, image, quantized


@pytest.mark.parametrize("net", [residual_net, joining_net])
@pytest.mark.parametrize("rules", RULES)
def test_no_pair_is_left_and_only_the_rounding_is_gone(net: Callable[[], onnx.ModelProto], rules: str) -> None:
    model = quantized(net(), RULES[rules], image())
    plain = without_qdq(model)
    onnx.checker.check_model(plain, full_check=True)
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in plain.graph.node}
    found = [
        onnxruntime.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"image": image()}
        )
        for each in (model, plain)
    ]
    for one, two in zip(*found, strict=True):
        assert np.abs(one - two).max() <= 0.1 * np.ptp(one)
