"""Search for the placement of a calibration that pays, or take it from the record of an earlier search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.calibration.selection.variants import Variants
from edgekit.errors import OutputError
from edgekit.placements import PlacementTable
from edgekit.progress import Progress, silent
from edgekit.tuning.comparison import Comparison, Comparisons, Kept, Stopwatch
from edgekit.tuning.groups import node_work
from edgekit.tuning.record import Key, Record, Result, read_record, write_record
from edgekit.tuning.search import Found, search
from edgekit.tuning.table import measured_table, times_of

Compare = Callable[[Kept], Comparison]


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Plan:
    """What is asked of a search.

    Attributes:
        seconds: The time that it may take; the batch in which that passes is finished, and the result is confirmed.
        fresh: Measure, whatever record there is.
    """

    seconds: float
    fresh: bool = False


@dataclass(frozen=True)
class Tuned:
    """Where to put Q/DQ.

    Attributes:
        kept: Nodes that stay in floating point beyond those that the calibration keeps.
        table: What was measured.
    """

    kept: Kept
    table: PlacementTable


def tune(
    variants: Variants,
    key: Key,
    path: Path,
    stopwatch: Stopwatch,
    plan: Plan,
    bf16: Compare | None = None,
    progress: Progress = silent,
    prepare: Callable[[], None] = nothing,
) -> Tuned:
    """Return the placement that is never slower than floating point.

    What is measured is written to the record batch by batch: after Ctrl-C the next search goes on from there.

    Args:
        variants: The calibration's model with other nodes kept.
        key: What the times hold for.
        path: The record.
        stopwatch: Times placements.
        plan: How long, and whether anew.
        bf16: Compares a placement with the whole model in bf16; none where the engine or the CPU has no bf16.
        progress: Told the seconds that have passed, of those that there are.
        prepare: Called before anything is measured, where it is; what it takes does not count.
    """
    record, reason = (None, "") if plan.fresh else read_record(path, key)
    notes = [reason] if reason else []
    if record is None or record.result is None:
        prepare()
        record, refused = _measure(variants, key, path, stopwatch, plan, bf16, progress, record)
        notes += refused
    result = record.result
    assert result is not None
    return Tuned(frozenset(result.kept), measured_table(variants, record, result, notes))


def _measure(
    variants: Variants,
    key: Key,
    path: Path,
    stopwatch: Stopwatch,
    plan: Plan,
    bf16: Compare | None,
    progress: Progress,
    interrupted: Record | None,
) -> tuple[Record, list[str]]:
    before = interrupted.seconds if interrupted else 0.0
    whole = max(1, round(plan.seconds))
    refused: list[str] = []

    def save(found: Sequence[Comparison], result: Result | None = None) -> None:
        if refused:
            return
        try:
            write_record(path, key, before + comparisons.seconds, found, result)
        except OutputError as error:
            # The search is worth having without its record: only the next compile will have to measure again.
            refused.append(f"what was measured is not kept: {error.found or error.problem}")

    def tell(seconds: float) -> None:
        progress("place", min(whole - 1, int(before + seconds)), whole)

    known = interrupted.comparisons if interrupted else ()
    comparisons = Comparisons(stopwatch, max(0.0, plan.seconds - before), known, save, tell)
    tell(0.0)
    found = search(variants.nodes, node_work(variants.model), comparisons)
    result = _result(found, before + comparisons.seconds, bf16(found.kept) if bf16 else None)
    save(comparisons.all, result)
    progress("place", whole, whole)
    seconds = round(before + comparisons.seconds, 1)
    return Record(key=key, seconds=seconds, comparisons=comparisons.all, result=result), refused


def _result(found: Found, seconds: float, bf16: Comparison | None) -> Result:
    return Result(
        kept=tuple(sorted(found.kept)),
        groups=found.groups,
        noise=round(found.noise, 4),
        complete=found.complete,
        seconds=round(seconds, 1),
        rules=times_of(found.rules),
        placed=times_of(found.placed),
        bf16=times_of(bf16) if bf16 else None,
    )
