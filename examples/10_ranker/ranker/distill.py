"""Distillation: a compact ranker learns what larger ones answer, also about pairs that nobody has seen.

A trained network's answer says more than a click or none (Hinton, Vinyals and Dean, arXiv:1503.02531), and it can be
had for any row: the items of real rows are dealt out anew among users and contexts, so that the small network learns
the large one's function instead of the rows (after Beyer et al., "A good teacher is patient and consistent", 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.features.schema import Schema

from .model import Ranker
from .samples import Layout, Samples
from .training import predict


@dataclass(frozen=True)
class Lessons:
    """What a ranker is taught with.

    Attributes:
        share: How much of a real row's label is the teachers' answer; the rest is what happened.
        copies: Made-up rows per real one, whose labels are the teachers' answers alone.
        seed: Of who is dealt which item.
    """

    share: float = 0.8
    copies: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and self.copies >= 0):
            message = (
                f"share is {self.share} and copies is {self.copies}: give a share from 0 to 1, and 0 copies or more"
            )
            raise ValueError(message)


def taught(teachers: Sequence[Ranker], samples: Samples, schema: Schema, lessons: Lessons) -> Samples:
    """Return samples with the teachers' answers for labels, made-up rows behind the real ones.

    Raises:
        ValueError: A teacher knows other fields, ids or labels than the samples have.
    """
    for teacher in teachers:
        if teacher.schema != schema or teacher.tasks != samples.labels.shape[1]:
            message = "a teacher was trained with other fields, ids or tasks: train it on the same data and schema"
            raise ValueError(message)
    generator = np.random.default_rng(lessons.seed)
    labels = samples.labels * (1 - lessons.share) + answers(teachers, samples) * lessons.share
    parts = [replace(samples, labels=labels)]
    for _ in range(lessons.copies):
        dealt = deal(samples, schema, generator.permutation(len(samples)))
        parts.append(replace(dealt, labels=answers(teachers, dealt)))
    return Samples.join(parts)


def answers(teachers: Sequence[Ranker], samples: Samples) -> Tensor:
    """Return the mean chance that the teachers give, (N, tasks)."""
    return torch.stack([predict(teacher, samples).sigmoid() for teacher in teachers]).mean(dim=0)


def deal(samples: Samples, schema: Schema, order: NDArray[np.int64]) -> Samples:
    """Give row i all fields of the item of row `order[i]`; user and context stay."""
    layout = Layout.of(schema)
    ends = np.cumsum(layout.slots)
    item = [
        slot
        for field, end, count in zip(schema.field, ends.tolist(), layout.slots, strict=True)
        if field.side == "item"
        for slot in range(end - count, end)
    ]
    rows = samples.rows.clone()
    rows[:, item] = samples.rows[order][:, item]
    if samples.weights is None:
        return replace(samples, rows=rows)
    weights = samples.weights.clone()
    weights[:, item] = samples.weights[order][:, item]
    return replace(samples, rows=rows, weights=weights)
