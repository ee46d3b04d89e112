"""What a comparison is failed on: `p99>33ms, lateral>2px, rss>+5%`.

    conditions  =  condition { "," condition }
    condition   =  [ model "." ] [ part "." ] figure  operator  value
    model       =  "fp" | "int8"                           int8 if not given
    part        =  "end_to_end" | "engine" | "device"      end_to_end if not given
                |  "preprocess" | "postprocess" | "wait"
    figure      =  "p50" | "p90" | "p99" | "p99.9"         of a part
                |  "rss" | "weights" | "misses"            of a model
                |  "lateral" | "f1" | "sqnr" | "iou_" mask  of a model
    operator    =  ">" | ">=" | "<" | "<="
    value       =  [ "+" | "-" ] number [ unit ]
    unit        =  "us" | "ms" | "s"  |  "B" | "kB" | "MB" | "GB"  |  "px"  |  "dB"  |  "%"

Without a sign a value is a limit on the second profile. With a sign it is a limit on the change from the first to the
second: in per cent of the first, or in units. `misses` are a share, so that `misses>1%` is a limit, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.errors import UsageError
from edgekit.profiling.compare import PARTS, Change, Comparison, Figure
from edgekit.profiling.latency import PERCENTILES
from edgekit.resources import nearest

MODELS = ("int8", "fp")
_SHORT = {"lateral": "lateral_px", "sqnr": "sqnr_db"}
FIGURES = ("rss", "weights", "misses", "lateral", "f1", "sqnr")

_UNITS = {
    "time": {"us": 1e-3, "ms": 1.0, "s": 1e3},
    "size": {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9},
    "distance": {"px": 1.0},
    "level": {"dB": 1.0},
    "number": {},
}
"""To ms, bytes, px and dB."""

_FORM = re.compile(
    r"\s*(?P<name>[A-Za-z][\w.]*?)\s*(?P<operator>>=|<=|>|<)"
    r"\s*(?P<sign>[+-]?)\s*(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>%|[A-Za-z]*)\s*"
)


@dataclass(frozen=True)
class Condition:
    """One condition.

    Attributes:
        text: As it was written.
        model: `fp` or `int8`.
        part: Part of the work; empty for what is not a latency.
        figure: The figure's name in a comparison.
        above: Whether it fails above the value, not below.
        inclusive: Whether it fails at the value as well.
        relative: Whether the value is a change from the first profile.
        share: Whether the value is a share, written in per cent.
        value: In ms, bytes, px, dB, or as a share.
    """

    text: str
    model: str
    part: str
    figure: str
    above: bool
    inclusive: bool
    relative: bool
    share: bool
    value: float

    def fails(self, figure: float) -> bool:
        """Whether a figure is one that fails."""
        if self.inclusive and figure == self.value:
            return True
        return figure > self.value if self.above else figure < self.value


@dataclass(frozen=True)
class Failure:
    """A condition that failed.

    Attributes:
        condition: Which.
        found: Why, in words.
    """

    condition: Condition
    found: str


def parse_conditions(text: str) -> tuple[Condition, ...]:
    """Read conditions.

    Raises:
        UsageError: One is not understood; the message names it, and the nearest name that is known.
    """
    return tuple(_parse(part.strip()) for part in text.split(","))


def failures(conditions: Sequence[Condition], comparison: Comparison) -> tuple[Failure, ...]:
    """Return the conditions that fail; one whose figure is not known fails, since nobody can say that it holds.

    A change of a latency fails only where it is beyond noise: where the verdict is faster or slower.
    """
    found = (_failure(condition, comparison) for condition in conditions)
    return tuple(failure for failure in found if failure is not None)


def _parse(text: str) -> Condition:
    match = _FORM.fullmatch(text)
    if match is None:
        raise _wrong(text, "It is no condition: a name, one of > >= < <=, and a number with its unit.")
    model, part, figure = _name(text, match["name"])
    kind = _kind(part, figure)
    unit, relative = match["unit"], bool(match["sign"])
    units = _UNITS[kind]
    if unit == "%" and not relative and figure != "misses":
        raise _wrong(text, f"A limit in per cent has a sign: {match['name']}{match['operator']}+{match['number']}%.")
    if unit not in (*units, "%") and not (unit == "" and kind == "number"):
        wanted = ", ".join([*units, "%"])
        raise _wrong(
            text, f"The unit is '{unit}'; known here: {wanted}." if unit else f"The unit is missing: {wanted}."
        )
    share = unit == "%"
    value = float(match["number"]) * (0.01 if share else units.get(unit, 1.0)) * (-1 if match["sign"] == "-" else 1)
    operator = match["operator"]
    return Condition(text, model, part, figure, operator[0] == ">", operator.endswith("="), relative, share, value)


def _name(text: str, name: str) -> tuple[str, str, str]:
    model, part, rest = MODELS[0], "", name
    for each in MODELS:
        if rest.startswith(f"{each}."):
            model, rest = each, rest.removeprefix(f"{each}.")
    for each in PARTS:
        if rest.startswith(f"{each}."):
            part, rest = each, rest.removeprefix(f"{each}.")
    if rest in PERCENTILES:
        return model, part or PARTS[0], rest
    if not part and (rest in FIGURES or re.fullmatch(r"iou_\w+", rest)):
        return model, "", _SHORT.get(rest, rest)
    known = [*PERCENTILES] if part else [*PERCENTILES, *FIGURES, "iou_", *PARTS, *MODELS]
    first = rest if part else rest.split(".")[0]
    raise _wrong(text, f"There is no figure '{name}'. {nearest(first, known)}".strip())


def _kind(part: str, figure: str) -> str:
    if part:
        return "time"
    known = {"rss": "size", "weights": "size", "lateral_px": "distance", "sqnr_db": "level"}
    return known.get(figure, "number")


def _wrong(text: str, found: str) -> UsageError:
    return UsageError(
        problem=f"The condition '{text}' is not understood.",
        found=found,
        fix=f"Figures: {', '.join([*PERCENTILES, *FIGURES])}, iou_NAME; for instance p99>33ms, lateral>2px, rss>+5%.",
    )


def _failure(condition: Condition, comparison: Comparison) -> Failure | None:
    if condition.part:
        where = (condition.model, condition.part, condition.figure)
        change = next((each for each in comparison.changes if (each.model, each.part, each.name) == where), None)
        return Failure(condition, _not_known(comparison)) if change is None else _latency(condition, change)
    figure = next(
        (each for each in comparison.figures if (each.model, each.name) == (condition.model, condition.figure)), None
    )
    return Failure(condition, _not_known(comparison)) if figure is None else _plain(condition, figure)


def _not_known(comparison: Comparison) -> str:
    return f"not known: {' and '.join(comparison.names)} do not both have it"


def _latency(condition: Condition, change: Change) -> Failure | None:
    if change.after is None or (condition.relative and change.change is None):
        return Failure(condition, "not known: too few samples")
    if not condition.relative:
        return Failure(condition, f"{change.after:.4g} ms") if condition.fails(change.after) else None
    if change.verdict == "too few samples":
        return Failure(condition, "not known: too few rounds to tell a change from noise")
    return _changed(condition, change.before, change.after, change.verdict != "no difference", "ms")


def _plain(condition: Condition, figure: Figure) -> Failure | None:
    if figure.after is None or (condition.relative and figure.before is None):
        return Failure(condition, "not known")
    if not condition.relative:
        return (
            Failure(condition, f"{figure.after:.6g} {figure.unit}".strip()) if condition.fails(figure.after) else None
        )
    return _changed(condition, figure.before, figure.after, figure.verdict != "same", figure.unit)


def _changed(condition: Condition, before: float | None, after: float, beyond_noise: bool, unit: str) -> Failure | None:
    start = before or 0.0
    difference = after - start
    if condition.share:
        difference = difference / start if start else math.copysign(math.inf, difference) if difference else 0.0
    if not (beyond_noise and condition.fails(difference)):
        return None
    return Failure(condition, f"{start:.6g} {unit}, then {after:.6g} {unit}".replace(" ,", ","))
