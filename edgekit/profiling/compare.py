"""Whether one profile is faster than another, beyond what chance and the machine do to either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ArtifactError
from edgekit.profiling.bootstrap import LEAST_ROUNDS, Interval, blocks, picks, widening
from edgekit.profiling.latency import PERCENTILES, median, rank, samples_needed
from edgekit.profiling.samples import read_samples

SCHEMA_VERSION = 1
PARTS = ("end_to_end", "engine", "device", "preprocess", "postprocess", "wait")
LAYER_FLOOR = 0.1
"""A layer's time is one figure without samples, from a profiler that disturbs it: a smaller change says nothing."""
MEMORY_FLOOR = 0.02
"""Two fresh processes that load the same model differ by about this share of their memory."""

Verdict = Literal["faster", "slower", "no difference", "too few samples"]
Array = NDArray[np.int64]
Profile = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """How a percentile of one part of the work changed.

    Attributes:
        model: `fp` or `int8`.
        part: Part of the work.
        name: p50, p90, p99 or p99.9.
        before: ms in the first profile; none with too few samples.
        after: ms in the second.
        change: after / before - 1.
        interval: Its 95 % interval; none with too few rounds.
        floor: What differs between runs of the same thing: less than this is no difference.
        verdict: What that says.
    """

    model: str
    part: str
    name: str
    before: float | None
    after: float | None
    change: float | None
    interval: Interval | None
    floor: float
    verdict: Verdict


@dataclass(frozen=True)
class Figure:
    """A figure that is compared as it is: memory, accuracy.

    Attributes:
        model: `fp` or `int8`.
        name: What it is.
        unit: Its unit; empty where it has none.
        before: In the first profile; none where it is not there.
        after: In the second.
        floor: A smaller share of change is no difference.
    """

    model: str
    name: str
    unit: str
    before: float | None
    after: float | None
    floor: float = 0.0

    @property
    def change(self) -> float | None:
        """Return after / before - 1; none where either is missing or there was nothing before."""
        return self.after / self.before - 1 if self.before and self.after is not None else None

    @property
    def verdict(self) -> str:
        """`same`, `more` or `less`; `not known` where either is missing."""
        if self.before is None or self.after is None:
            return "not known"
        if abs(self.after - self.before) <= self.floor * abs(self.before):
            return "same"
        return "more" if self.after > self.before else "less"


@dataclass(frozen=True)
class Comparison:
    """What changed from one profile to another.

    Attributes:
        names: What the two are called.
        different: What else differs, so that speeds cannot be compared; empty where nothing does.
        notes: What differs and may explain a change.
        changes: Latency by model, part and percentile.
        figures: Memory and accuracy.
        layers: Time of the groups of nodes that both engines' profilers told of, in microseconds.
    """

    names: tuple[str, str]
    different: tuple[str, ...]
    notes: tuple[str, ...]
    changes: tuple[Change, ...]
    figures: tuple[Figure, ...]
    layers: tuple[Figure, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON has it; latencies in ms, memory in bytes."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "comparison",
            "profiles": list(self.names),
            "different": list(self.different),
            "notes": list(self.notes),
            "latency": [
                asdict(each) | {"interval": [each.interval.low, each.interval.high] if each.interval else None}
                for each in self.changes
            ],
            "figures": [_written(each) for each in self.figures],
            "layers": [_written(each) for each in self.layers],
        }


