from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.profiling.deadline import Misses, misses
from edgekit.profiling.samples import Samples

MS = 1_000_000


def found(ms: NDArray[np.float64], frames: NDArray[np.int64] | None = None, streams: int = 1) -> Misses:
    numbers = np.zeros(ms.shape, np.int64) + np.tile(np.arange(ms.shape[1] // streams), streams)
    order = numbers if frames is None else frames
    return misses(Samples({"end_to_end": (ms * MS).astype(np.int64)}, order, order, streams), 33.0)


def test_frames_that_take_longer_are_counted() -> None:
    ms = np.full((20, 10), 20.0)
    ms[3, 2:6] = 40.0
    ms[7, 9] = ms[8, 0] = 34.0
    result = found(ms)
    assert (result.frames, result.missed, result.dropped, result.longest) == (200, 6, 0, 4)
    assert result.rate == 0.03
    assert result.interval is not None
    assert 0 <= result.interval.low < 0.03 < result.interval.high


def test_a_frame_in_time_to_the_nanosecond_is_no_miss() -> None:
    assert found(np.full((10, 2), 33.0)).missed == 0


def test_dropped_frames_are_missed_and_lengthen_a_run() -> None:
    ms = np.full((10, 4), 20.0)
    ms[0, 1] = 50.0
    frames = np.tile(np.arange(4), (10, 1))
    frames[0] = [0, 1, 4, 5]
    frames[5] = [2, 3, 4, 5]
    result = found(ms, frames)
    assert (result.frames, result.missed, result.dropped, result.longest) == (44, 5, 4, 3)


def test_a_run_does_not_go_on_in_another_stream_or_round() -> None:
    ms = np.full((10, 6), 20.0)
    ms[:, 2] = ms[:, 3] = 50.0
    assert found(ms).longest == 2
    assert found(ms, streams=2).longest == 1


@pytest.mark.parametrize(("frames", "most"), [(10, 0.26), (300, 0.01), (3000, 0.001)])
def test_without_a_miss_the_interval_is_exact(frames: int, most: float) -> None:
    interval = found(np.full((frames // 10, 10), 20.0)).interval
    assert interval is not None
    assert interval.low == 0
    # What a share of this size shows nothing of in one case of twenty.
    assert (1 - interval.high) ** frames == pytest.approx(0.05)
    assert interval.high == pytest.approx(most, rel=0.05)


def test_all_missed_is_the_mirror_of_none() -> None:
    none, every = found(np.full((5, 4), 20.0)), found(np.full((5, 4), 50.0))
    assert none.interval is not None
    assert every.interval is not None
    assert every.interval.low == pytest.approx(1 - none.interval.high)
    assert every.longest == 4


def test_misses_in_clusters_have_a_wider_interval_than_misses_apart() -> None:
    apart, clustered = np.full((40, 10), 20.0), np.full((40, 10), 20.0)
    apart[:, 3] = 50.0
    clustered[10:14] = 50.0
    widths = [
        result.interval.high - result.interval.low for result in map(found, (apart, clustered)) if result.interval
    ]
    assert widths[0] < 0.2 * widths[1]


def test_few_rounds_have_no_interval() -> None:
    ms = np.full((5, 4), 20.0)
    ms[0, 0] = 50.0
    assert found(ms).interval is None
