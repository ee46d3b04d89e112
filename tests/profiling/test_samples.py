from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from edgekit.errors import ArtifactError
from edgekit.profiling.pace import Timed
from edgekit.profiling.samples import Samples, decode, encode, gather, read_samples


@given(arrays(np.int64, array_shapes(min_dims=2, max_dims=2), elements=st.integers(-(2**63), 2**63 - 1)))
def test_what_is_written_is_read_again(values: NDArray[np.int64]) -> None:
    np.testing.assert_array_equal(decode(json.loads(json.dumps(encode(values)))), values)


@pytest.mark.parametrize(
    "change",
    [
        {"data": "%%%"},
        {"data": "AAAA"},
        {"data": encode(np.zeros((1, 3), np.int64))["data"]},
        {"data": encode(np.zeros((1, 5), np.int64))["data"]},
        {"shape": [2, "x"]},
        {"shape": None},
    ],
)
def test_damaged_samples_are_an_artifact_error(change: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        decode(encode(np.zeros((2, 2), np.int64)) | change)


def runs(*numbers: int, late: int = 0) -> list[Timed]:
    return [Timed(number, 100 + number, late, (1, 10)) for number in numbers]


def test_under_a_camera_the_way_of_a_frame_counts_from_when_it_is_due() -> None:
    parts = ("engine", "end_to_end")
    paced = gather([[runs(0, 1, late=7)]], parts, 100, paced=True)
    assert {part: values.tolist() for part, values in paced.parts.items()} == {
        "wait": [[7, 7]],
        "engine": [[1, 1]],
        "end_to_end": [[17, 17]],
    }
    assert paced.started.tolist() == [[0, 1]]
    assert set(gather([[runs(0, 1)]], parts, 100, paced=False).parts) == set(parts)


def test_streams_stand_one_after_the_other_and_drops_are_counted_for_each() -> None:
    samples = gather([[runs(0, 1), runs(1, 5)], [runs(0, 2), runs(0, 1)]], ("a", "b"), 0, paced=True)
    assert samples.frames.tolist() == [[0, 1, 1, 5], [0, 2, 0, 1]]
    assert samples.dropped.tolist() == [[0, 4], [1, 0]]


def test_samples_are_found_in_a_profile() -> None:
    order = np.arange(2)[None, :]
    alone, whole = Samples({"engine": order + 5}, order, order), Samples({"engine": order, "wait": order}, order, order)
    work = {"frame": whole.to_json(), "engine": alone.to_json()}
    profile = {"rows": [{"model": "fp", "samples": {"work": work}}]}
    assert read_samples(profile, "fp", "wait").tolist() == [[0, 1]]
    assert read_samples(profile, "fp", "engine").tolist() == [[5, 6]]
    with pytest.raises(ArtifactError, match="no samples of 'engine' of the model 'int8'"):
        read_samples(profile, "int8", "engine")
