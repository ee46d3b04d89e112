"""New ids without a new network: learn their rows from a few interactions, everything else stands still."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.features.schema import Schema
from edgekit.features.tables import Table, largest_row

from .model import Ranker
from .samples import Samples
from .tables import pieces

Rows = dict[str, NDArray[np.float32]]
"""Id to its row."""


def unseen_ids(schema: Schema, field: str, path: Path) -> list[str]:
    """Return the ids of a categorical field that the schema does not know, the most frequent first.

    Raises:
        ValueError: The schema has no such categorical field, or the file no such column.
    """
    if field not in {each.name for each in schema.field if each.kind == "categorical"}:
        message = f"the schema '{schema.name}' has no categorical field '{field}'"
        raise ValueError(message)
    known, counts = {text for each in schema.field if each.name == field for text in each.vocabulary}, Counter[str]()
    for columns in pieces(path, (field,)):
        if field not in columns:
            message = f"{path} has no column '{field}'"
            raise ValueError(message)
        counts.update(value for value in map(str, columns[field]) if value and value not in known)
    return sorted(counts, key=lambda text: (-counts[text], text))


def extended(model: Ranker, field: str, ids: Sequence[str]) -> Ranker:
    """Return the ranker with rows for new ids behind those of the vocabulary, each the mean of its field's rows."""
    fields = tuple(
        each.model_copy(update={"vocabulary": (*each.vocabulary, *ids)}) if each.name == field else each
        for each in model.schema.field
    )
    larger = Ranker(model.schema.model_copy(update={"field": fields}), model.name, model.size, model.tasks)
    larger.network.load_state_dict(model.network.state_dict())
    old = model.tables()
    for name, table in larger.tables().items():
        table[: len(old[name])] = old[name]
        table[len(old[name]) :] = old[name].mean(dim=0)
    return larger.eval()


def learn_rows(
    model: Ranker,
    field: str,
    ids: Sequence[str],
    samples: Samples,
    steps: int = 200,
    rate: float = 1e-2,
    l2: float = 1e-2,
) -> Rows:
    """Learn the rows of new ids in place and return them.

    Args:
        model: A ranker that `extended` made for these ids.
        field: Whose ids they are.
        ids: The new ids, as they were given to `extended`.
        samples: Interactions with them, encoded with the ranker's schema.
        steps: Steps over all samples at once.
        rate: Adam's.
        l2: Pulls towards the row that they start from.
    """
    table = model.tables()[field][-len(ids) :]
    start = table.clone()
    first = int((table.data_ptr() - model.table.data_ptr()) // (model.table.element_size() * model.table.shape[1]))
    mine = slice(first, first + len(ids))
    # Adam leaves alone what never had a gradient, so one mask is enough.
    optimizer = torch.optim.Adam([model.table], rate)
    for _ in range(steps):
        loss = nn.functional.binary_cross_entropy_with_logits(model(samples.rows, samples.weights), samples.labels)
        optimizer.zero_grad()
        loss.backward()
        assert model.table.grad is not None  # the samples read it
        kept = model.table.grad[mine] + l2 * (model.table.detach()[mine] - start) / len(ids)
        model.table.grad.zero_()
        model.table.grad[mine] = kept
        optimizer.step()
    return dict(zip(ids, table.numpy().copy(), strict=True))


def fitting(rows: Rows, table: Table) -> Rows:
    """Return rows that a table of the device can hold: its scales end where its own rows once needed no more."""
    if table.bits == 32:
        return rows
    limit = largest_row(table.bits, table.exponent)
    return {text: np.clip(row, -limit, limit) for text, row in rows.items()}
