"""Every duration that was measured, and how a profile's JSON holds it: all of them, so that others can resample.

An array is written as its shape and the base64 of the zlib-compressed int64 values, little-endian, in C order.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ArtifactError
from edgekit.profiling.pace import Timed

ENCODING = "base64 of zlib of int64, little-endian, C order"

Array = NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """What one workload took, run by run; every array is (rounds, calls), in ns where it is a time.

    The calls of a round are in the order in which they ran; with several streams, one stream's after the other's.

    Attributes:
        parts: Part of the work to its durations.
        started: When each run started, since the measurement began.
        frames: Which frame of its round each run took, from 0; numbers that are missing were dropped.
        streams: Streams whose calls make a round.
    """

    parts: Mapping[str, Array]
    started: Array
    frames: Array
    streams: int = 1

    @property
    def dropped(self) -> Array:
        """Frames that were dropped: (rounds, streams)."""
        rounds, calls = self.frames.shape
        last = self.frames.reshape(rounds, self.streams, -1)[:, :, -1]
        dropped: Array = last - (calls // self.streams - 1)
        return dropped

    def to_json(self) -> dict[str, Any]:
        """Return all arrays as JSON has them."""
        return {
            "streams": self.streams,
            "parts": {part: encode(values) for part, values in self.parts.items()},
            "started": encode(self.started),
            "frames": encode(self.frames),
        }


def gather(rounds: Sequence[Sequence[Sequence[Timed]]], parts: Sequence[str], origin: int, *, paced: bool) -> Samples:
    """Arrange what was timed.

    Under a camera there is one more part, `wait`, from when a frame is due to when its run starts, and `end_to_end`
    counts from when it is due.

    Args:
        rounds: Rounds of streams of runs; every stream of every round has as many runs.
        parts: The parts of a run.
        origin: When the measurement began, on the clock.
        paced: Whether frames were due.
    """
    streams = len(rounds[0])
    runs = [[run for stream in one for run in stream] for one in rounds]
    durations = np.asarray([[run.parts for run in one] for one in runs], np.int64)
    late = np.asarray([[run.late for run in one] for one in runs], np.int64)
    named = {part: durations[:, :, index] for index, part in enumerate(parts)}
    if paced:
        named = {"wait": late} | named
        if "end_to_end" in named:
            named["end_to_end"] = named["end_to_end"] + late
    started = np.asarray([[run.started for run in one] for one in runs], np.int64) - origin
    return Samples(named, started, np.asarray([[run.frame for run in one] for one in runs], np.int64), streams)


def encode(values: Array) -> dict[str, Any]:
    """Return an array as JSON has it."""
    data = zlib.compress(np.ascontiguousarray(values, "<i8").tobytes(), 6)
    return {"shape": list(values.shape), "data": base64.b64encode(data).decode("ascii")}


def decode(written: Mapping[str, Any]) -> Array:
    """Return the array that `encode` wrote.

    Raises:
        ArtifactError: This is no such array.
    """
    try:
        shape = tuple(int(size) for size in written["shape"])
        expected = 8 * math.prod(shape)
        unpacker = zlib.decompressobj()
        # One byte more than there should be: nothing unfolds to more than its shape says.
        data = unpacker.decompress(base64.b64decode(written["data"], validate=True), expected + 1)
        return np.frombuffer(data, "<i8").reshape(shape).astype(np.int64)
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise ArtifactError(
            problem="The samples of a profile cannot be read.",
            found=str(error),
            fix="Profile again: the file was changed or cut off.",
        ) from error


def read_samples(profile: Mapping[str, Any], model: str, part: str) -> Array:
    """Return all durations of a part of the work from a profile's JSON: (rounds, calls), in ns.

    Args:
        profile: What `Profile.to_json` returned.
        model: `fp` or `int8`.
        part: engine, preprocess, postprocess, end_to_end, or wait.

    Raises:
        ArtifactError: They are not there, or cannot be read.
    """
    for row in profile["rows"]:
        works = row["samples"]["work"] if row["model"] == model else {}
        # The engine's own figures are those of the engine alone, where it ran alone.
        for name in ("engine", "frame"):
            if name in works and part in works[name]["parts"]:
                return decode(works[name]["parts"][part])
    raise ArtifactError(
        problem=f"The profile holds no samples of '{part}' of the model '{model}'.",
        found=f"Models: {', '.join(row['model'] for row in profile['rows'])}.",
        fix="Profile again with this version.",
    )
