"""Where the engine's time goes: its layers, mapped to the nodes of the user's model, floating point beside INT8."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgekit.backends import TimedLayer


@dataclass(frozen=True)
class Part:
    """What one model's layers of a group take.

    Attributes:
        microseconds: Their time.
        share: Of the time of all layers.
        precision: What they compute in, as the engine tells.
        kinds: The engine's kernels.
    """

    microseconds: float
    share: float
    precision: str
    kinds: str


@dataclass(frozen=True)
class Group:
    """Layers of both models that compute the same nodes; engines fuse nodes as they like, and each model its own.

    Attributes:
        nodes: Nodes of the user's model; none for what no node stands for, such as a change of layout.
        parts: By model; a model that has no layer for these nodes is missing.
    """

    nodes: tuple[str, ...]
    parts: Mapping[str, Part]

    @property
    def slowest(self) -> float:
        """The longest that either model takes, in microseconds."""
        return max(part.microseconds for part in self.parts.values())


def side_by_side(timed: Mapping[str, Sequence[TimedLayer]]) -> tuple[Group, ...]:
    """Return the layers of all models in groups that share no node, the slowest first.

    Args:
        timed: Model to its layers.
    """
    homes = _homes(layer.layer.nodes for layers in timed.values() for layer in layers)
    totals = {model: sum(layer.microseconds for layer in layers) for model, layers in timed.items()}
    held: dict[str, dict[str, list[TimedLayer]]] = {}
    for model, layers in timed.items():
        for layer in layers:
            home = homes[layer.layer.nodes[0]] if layer.layer.nodes else ""
            held.setdefault(home, {}).setdefault(model, []).append(layer)
    groups = [
        Group(
            tuple(node for node, home in homes.items() if home == name),
            {model: _part(layers, totals[model]) for model, layers in models.items()},
        )
        for name, models in held.items()
    ]
    return tuple(sorted(groups, key=lambda group: -group.slowest))


def _homes(fused: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """Return for every node the name of its group: nodes that any layer computes together are in one."""
    homes: dict[str, str] = {}

    def home(node: str) -> str:
        while homes.setdefault(node, node) != node:
            node = homes[node]
        return node

    for nodes in fused:
        for node in nodes:
            homes[home(node)] = home(nodes[0])
    return {node: home(node) for node in list(homes)}


def _part(layers: Sequence[TimedLayer], total: float) -> Part:
    microseconds = sum(layer.microseconds for layer in layers)
    return Part(
        microseconds,
        microseconds / total if total else 0.0,
        "+".join(dict.fromkeys(layer.layer.precision for layer in layers if layer.layer.precision)),
        "+".join(dict.fromkeys(layer.layer.kind for layer in layers)),
    )