def compare_profiles(
    before: Profile, after: Profile, names: tuple[str, str], repeats: Sequence[Profile] = (), seed: int = 0
) -> Comparison:
    """Compare two profiles.

    A percentile is faster or slower where the 95 % interval of its relative change, by a block bootstrap of both runs,
    lies beyond the noise floor on one side. The floor is the largest of: how the loop of fixed work differed between
    the four times that it was measured; how the median of that part differed between the halves of either run; and
    how the percentile differs between the first profile and each of `repeats`.

    Args:
        before: What `Profile.to_json` returned.
        after: The same, of another run.
        names: What they are called.
        repeats: Further runs of what `before` is of.
        seed: Of the bootstrap.

    Raises:
        ArtifactError: A profile holds no samples, or they cannot be read.
    """
    models = [row["model"] for row in before["rows"] if any(row["model"] == each["model"] for each in after["rows"])]
    changes = [
        change
        for model in models
        for part in PARTS
        if all(part in _row(each, model)["latency"] for each in (before, after))
        for change in _changes(before, after, repeats, model, part, seed)
    ]
    figures = [figure for model in models for figure in _figures(_row(before, model), _row(after, model))]
    return Comparison(
        names=names,
        different=tuple(_disagreeing(before, after, _MUST_AGREE)),
        notes=tuple(_notes(before, after, names)),
        changes=tuple(changes),
        figures=tuple(figures),
        layers=tuple(figure for model in models for figure in _layers(before, after, model)),
    )


def _written(figure: Figure) -> dict[str, Any]:
    return asdict(figure) | {"change": figure.change, "verdict": figure.verdict}


