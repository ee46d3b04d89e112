from __future__ import annotations

import numpy as np
import pytest

from edgekit.calibration.equalization.channel_statistics import channel_statistics
from tests.graph.models import NetBuilder
from tests.graph.quantized import image


def test_statistics_are_those_of_channels() -> None:
    net = NetBuilder()
    model = net.model(net.node("Relu", [net.conv("image", (3, 4), "conv")], "relu"))
    seen = channel_statistics(model, ["image", "relu"], [image(), image(seed=6)])
    two = np.concatenate([image(), image(seed=6)])
    assert seen["image"].square == pytest.approx(np.mean(two.astype(np.float64) ** 2, axis=(0, 2, 3)), rel=1e-5)
    assert seen["image"].high == pytest.approx(two.max(axis=(2, 3)).mean(axis=0))
    assert seen["image"].low == pytest.approx(two.min(axis=(2, 3)).mean(axis=0))
    assert np.all(seen["image"].active == 1.0)
    assert np.all((seen["relu"].active > 0) & (seen["relu"].active < 1))
