from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.profiling.compare import Comparison, compare_profiles
from edgekit.profiling.samples import encode
from tests.report.test_table import profiled

Durations = NDArray[np.int64]


def run(seed: int, *, factor: float = 1.0, rounds: int = 60, tail: float = 1.0) -> dict[str, Any]:
    """A profile whose int8 engine takes 5 ms times `factor`, and `tail` times that in one call of fifty."""
    random = np.random.default_rng(seed)
    drift = 1 + 0.01 * np.cumsum(random.normal(size=(rounds, 1)) / np.sqrt(rounds), axis=0)
    durations = 5e6 * factor * drift * random.lognormal(sigma=0.02, size=(rounds, 20))
    durations[random.random(durations.shape) < 0.02] *= tail
    profile = copy.deepcopy(profiled())
    profile["rows"] = [row for row in profile["rows"] if row["model"] == "int8"]
    row = profile["rows"][0]
    row["latency"] = {"engine": row["latency"]["engine"]}
    work = row["samples"]["work"]["frame"]
    row["samples"]["work"] = {"engine": work | {"parts": {"engine": encode(durations.astype(np.int64))}}}
    part = {"share": 0.5, "precision": "int8", "kinds": "Convolution"}
    profile["layers"] = [
        {"nodes": ["conv1", "relu1"], "int8": part | {"microseconds": 100.0 * factor}},
        {"nodes": ["conv2"], "int8": part | {"microseconds": 50.0}},
    ]
    return profile


def verdicts(comparison: Comparison, part: str = "engine") -> dict[str, str]:
    return {change.name: change.verdict for change in comparison.changes if change.part == part}


def compared(before: dict[str, Any], after: dict[str, Any], **more: Any) -> Comparison:
    return compare_profiles(before, after, ("a", "b"), **more)


def test_a_run_is_no_different_from_itself() -> None:
    found = compared(run(1), run(1))
    assert set(verdicts(found).values()) == {"no difference", "too few samples"}
    assert all(change.change == 0 for change in found.changes if change.change is not None)


def test_runs_of_the_same_thing_rarely_differ() -> None:
    wrong = [
        (seed, name)
        for seed in range(6)
        for name, verdict in verdicts(compared(run(2 * seed), run(2 * seed + 1))).items()
        if verdict in ("faster", "slower")
    ]
    assert len({seed for seed, _ in wrong}) <= 1, wrong


@pytest.mark.parametrize(("factor", "verdict"), [(1.08, "slower"), (1 / 1.08, "faster")])
def test_a_difference_of_eight_per_cent_is_found(factor: float, verdict: str) -> None:
    found = verdicts(compared(run(3), run(4, factor=factor)))
    assert found["p50"] == found["p90"] == verdict


def test_a_longer_tail_is_slower_in_the_tail_alone() -> None:
    found = verdicts(compared(run(5), run(6, tail=1.6)))
    assert found["p50"] == "no difference"
    assert found["p99"] == "slower"


def test_a_difference_within_the_noise_of_repeats_is_none() -> None:
    before, after = run(7), run(8, factor=1.05)
    assert verdicts(compared(before, after))["p50"] == "slower"
    assert verdicts(compared(before, after, repeats=[run(9, factor=0.92)]))["p50"] == "no difference"


def test_a_machine_that_itself_was_slower_explains_a_difference() -> None:
    before, after = run(10), run(11, factor=1.06)
    after["machine"]["noise_floor"]["after"]["median_ms"] *= 1.1
    assert verdicts(compared(before, after))["p50"] == "no difference"


def test_too_few_rounds_give_no_verdict() -> None:
    assert verdicts(compared(run(12, rounds=5), run(13, rounds=5, factor=2.0)))["p50"] == "too few samples"


def test_what_differs_is_named() -> None:
    before, after = run(14), run(14)
    after["config"]["threads"] = 4
    after["machine"]["cpu"] = "Another CPU"
    after["machine"]["versions"]["openvino"] = "2027.0"
    found = compared(before, after)
    assert found.different == ("CPU: Some CPU 9B45, then Another CPU", "threads: 1, then 4")
    assert "versions: openvino 2026.4.1, then 2027.0" in found.notes


def test_memory_within_its_floor_is_the_same() -> None:
    before, after = run(15), run(15)
    after["rows"][0]["memory"]["peak"] = round(1.01 * before["rows"][0]["memory"]["peak"])
    figure = next(each for each in compared(before, after).figures if each.name == "rss")
    assert figure.verdict == "same"
    after["rows"][0]["memory"]["peak"] *= 2
    assert next(each for each in compared(before, after).figures if each.name == "rss").verdict == "more"


def test_a_layer_that_takes_longer_is_named() -> None:
    found = compared(run(16), run(17, factor=1.3)).layers
    assert {layer.name: layer.verdict for layer in found} == {"conv1, relu1": "more", "conv2": "same"}
