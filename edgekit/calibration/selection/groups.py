"""Natural groups of layers, told from their names where exporters name them by module, and from their order else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from os.path import commonprefix

Group = tuple[str, ...]


def layer_groups(names: Sequence[str], most: int) -> tuple[Group, ...]:
    """Cut layers, given in graph order, into runs that belong together.

    A run is cut where two neighbours share the fewest leading parts of their names ("/encoder/level1/conv" has three),
    so that modules stay whole; the longest run is cut first, until none is longer than a `most`-th of all or there are
    `most` runs. Where names tell nothing, runs are cut into equal lengths.

    Args:
        names: Node names in graph order.
        most: About so many groups; there may be more where one module has many small children.
    """
    longest_allowed = max(1, -(-len(names) // most))
    groups: list[Group] = [tuple(names)] if names else []
    while len(groups) < most:
        index = max(range(len(groups)), key=lambda i: len(groups[i]), default=-1)
        if index < 0 or len(groups[index]) <= longest_allowed:
            break
        groups[index : index + 1] = _cut(groups[index], longest_allowed)
    return tuple(groups)


def label_of(group: Group, groups: Sequence[Group]) -> str:
    """Return the module that a group is all of, or the module and its first and last child in the group."""
    if len(group) == 1:
        return group[0]
    module = _module(group)
    if module and sum(_module(other) == module for other in groups) == 1:
        return module.rstrip("/.")
    first, last = (_parts(name[len(module) :])[0] for name in (group[0], group[-1]))
    return f"{module}{first} .. {last}" if first != last else f"{group[0]} .. {group[-1]}"


def _cut(group: Group, longest: int) -> list[Group]:
    shared = [_shared(one, two) for one, two in pairwise(group)]
    weakest = min(shared)
    if max(shared) == weakest:
        return [group[start : start + longest] for start in range(0, len(group), longest)]
    edges = [0, *(index + 1 for index, count in enumerate(shared) if count == weakest), len(group)]
    return [group[start:end] for start, end in pairwise(edges)]


def _shared(one: str, two: str) -> int:
    count = 0
    for a, b in zip(_parts(one), _parts(two), strict=False):
        if a != b:
            break
        count += 1
    return count


def _parts(name: str) -> list[str]:
    return re.split(r"[/.]", name.strip("/."))


def _module(group: Group) -> str:
    """Return what all names begin with, up to its last separator."""
    shared = commonprefix(group)  # noqa: RUF071 - cut back to a separator below
    return shared[: max(shared.rfind("/"), shared.rfind(".")) + 1]
