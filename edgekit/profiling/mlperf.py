"""A row's figures under the names that MLPerf's LoadGen gives them in its summary.

They are measured by MLPerf's rules where the result is valid, and are no MLPerf result: that takes its load generator,
its models and its review.
"""

from __future__ import annotations

from typing import Any

from edgekit.profiling.latency import PERCENTILES
from edgekit.profiling.pace import Pace
from edgekit.profiling.result import Row

MIN_SECONDS, MIN_QUERIES = 600, 6_636
"""MLPerf Automotive, SingleStream and ConstantStream."""


def summary(row: Row, pace: Pace) -> dict[str, Any]:
    """Return the summary of whole frames."""
    latency, seconds = row.latency["end_to_end"], row.seconds["frame"]
    met = {"result_min_duration_met": seconds >= MIN_SECONDS, "result_min_queries_met": latency.samples >= MIN_QUERIES}
    scenario = _scenario(pace)
    return {
        "effective_scenario": scenario,
        "effective_min_duration_ms": 1000 * MIN_SECONDS,
        "effective_min_query_count": MIN_QUERIES,
        "result_validity": "VALID" if scenario and all(met.values()) else "INVALID",
        **met,
        "result_query_count": latency.samples,
        "result_duration_ms": round(1000 * seconds),
        "result_min_latency_ns": int(row.samples["frame"].parts["end_to_end"].min()),
        "result_max_latency_ns": int(row.samples["frame"].parts["end_to_end"].max()),
        "result_mean_latency_ns": round(1e6 * latency.mean),
        **{
            f"result_{mille / 10:.2f}_percentile_latency_ns": None if value is None else round(1e6 * value)
            for mille, value in ((PERCENTILES[name], latency.percentiles[name]) for name in PERCENTILES)
        },
    }


def _scenario(pace: Pace) -> str | None:
    """Return MLPerf's name of a pace; none where it has none."""
    if pace == Pace():
        return "SingleStream"
    return "ConstantStream" if pace == Pace(fps=pace.fps) else None
