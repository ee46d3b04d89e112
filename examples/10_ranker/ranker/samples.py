"""Encoded samples as tensors: every field is a weighted sum of rows of one table."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.features.encode import Encoded, Encoder
from edgekit.features.schema import Field, Schema


@dataclass(frozen=True)
class Layout:
    """Where the rows of each field start in the one table, and which slots of a sample belong to which field.

    A field takes one slot where it is categorical, two where it is numerical (the value times row 1, plus row 2), and
    `max_length` where it holds several ids.
    """

    starts: tuple[int, ...]
    rows: int
    slots: tuple[int, ...]

    @classmethod
    def of(cls, schema: Schema) -> Layout:
        """Return the layout of a schema's fields, in their order."""
        encoder = Encoder(schema)
        sizes = [encoder.rows(field.name) for field in schema.field]
        starts = (0, *np.cumsum(sizes).tolist())
        return cls(tuple(starts[:-1]), starts[-1], tuple(_slots(field) for field in schema.field))

    @property
    def single(self) -> bool:
        """Whether every field is one row, so that nothing needs to be weighted or summed."""
        return all(slots == 1 for slots in self.slots)


@dataclass(frozen=True)
class Samples:
    """Encoded rows of data.

    Attributes:
        rows: (N, slots) int32, rows of the one table.
        weights: (N, slots) float32, or None where all are 1 (see `Layout.single`).
        labels: (N, tasks) float32.
        users: (N) int64, who asked: rows with the same number are one user's.
    """

    rows: Tensor
    weights: Tensor | None
    labels: Tensor
    users: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> Samples:
        """Return the samples on a device."""
        weights = None if self.weights is None else self.weights.to(device)
        return Samples(self.rows.to(device), weights, self.labels.to(device), self.users)

    def part(self, start: int, end: int) -> Samples:
        """Return the samples from `start` to before `end`."""
        weights = None if self.weights is None else self.weights[start:end]
        return Samples(self.rows[start:end], weights, self.labels[start:end], self.users[start:end])

    def fingerprint(self) -> str:
        """Return what tells these samples from others."""
        digest = hashlib.sha256()
        for part in (self.rows, self.weights, self.labels):
            if part is not None:
                digest.update(part.cpu().numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def join(cls, parts: Sequence[Samples]) -> Samples:
        """Put parts one behind the other."""
        weights = None if parts[0].weights is None else torch.cat([_weights(part) for part in parts])
        users = np.concatenate([part.users for part in parts])
        return cls(torch.cat([part.rows for part in parts]), weights, torch.cat([part.labels for part in parts]), users)


def _weights(part: Samples) -> Tensor:
    assert part.weights is not None  # all parts of one layout are alike
    return part.weights


def _slots(field: Field) -> int:
    return {"categorical": 1, "numerical": 2}.get(field.kind, field.max_length)


def place(
    schema: Schema, layout: Layout, encoded: Mapping[str, Encoded]
) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
    """Return rows (N, slots) of the one table and their weights, None where all are 1."""
    rows, weights = [], []
    for field, start, slots in zip(schema.field, layout.starts, layout.slots, strict=True):
        part, weight = _place(field, encoded[field.name], slots)
        rows.append(part + start)
        weights.append(weight)
    placed = np.concatenate(rows, axis=1).astype(np.int32)
    return placed, None if layout.single else np.concatenate(weights, axis=1).astype(np.float32)


def _place(field: Field, encoded: Encoded, slots: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    if field.kind == "categorical":
        return encoded.ids[:, None], np.ones((len(encoded.ids), 1), np.float32)
    if encoded.values is not None:
        # Missing: row 0 once. There: the value times row 1, plus row 2.
        there = encoded.ids.astype(np.int32)
        first = np.where(there == 1, encoded.values, 1)
        return np.stack([there, 2 * there], 1), np.stack([first, there], 1).astype(np.float32)
    assert encoded.lengths is not None  # the kinds with several ids have lengths
    width = encoded.ids.shape[1]
    rows = np.zeros((len(encoded.ids), slots), np.int32)
    rows[:, :width] = encoded.ids
    counts = np.arange(slots) < encoded.lengths[:, None]
    share = 1 / encoded.lengths[:, None] if field.pooling == "mean" else 1.0
    return rows, (counts * share).astype(np.float32)
