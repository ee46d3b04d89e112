"""Nodes that are tried together: runs in graph order of about equal work, so that time is spent where time goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import onnx

from edgekit.graph.cost import node_costs

Group = tuple[str, ...]

PER_BYTE = 8.0
"""Rough work of moving a byte of activations, in multiply-accumulates: large maps of few channels cost by that."""


def node_work(model: onnx.ModelProto) -> dict[str, float]:
    """Return the estimated work of every node of a cleaned model: what to try first, and never what to decide by."""
    return {cost.name: cost.macs + PER_BYTE * cost.activation_bytes for cost in node_costs(model)}


def work_groups(nodes: Sequence[str], work: Mapping[str, float], most: int) -> tuple[Group, ...]:
    """Cut nodes, given in graph order, into runs of about a `most`-th of their work; a node of more is a run."""
    share = sum(work[node] for node in nodes) / most
    groups: list[Group] = []
    filled = 0.0
    for node in nodes:
        if groups and filled + work[node] <= share:
            groups[-1] = (*groups[-1], node)
            filled += work[node]
        else:
            groups.append((node,))
            filled = work[node]
    return tuple(groups)


def halves(groups: Sequence[Group], work: Mapping[str, float], least: float) -> tuple[Group, ...]:
    """Cut in two every group that has at least this share of all work and more than one node."""
    whole = sum(work[node] for group in groups for node in group)
    cut: list[Group] = []
    for group in groups:
        if len(group) > 1 and sum(work[node] for node in group) >= least * whole:
            middle = len(group) // 2
            cut += [group[:middle], group[middle:]]
        else:
            cut.append(group)
    return tuple(cut)


def split_by(groups: Sequence[Group], kept: Collection[str]) -> tuple[Group, ...]:
    """Cut groups where kept nodes border on others, so that each is of one precision."""
    cut: list[Group] = []
    for group in groups:
        run: Group = ()
        for node in group:
            if run and (node in kept) != (run[-1] in kept):
                cut.append(run)
                run = ()
            run = (*run, node)
        cut.append(run)
    return tuple(cut)