def _row(profile: Profile, model: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(row for row in profile["rows"] if row["model"] == model)
    return found


def _changes(
    before: Profile, after: Profile, repeats: Sequence[Profile], model: str, part: str, seed: int
) -> Iterator[Change]:
    old, new = read_samples(before, model, part), read_samples(after, model, part)
    others = [_percentiles(read_samples(each, model, part)) for each in repeats]
    machine = max(_loop_drift([before, after]), _drift(old), _drift(new))
    slow, fast = _percentiles(old), _percentiles(new)
    intervals = _intervals(old, new, seed)
    for index, (name, mille) in enumerate(PERCENTILES.items()):
        floor = max([machine, *(abs(float(other[index] / slow[index]) - 1) for other in others)])
        first, second = (
            float(found[index]) / 1e6 if samples.size >= samples_needed(mille) else None
            for samples, found in ((old, slow), (new, fast))
        )
        if first is None or second is None:
            yield Change(model, part, name, first, second, None, None, floor, "too few samples")
        else:
            interval = intervals[index] if intervals else None
            yield Change(
                model, part, name, first, second, second / first - 1, interval, floor, _verdict(interval, floor)
            )


def _verdict(interval: Interval | None, floor: float) -> Verdict:
    if interval is None:
        return "too few samples"
    # What is as much slower as the reverse is faster: floors on a ratio are symmetric in its logarithm.
    if interval.low > floor:
        return "slower"
    return "faster" if interval.high < 1 / (1 + floor) - 1 else "no difference"


def _percentiles(samples: Array) -> NDArray[np.float64]:
    """Return all percentiles, in ns."""
    ranks = [rank(samples.size, mille) for mille in PERCENTILES.values()]
    return np.partition(samples, ranks, axis=None)[ranks].astype(np.float64)


def _intervals(old: Array, new: Array, seed: int) -> list[Interval] | None:
    """Return the 95 % interval of the relative change of each percentile, both runs resampled on their own."""
    if min(len(old), len(new)) < LEAST_ROUNDS:
        return None
    slow = np.stack([_percentiles(old[pick]) for pick in picks(old, seed)])
    fast = np.stack([_percentiles(new[pick]) for pick in picks(new, seed + 1)])
    count = min(len(slow), len(fast))
    lows, highs = np.quantile(fast[:count] / slow[:count] - 1, [0.025, 0.975], axis=0)
    changes = _percentiles(new) / _percentiles(old) - 1
    wider = widening(min(blocks(len(old)), blocks(len(new))))
    return [
        Interval(float(found - wider * (found - low)), float(found + wider * (high - found)))
        for found, low, high in zip(changes, lows, highs, strict=True)
    ]


def _drift(samples: Array) -> float:
    """Return how much the median differs between the halves of a run."""
    half = len(samples) // 2
    if not half:
        return 0.0
    first, second = median(samples[:half]), median(samples[half:])
    return max(first, second) / min(first, second) - 1


def _loop_drift(profiles: Sequence[Profile]) -> float:
    medians = [each["machine"]["noise_floor"][when]["median_ms"] for each in profiles for when in ("before", "after")]
    return float(max(medians) / min(medians) - 1)


def _figures(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Figure]:
    model = old["model"]
    held = [row["memory"] or {} for row in (old, new)]
    yield Figure(model, "rss", "bytes", held[0].get("peak"), held[1].get("peak"), MEMORY_FLOOR)
    yield Figure(model, "weights", "bytes", old.get("weight_bytes"), new.get("weight_bytes"))
    missed = [(row.get("deadline") or {}).get("rate") for row in (old, new)]
    if any(rate is not None for rate in missed):
        yield Figure(model, "misses", "share", missed[0], missed[1])
    seen = [row.get("agreement") or {} for row in (old, new)]
    for name in dict.fromkeys([*seen[0], *seen[1]]):
        yield Figure(model, name, "px" if name.endswith("_px") else "", seen[0].get(name), seen[1].get(name))


def _layers(before: Profile, after: Profile, model: str) -> Iterator[Figure]:
    old, new = (
        {tuple(group["nodes"]): group[model]["microseconds"] for group in profile["layers"] if group.get(model)}
        for profile in (before, after)
    )
    floor = max(LAYER_FLOOR, _loop_drift([before, after]))
    for nodes in old:
        if nodes and nodes in new:
            yield Figure(model, ", ".join(nodes), "us", old[nodes], new[nodes], floor)


_MUST_AGREE = {
    "origin": ("origin",),
    "CPU": ("machine", "cpu"),
    "board": ("machine", "board"),
    "architecture": ("machine", "arch"),
    "instruction sets": ("machine", "isa"),
    "cores": ("machine", "cores"),
    "threads": ("config", "threads"),
    "schedule": ("config", "schedule"),
    "deadline": ("config", "deadline_ms"),
    "frame size": ("config", "frame_size"),
}
_WORTH_A_NOTE = {
    "bundle": ("bundle",),
    "target": ("target", "name"),
    "engine": ("config", "engine"),
    "options of the engine": ("config", "options"),
    "versions": ("machine", "versions"),
    "system": ("machine", "system"),
    "governor": ("machine", "governor"),
    "limits": ("machine", "limits"),
    "rigor": ("config", "rigor"),
    "inputs": ("config", "inputs"),
}


def _notes(before: Profile, after: Profile, names: tuple[str, str]) -> Iterator[str]:
    yield from _disagreeing(before, after, _WORTH_A_NOTE)
    for name, profile in zip(names, (before, after), strict=True):
        if profile.get("partial"):
            yield f"{name} is partial: {profile['partial']}"
        yield from (f"{name}: {warning}" for warning in profile["warnings"])


def _disagreeing(before: Profile, after: Profile, keys: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for name, path in keys.items():
        old, new = (_look_up(profile, path) for profile in (before, after))
        if old != new:
            yield f"{name}: {_words(old, new)}"


def _look_up(profile: Profile, path: tuple[str, ...]) -> Any:
    found: Any = profile
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            raise ArtifactError(
                problem="This is no profile that can be compared.",
                found=f"There is no {'.'.join(path)} in it.",
                fix="Give two files that `edgekit profile -o` of this version wrote.",
            )
        found = found[key]
    return found


def _words(old: Any, new: Any) -> str:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        return "; ".join(f"{key} {_word(old.get(key))}, then {_word(new.get(key))}" for key in keys)
    return f"{_word(old)}, then {_word(new)}"


def _word(value: Any) -> str:
    return "none" if value in (None, "", []) else " ".join(map(str, value)) if isinstance(value, list) else str(value)
