"""The placement table of a bundle, from what was measured or from the target's rules alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

import onnx

from edgekit.calibration.selection.groups import label_of
from edgekit.calibration.selection.variants import Variants
from edgekit.graph.cost import node_costs
from edgekit.graph.placement import Placement
from edgekit.placements import Origin, PlacementRow, PlacementTable, Times, Whole
from edgekit.tuning.comparison import Comparison, Kept
from edgekit.tuning.groups import Group
from edgekit.tuning.record import Record, Result

SLOWER = "8 bit is slower"
NOT_SLOWER = "8 bit is not slower"
NO_FASTER = "the model is no faster with any of it in 8 bit"
GATES = "the fastest placement did not keep the gates"
UNTRIED = "the time was up before it was measured; the target's rules"


def times_of(floating: Comparison) -> Times:
    """Return the times of a comparison whose reference has more in floating point."""
    return Times(
        float_us=floating.reference_us,
        int8_us=floating.candidate_us,
        speedup=floating.speedup,
        low=floating.low,
        high=floating.high,
    )


def measured_table(variants: Variants, record: Record, result: Result, notes: Sequence[str] = ()) -> PlacementTable:
    """Return the table of a placement that was searched for."""
    kept, key = frozenset(result.kept), record.key
    placement = variants.placement(kept)
    known = {one.pair: one for one in record.comparisons}
    return PlacementTable(
        origin=key.origin,
        engine=key.engine,
        processor=key.processor,
        threads=key.threads,
        seconds=result.seconds,
        complete=result.complete,
        macs_share=macs_share(variants.model, placement),
        whole=Whole(rules=result.rules, placed=result.placed, bf16=result.bf16),
        rows=(
            *(
                _measured(group, frozenset(variants.nodes), kept, known, placement, key.origin)
                for group in result.groups
            ),
            *_by_the_rules(placement, set(variants.nodes)),
        ),
        notes=tuple(notes),
    )


def estimated_table(model: onnx.ModelProto, placement: Placement, notes: Sequence[str] = ()) -> PlacementTable:
    """Return the table of a placement that follows the target's rules: no times, since none were measured."""
    return PlacementTable(
        origin="estimated",
        macs_share=macs_share(model, placement),
        rows=tuple(_by_the_rules(placement, ())),
        notes=tuple(notes),
    )


def macs_share(model: onnx.ModelProto, placement: Placement) -> float:
    """Return the share of a model's multiply-accumulates whose weights are quantized."""
    macs = {cost.name: cost.macs for cost in node_costs(model)}
    whole = sum(macs.values())
    return round(sum(macs[weight.node] for weight in placement.weights) / whole, 4) if whole else 0.0


def _measured(
    group: Group,
    everything: Kept,
    kept: Kept,
    known: Mapping[tuple[Kept, Kept], Comparison],
    placement: Placement,
    origin: Origin,
) -> PlacementRow:
    floating = group[0] in kept
    other = kept - set(group) if floating else kept | set(group)
    found = known.get((kept, other))
    times = None if found is None else _flipped(found, floating)
    if floating:
        why = SLOWER if times is not None and times.speedup < 1.0 else NO_FASTER if kept == everything else UNTRIED
    else:
        why = UNTRIED if times is None else NOT_SLOWER
    return PlacementRow(
        group=label_of(group, [group]),
        nodes=group,
        precision=placement.nodes[group[0]].precision,
        origin=origin if times is not None or kept == everything else "estimated",
        times=times,
        why=why,
    )


def _flipped(found: Comparison, floating: bool) -> Times:
    """Return the times of the placement found and of its change, as floating point against 8 bit."""
    if floating:
        return times_of(found)
    return Times(
        float_us=found.candidate_us,
        int8_us=found.reference_us,
        speedup=round(1 / found.speedup, 4),
        low=round(1 / found.high, 4),
        high=round(1 / found.low, 4),
    )


def _by_the_rules(placement: Placement, measured: Collection[str]) -> list[PlacementRow]:
    """Return rows of neighbours that the rules, or the calibration, treat alike."""
    nodes = [(name, node) for name, node in placement.nodes.items() if name not in measured]
    rows = []
    for node, members in groupby(nodes, key=lambda pair: pair[1]):
        group = tuple(name for name, _ in members)
        rows.append(
            PlacementRow(
                group=label_of(group, [group]),
                nodes=group,
                precision=node.precision,
                origin="estimated",
                times=None,
                why=node.why,
            )
        )
    return rows


def refused_table(variants: Variants, tuned: PlacementTable, kept: Kept) -> PlacementTable:
    """Return the table of what is deployed where the placement that was found loses too much of the task.

    Args:
        variants: The calibration's model.
        tuned: The table of that placement.
        kept: What is kept instead: nothing, or everything.
    """
    placement = variants.placement(kept)
    whole = tuned.whole
    assert whole is not None
    same = Times(float_us=whole.placed.float_us, int8_us=whole.placed.float_us, speedup=1.0, low=1.0, high=1.0)
    note = "the fastest placement did not keep the gates on the golden inputs; "
    note += "nothing is in 8 bit instead" if kept else "the target's rules are followed instead"
    return tuned.model_copy(
        update={
            "macs_share": macs_share(variants.model, placement),
            "whole": whole.model_copy(update={"placed": same if kept else whole.rules, "bf16": None}),
            "rows": tuple(
                row.model_copy(update={"precision": placement.nodes[row.nodes[0]].precision, "why": GATES})
                if row.nodes[0] in variants.nodes
                else row
                for row in tuned.rows
            ),
            "notes": (*tuned.notes, note),
        }
    )
