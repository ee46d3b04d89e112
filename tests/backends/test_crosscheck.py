from __future__ import annotations

import numpy as np
import pytest

from edgekit.backends.crosscheck import Difference, differences, require_same_results
from edgekit.errors import ModelError
from edgekit.tasks.base import Agreement

LANES = Agreement(frames=1, matched=3, reference_lanes=3, candidate_lanes=3, overlap={"lane": (90, 100)})


def measured(engine_noise: float, quantization_noise: float = 0.1) -> list[Difference]:
    rng = np.random.default_rng(0)
    signal, one, two = rng.normal(size=(3, 2, 1, 4, 50, 50))
    reference = [{"out": values} for values in signal]
    expected = [{"out": values} for values in signal + quantization_noise * one]
    actual = [{"out": values} for values in signal + quantization_noise * one + engine_noise * two]
    return differences(reference, expected, actual)


def test_powers_are_those_of_the_noises() -> None:
    (found,) = measured(engine_noise=0.05)
    assert found.output == "out"
    assert found.signal == pytest.approx(1.0, rel=0.05)
    assert found.quantization == pytest.approx(0.01, rel=0.05)
    assert found.engine == pytest.approx(0.0025, rel=0.05)


@pytest.mark.parametrize("engine, passes", [(3.9, True), (4.1, False)])
def test_bound_is_four_times_the_noise_of_quantization(engine: float, passes: bool) -> None:
    assert Difference("out", signal=1.0, quantization=1.0, engine=engine).within("f32") is passes


def test_lower_precision_may_differ_more() -> None:
    difference = Difference("out", signal=1.0, quantization=0.0, engine=5e-4)
    assert not difference.within("f32")
    assert difference.within("bf16")


def test_equal_results_pass_even_without_noise_or_signal() -> None:
    assert Difference("out", 0.0, 0.0, 0.0).within("f32")


@pytest.mark.parametrize("engine", [float("nan"), float("inf")])
def test_results_that_are_no_numbers_never_pass(engine: float) -> None:
    assert not Difference("out", 1.0, 0.1, engine).within("bf16")


def test_engine_that_rounds_in_its_own_way_passes() -> None:
    require_same_results("engine", "f32", measured(engine_noise=0.15), LANES, LANES)


def test_engine_that_miscomputes_is_refused_with_the_numbers() -> None:
    with pytest.raises(ModelError, match=r"out differs by 97.9 times the noise") as refusal:
        require_same_results("engine 1.0", "f32", measured(engine_noise=1.0), LANES, LANES)
    assert "engine 1.0" in refusal.value.problem
    assert "f1 1.000 (ONNX Runtime), 1.000 (engine 1.0)" in refusal.value.found


@pytest.mark.parametrize(
    "actual, passes",
    [
        (Agreement(frames=1, matched=2, reference_lanes=3, candidate_lanes=2, overlap={"lane": (90, 100)}), True),
        (Agreement(frames=1, matched=1, reference_lanes=3, candidate_lanes=1, overlap={"lane": (90, 100)}), False),
        (Agreement(frames=1, reference_lanes=3, overlap={"lane": (90, 100)}), False),
        (Agreement(frames=1, matched=3, reference_lanes=3, candidate_lanes=3, overlap={"lane": (71, 100)}), True),
        (Agreement(frames=1, matched=3, reference_lanes=3, candidate_lanes=3, overlap={"lane": (69, 100)}), False),
    ],
)
def test_scenes_that_are_much_worse_are_refused(actual: Agreement, passes: bool) -> None:
    if passes:
        require_same_results("engine", "f32", measured(engine_noise=0.0), LANES, actual)
        return
    with pytest.raises(ModelError, match="instead of"):
        require_same_results("engine", "f32", measured(engine_noise=0.0), LANES, actual)


def test_frames_without_lanes_are_no_reason_to_refuse() -> None:
    require_same_results("engine", "f32", measured(engine_noise=0.0), Agreement(frames=1), Agreement(frames=1))
