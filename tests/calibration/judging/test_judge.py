from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgekit.calibration.distortion import distortion_for
from edgekit.calibration.judging.judge import Judge, Verdict
from edgekit.calibration.judging.probe import Probe
from edgekit.frames import Frames
from edgekit.runtime.preprocessing import Preprocessor
from tests.calibration.quantized import generic_recipe


def network(noise: dict[str, float]) -> object:
    def run(values: np.ndarray) -> dict[str, np.ndarray]:
        random = np.random.default_rng(int(values.sum()))
        heads = {"a": values.mean(axis=1), "b": values.max(axis=1)}
        return {name: head + noise.get(name, 0.0) * random.normal(size=head.shape) for name, head in heads.items()}

    return run


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    for index, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), pixels)
    recipe = generic_recipe()
    preprocessor = Preprocessor(recipe.preprocessing, (1, 3, 16, 16))
    return Probe(network({}), Frames.open(tmp_path), preprocessor, recipe, distortion_for(recipe))  # type: ignore[arg-type]


def test_the_start_is_the_measure(probe: Probe) -> None:
    start = network({"a": 0.1, "b": 0.1})
    judge = Judge(probe, start)  # type: ignore[arg-type]
    assert judge(start).score == pytest.approx(judge.start.score)  # type: ignore[arg-type]
    assert judge.start.distortion > 0


def test_half_the_noise_is_half_the_score(probe: Probe) -> None:
    judge = Judge(probe, network({"a": 0.1, "b": 0.1}))  # type: ignore[arg-type]
    half = judge(network({"a": 0.05, "b": 0.05}))  # type: ignore[arg-type]
    assert half.score == pytest.approx(0.5 * judge.start.score, rel=0.02)
    assert half.improves_on(judge.start)


def test_a_head_without_noise_is_not_sensitive(probe: Probe) -> None:
    start = network({"b": 0.1})
    found = Judge(probe, start).sensitivities(start)  # type: ignore[arg-type]
    assert found["a"] == 0.0
    assert found["b"] > 0.0


@pytest.mark.parametrize(
    ("found", "better"),
    [
        (Verdict(0.9, 0.9), True),
        (Verdict(1.1, 0.9), True),
        (Verdict(1.1, 0.5, 0.01), False),
        (Verdict(0.5, 1.1), False),
    ],
)
def test_less_score_is_better_but_never_with_measurably_more_distortion(found: Verdict, better: bool) -> None:
    assert found.improves_on(Verdict(1.0, 1.0)) is better


def test_distortion_exceeds_the_start_only_where_that_is_no_chance(probe: Probe) -> None:
    judge = Judge(probe, network({"a": 0.1, "b": 0.1}))  # type: ignore[arg-type]
    assert judge.start.excess == 0.0
    assert judge(network({"a": 0.2, "b": 0.2})).excess > 0.0  # type: ignore[arg-type]
    assert judge(network({"a": 0.1001, "b": 0.1})).excess < 1e-3  # type: ignore[arg-type]
    assert judge(network({"a": 0.05, "b": 0.05})).excess < 0.0  # type: ignore[arg-type]
