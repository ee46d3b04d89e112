from __future__ import annotations

import numpy as np
import pytest

from edgekit.calibration.equalization.balance import LARGEST_FACTOR, least_noise
from edgekit.graph.channels import FIXED
from tests.calibration.equalization.test_channel_noise import noise_model
from tests.graph.models import joining_net, residual_net
from tests.graph.quantized import RULES


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("build", [residual_net, joining_net])
def test_factors_are_never_predicted_to_add_noise(build: object, rules: str) -> None:
    model, groups = noise_model(build(), RULES[rules])  # type: ignore[operator]
    values = least_noise(model)
    before, after = model.of_parts(np.zeros(groups.count)), model.of_parts(np.log(values))
    assert np.all(after <= before)
    assert after.sum() < 0.95 * before.sum()
    assert values[FIXED] == 1.0
    assert np.all((values >= 1 / LARGEST_FACTOR) & (values <= LARGEST_FACTOR))
    assert np.array_equal(values, least_noise(model))
