from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgekit.calibration.equalization.channel_noise import NoiseModel
from edgekit.calibration.equalization.channel_statistics import channel_statistics
from edgekit.graph.channels import FIXED, ChannelGroups
from edgekit.graph.equalize import channel_groups
from edgekit.graph.placement import place
from edgekit.targets import Scheme
from tests.graph.models import NetBuilder, joining_net, residual_net
from tests.graph.quantized import RULES, image


def noise_model(model: onnx.ModelProto, rules: Scheme) -> tuple[NoiseModel, ChannelGroups]:
    placement, groups = place(model, rules), channel_groups(model)
    statistics = channel_statistics(model, [one.tensor for one in placement.activations], [image(), image(seed=6)])
    return NoiseModel(model, placement, rules, {}, groups, statistics), groups


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("build", [residual_net, joining_net])
def test_the_gradient_is_that_of_finite_differences(build: object, rules: str) -> None:
    model, groups = noise_model(build(), RULES[rules])  # type: ignore[operator]
    at = np.random.default_rng(0).normal(0, 0.5, groups.count)
    at[FIXED] = 0
    sharpness, small = 9.0, 1e-5

    def noise(point: np.ndarray) -> np.ndarray:
        rows = model._terms(point, sharpness)[0]
        return np.bincount(model._part, weights=rows, minlength=model.parts.max() + 1)

    found = model.gradient(at, sharpness) * noise(at)[model.parts]
    for label in range(1, groups.count, 5):
        step = small * np.eye(groups.count)[label]
        wanted = (noise(at + step) - noise(at - step)).sum() / (2 * small)
        assert found[label] == pytest.approx(wanted, rel=1e-4, abs=1e-9 * noise(at).sum())


def test_the_prediction_is_that_of_uniform_rounding() -> None:
    """One layer, one channel: noise by signal can be written down."""
    net = NetBuilder(channels=1)
    net.constant("w", np.float32([[[[0.5]]]]))
    model = net.model(net.node("Conv", ["image", "w"], "out"))
    rules = RULES["inputs"]
    values = np.linspace(-1, 3, 256, dtype=np.float32).reshape(1, 1, 16, 16)
    statistics = channel_statistics(model, ["image"], [values])
    found = NoiseModel(model, place(model, rules), rules, {}, channel_groups(model), statistics)
    square = float(np.mean(values.astype(np.float64) ** 2))
    by_activation = (4 / 255) ** 2 / 12 * 0.25
    by_weight = (0.5 / 127) ** 2 / 12 * square
    assert found.of_parts(np.zeros(1)).sum() == pytest.approx((by_activation + by_weight) / (0.25 * square), rel=1e-5)
    assert found.layers == 0
