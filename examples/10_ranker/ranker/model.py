"""A ranker: the embedding table of all fields, and a network over their vectors."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from edgekit.features.schema import Schema

from .mixing import Mixing
from .networks import NETWORKS, Dense, Mixer, Shape
from .samples import Layout


class Ranker(nn.Module):
    """Rows and weights of samples in, one logit a task out.

    Args:
        schema: The fields, all with embeddings of one length.
        name: A key of `NETWORKS`.
        size: The network's size; absent: its own.
        tasks: How many questions it answers.
    """

    slot_field: Tensor

    def __init__(self, schema: Schema, name: str, size: Mixer | Dense | None = None, tasks: int = 1) -> None:
        super().__init__()
        kind = NETWORKS[name]
        self.schema, self.name, self.size, self.tasks = schema, name, size or kind.size, tasks
        self.layout, shape = Layout.of(schema), shape_of(schema, tasks)
        self.network = kind.build(shape, self.size)
        extra = 1 if self.network.first_order else 0
        self.table = nn.Parameter(torch.randn(self.layout.rows, shape.width + extra) * 1e-2)
        of = torch.repeat_interleave(torch.arange(shape.fields), torch.tensor(self.layout.slots))
        self.register_buffer("slot_field", nn.functional.one_hot(of, shape.fields).T.float(), persistent=False)

    def features(self, rows: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the vectors of all fields side by side, (N, fields * width), of rows (N, slots)."""
        vectors = nn.functional.embedding(rows, self.table)
        if weights is not None:
            vectors = self.slot_field @ (vectors * weights.unsqueeze(-1))
        return vectors.flatten(1)

    def forward(self, rows: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return logits (N, tasks)."""
        return self.network(self.features(rows, weights))

    def tables(self) -> dict[str, Tensor]:
        """Return each field's own part of the table, (rows, dimension)."""
        ends = (*self.layout.starts[1:], self.layout.rows)
        names = [field.name for field in self.schema.field]
        spans = zip(names, self.layout.starts, ends, strict=True)
        return {name: self.table.detach()[start:end] for name, start, end in spans}


def shape_of(schema: Schema, tasks: int = 1) -> Shape:
    """Return what a network for this schema is built for.

    Raises:
        ValueError: The embeddings of the fields differ in length.
    """
    widths = {field.dimension for field in schema.field}
    if len(widths) > 1:
        message = f"the networks here want embeddings of one length, the schema '{schema.name}' has {sorted(widths)}"
        raise ValueError(message)
    numbers = {field.name: number for number, field in enumerate(schema.field)}
    shape = Shape(len(numbers), widths.pop(), tasks)
    sides = {
        side: (numbers[column],) if (column := getattr(schema, side)) in numbers else ()
        for side in ("user", "item")
    }  # fmt: skip
    behaviour = tuple(numbers[field.name] for field in schema.field if field.kind == "sequence")
    for side in ("user", "item"):
        if not sides[side]:
            sides[side] = tuple(numbers[field.name] for field in schema.field if field.side == side) or (0,)
    return replace(shape, user=sides["user"], item=sides["item"], sequences=behaviour)


def set_temperature(model: nn.Module, tau: float) -> None:
    """Set how sharp all mixing matrices are."""
    for module in model.modules():
        if isinstance(module, Mixing):
            module.tau.fill_(tau)


def cost(model: Ranker) -> tuple[int, int]:
    """Return parameters outside the table, and multiply-adds of one sample in matrix products.

    Mixing matrices are constants on the device, so what makes them costs nothing: the difference between three samples
    and two is counted.
    """
    from torch.utils.flop_counter import FlopCounterMode

    # The counter stumbles over parameters that are tokens where they want gradients.
    network = copy.deepcopy(model.network).eval().requires_grad_(False)
    dense = sum(parameter.numel() for parameter in network.parameters())
    flops = []
    for count in (2, 3):
        features = torch.zeros(count, model.table.shape[1] * len(model.schema.field), device=model.table.device)
        with FlopCounterMode(display=False) as counter:
            network(features)
        flops.append(counter.get_total_flops())
    return dense, (flops[1] - flops[0]) // 2
