"""INFNet for several tasks: field, behaviour and task tokens that meet through a few proxies (arXiv 2508.11565).

Where the paper leaves it open: the gates read the proxies that the cross-attention has just updated, and attention is
added to what asked (the text speaks of residuals, the equations show none).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .blocks import Dropout

if TYPE_CHECKING:
    from .networks import Mixer, Shape


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class CrossAttention(nn.Module):
    """softmax(q k' / sqrt(d)) v, one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = 1 / math.sqrt(width)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, asking: Tensor, asked: Tensor) -> Tensor:
        """Map queries (N, q, d) and tokens (N, n, d) to (N, q, d)."""
        weights = self.query(asking) @ self.key(asked).transpose(1, 2) * self.scale
        return torch.softmax(weights, dim=-1) @ self.value(asked)


class Gate(nn.Module):
    """Proxy gated unit: all tokens times one gate, which an MLP computes from the proxies."""

    def __init__(self, proxies: int, width: int) -> None:
        super().__init__()
        self.body = _two_layers(proxies * width, width, width)

    def forward(self, tokens: Tensor, proxies: Tensor) -> Tensor:
        """Map tokens (N, n, d) and proxies (N, p, d) to (N, n, d)."""
        return tokens * torch.sigmoid(self.body(proxies.flatten(1))).unsqueeze(1)


class INFBlock(nn.Module):
    """Proxies and tasks ask the other kinds of tokens; then each kind is gated by its proxies.

    After the `last` block only the tasks are read, so that only they are updated there.
    """

    def __init__(self, proxies: dict[str, int], width: int, last: bool) -> None:
        super().__init__()
        self.kinds, self.updated = tuple(proxies), ("task",) if last else tuple(proxies)
        asking = (*self.updated, "answers")
        pairs = [(a, b) for a in asking for b in self.kinds if b != ("task" if a == "answers" else a)]
        self.attention = nn.ModuleDict({f"{a}-{b}": CrossAttention(width) for a, b in pairs})
        self.gates = nn.ModuleDict({kind: Gate(proxies[kind], width) for kind in self.updated})

    def _asked(self, name: str, asking: Tensor, tokens: dict[str, Tensor]) -> Tensor:
        for kind in self.kinds:
            if f"{name}-{kind}" in self.attention:
                asking = asking + self.attention[f"{name}-{kind}"](asking, tokens[kind])
        return asking

    def forward(
        self, tokens: dict[str, Tensor], proxies: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the updated tokens and proxies, every tensor of the shape it had."""
        updated = {kind: self._asked(kind, proxies[kind], tokens) for kind in self.updated}
        # The real task tokens ask as well, so that the heads read more than gated constants.
        tokens = tokens | {"task": self._asked("answers", tokens["task"], tokens)}
        return {kind: self.gates[kind](tokens[kind], updated[kind]) for kind in self.updated}, updated


class INFNet(nn.Module):
    """Fields, behaviour sequences and tasks as tokens; one head for every task on its own token."""

    first_order = False

    def __init__(self, shape: Shape, mixer: Mixer) -> None:
        super().__init__()
        self.width, self.sequences = mixer.width, list(shape.sequences)
        self.fields = [number for number in range(shape.fields) if number not in shape.sequences]
        self.drop = Dropout(mixer.feature_dropout)
        self.enter = nn.Linear(shape.width, mixer.width)
        proxies = {"field": 4, "task": 2} | ({"sequence": len(self.sequences)} if self.sequences else {})
        self.gather = _two_layers(len(self.fields) * mixer.width, 4 * mixer.width, proxies["field"] * mixer.width)
        if self.sequences:
            self.each = _two_layers(mixer.width, mixer.width, mixer.width)
        self.tasks = nn.Parameter(torch.randn(shape.tasks, mixer.width) * 0.1)
        self.shared = nn.Parameter(torch.randn(proxies["task"], mixer.width) * 0.1)
        self.blocks = nn.ModuleList(
            INFBlock(proxies, mixer.width, number == mixer.blocks - 1) for number in range(mixer.blocks)
        )
        self.heads = nn.ModuleList(_two_layers(mixer.width, mixer.head[0], 1) for _ in range(shape.tasks))

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, fields * width) to logits (N, tasks)."""
        samples = features.shape[0]
        entered = self.enter(self.drop(features).reshape(samples, len(self.fields) + len(self.sequences), -1))
        tokens = {"field": entered[:, self.fields], "task": self.tasks.expand(samples, -1, -1)}
        proxies = {
            "field": self.gather(tokens["field"].flatten(1)).reshape(samples, -1, self.width),
            "task": self.shared.expand(samples, -1, -1),
        }
        if self.sequences:
            tokens["sequence"] = entered[:, self.sequences]
            proxies["sequence"] = self.each(tokens["sequence"])
        for block in self.blocks:
            tokens, proxies = block(tokens, proxies)
        answers = [head(tokens["task"][:, number]) for number, head in enumerate(self.heads)]
        return torch.cat(answers, dim=1)
