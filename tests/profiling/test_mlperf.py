from __future__ import annotations

import numpy as np
import pytest

from edgekit.profiling.latency import summarize
from edgekit.profiling.mlperf import MIN_QUERIES, MIN_SECONDS, summary
from edgekit.profiling.pace import Pace
from edgekit.profiling.result import Row
from edgekit.profiling.rigor import RIGORS
from edgekit.profiling.samples import Samples


def row(samples: int, seconds: float) -> Row:
    durations = np.arange(1, samples + 1).reshape(1, -1) * 1000
    kept = {"frame": Samples({"end_to_end": durations}, durations, durations)}
    return Row("int8", {"end_to_end": summarize(durations)}, kept, {"frame": seconds}, None, None, 0)


def test_the_figures_are_those_of_whole_frames_in_ns() -> None:
    found = summary(row(10_000, 700.0), Pace(fps=30))
    assert found["effective_scenario"] == "ConstantStream"
    assert found["result_validity"] == "VALID"
    assert (found["result_query_count"], found["result_duration_ms"]) == (10_000, 700_000)
    assert (found["result_min_latency_ns"], found["result_max_latency_ns"]) == (1000, 10_000_000)
    assert found["result_50.00_percentile_latency_ns"] == 5_000_000
    assert found["result_99.90_percentile_latency_ns"] == 9_990_000


@pytest.mark.parametrize(
    ("samples", "seconds", "pace"),
    [(6_635, 700.0, Pace()), (10_000, 599.0, Pace()), (10_000, 700.0, Pace(idle_ms=5))],
    ids=["too few", "too short", "no scenario of theirs"],
)
def test_a_result_by_other_rules_is_not_valid(samples: int, seconds: float, pace: Pace) -> None:
    assert summary(row(samples, seconds), pace)["result_validity"] == "INVALID"


def test_a_percentile_that_the_samples_do_not_bear_is_null() -> None:
    assert summary(row(1_000, 700.0), Pace())["result_99.90_percentile_latency_ns"] is None


def test_automotive_measures_each_model_for_as_long_as_is_valid() -> None:
    automotive = RIGORS["automotive"]
    assert (automotive.each_seconds, automotive.samples) == (MIN_SECONDS, MIN_QUERIES)
