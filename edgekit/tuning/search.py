"""Which nodes to leave in floating point: what 8 bit makes slower, told by whole runs of the model.

A layer's own time would not do: engines fuse, and convert layouts and types where precision changes, so that a layer's
cost depends on its neighbours'. So a group is judged by what the whole model gains when the group changes precision.
The search climbs: from everything in 8 bit, coarse groups first, then their halves down to single nodes; every round
measures all changes beside the best placement so far, and takes those that pay together where they do. What is kept
must pay for itself: it goes back to 8 bit where that is not slower beyond noise. At the end every group's change is
measured once more against the placement found, which shows that none is left that pays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgekit.tuning.comparison import Comparison, Comparisons, Kept, TimeUp
from edgekit.tuning.groups import Group, halves, split_by, work_groups

COARSE = 14
LEAST_NOISE = 0.01
"""A change below this is none, however narrow its interval."""

MOST_NOISE = 0.05
"""What the same placement, loaded twice, differs by raises the bar, but not beyond this: each interval counts too."""

LEAST_SHARE = 0.01
"""Groups with less of the work are not cut further."""

NOTHING: Kept = frozenset()


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        kept: The nodes that stay in floating point.
        groups: All nodes, in groups of one precision, in graph order.
        noise: The least change that counted.
        complete: Whether it came to its end within its time.
        rules: Nothing kept, against everything.
        placed: The placement found, against everything.
    """

    kept: Kept
    groups: tuple[Group, ...]
    noise: float
    complete: bool
    rules: Comparison
    placed: Comparison


def search(nodes: Sequence[str], work: Mapping[str, float], comparisons: Comparisons) -> Found:
    """Find the placement that is fastest, with as much in 8 bit as costs no time.

    Args:
        nodes: The nodes that could be kept, in graph order.
        work: Estimated work of each.
        comparisons: Compares placements.
    """
    everything, climb = frozenset(nodes), _Climb(comparisons)
    coarse = work_groups(nodes, work, COARSE)
    try:
        twin, floating = comparisons.against(NOTHING, [NOTHING, everything])
        climb.noise = min(MOST_NOISE, max(LEAST_NOISE, abs(twin.speedup - 1.0)))
        # Side by side two groups may pay where neither does alone: each would pay for both of its borders.
        climb.to_the_top([*coarse, *(one + two for one, two in pairwise(coarse))])
        climb.down_to_nodes(coarse, work)
        if floating.is_faster(climb.noise):
            climb.unless_behind(everything, coarse)
        complete = True
    except TimeUp:
        complete = False
    rules, placed = comparisons.confirm(everything, [NOTHING, climb.kept])
    # Never slower than floating point, whatever the search believed: this is the one promise.
    if placed.speedup < 1.0:
        climb.kept = everything
        placed = comparisons.confirm(everything, [everything])[0]
    return Found(climb.kept, split_by(coarse, climb.kept), climb.noise, complete, rules, placed)


class _Climb:
    """The best placement so far, and how it gets better."""

    def __init__(self, comparisons: Comparisons) -> None:
        self.kept = NOTHING
        self.noise = LEAST_NOISE
        self._comparisons = comparisons

    def down_to_nodes(self, groups: Sequence[Group], work: Mapping[str, float]) -> None:
        coarse = groups
        while True:
            self.to_the_top(sorted(groups, key=lambda group: -sum(work[node] for node in group)))
            finer = halves(groups, work, LEAST_SHARE)
            if finer == tuple(groups):
                break
            groups = finer
        self.to_the_top(split_by(coarse, self.kept))

    def to_the_top(self, groups: Sequence[Group]) -> None:
        """Change groups until no change pays; noise may lead back to where the climb was before, and ends it too."""
        seen: set[Kept] = set()
        while self.kept not in seen:
            seen.add(self.kept)
            self._keep_what_pays(groups)
            self._return_what_does_not(groups)
            groups = split_by(groups, self.kept)

    def unless_behind(self, everything: Kept, groups: Sequence[Group]) -> None:
        """Where the climb from 8 bit ended behind floating point, climb from there instead."""
        [ahead] = self._comparisons.against(everything, [self.kept])
        if ahead.is_slower(self.noise):
            self.kept = everything
            self._return_what_does_not(groups)

    def _keep_what_pays(self, groups: Sequence[Group]) -> None:
        more = [self.kept | set(group) for group in groups if not self.kept.issuperset(group)]
        pays = [one for one in self._comparisons.against(self.kept, more) if one.is_faster(self.noise)]
        if not pays:
            return
        # All that pay together, or the best of them alone, whichever is faster.
        together = frozenset().union(*(one.pair[1] for one in pays))
        joint = self._comparisons.against(self.kept, [together])
        self.kept = max([*joint, *pays], key=lambda one: one.speedup).pair[1]

    def _return_what_does_not(self, groups: Sequence[Group]) -> None:
        fewer = [self.kept - set(group) for group in groups if self.kept.intersection(group)]
        free = [one for one in self._comparisons.against(self.kept, fewer) if not one.is_slower(self.noise)]
        if not free:
            return
        together = frozenset.intersection(*(one.pair[1] for one in free))
        [joint] = self._comparisons.against(self.kept, [together])
        best = joint if not joint.is_slower(self.noise) else max(free, key=lambda one: one.speedup)
        self.kept = best.pair[1]
