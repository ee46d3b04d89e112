"""From a folder of data to samples: learn vocabularies from the training rows, then encode every part.

A folder holds `schema.toml` and `train`, `valid` and `test`, each .csv or .parquet. A field without a
vocabulary gets one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.features.encode import Encoder
from edgekit.features.schema import Field, Schema

from .samples import Layout, Samples, place
from .tables import Columns, find, pieces

PARTS = ("train", "valid", "test")


@dataclass
class Numbers:
    """Running mean and spread of a numerical field (Chan, Golub and LeVeque, 1983)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: Sequence[Any]) -> None:
        """Take in values; empty texts, None and NaN are missing."""
        found = np.array([float(value) for value in values if value is not None and value != ""], np.float64)
        found = found[~np.isnan(found)]
        if not len(found):
            return
        total, mean = self.count + len(found), float(found.mean())
        apart = mean - self.mean
        self.squares += float(((found - mean) ** 2).sum()) + apart**2 * self.count * len(found) / total
        self.mean, self.count = self.mean + apart * len(found) / total, total

    @property
    def std(self) -> float:
        """Standard deviation; 1 where there is none."""
        return math.sqrt(self.squares / self.count) if self.count and self.squares else 1.0


@dataclass
class Learned:
    """What the training rows say about the fields of a schema."""

    ids: dict[str, Counter[str]] = field(default_factory=dict)
    numbers: dict[str, Numbers] = field(default_factory=dict)


def learn_schema(schema: Schema, path: Path, least: int = 1) -> Schema:
    """Return the schema with vocabularies, means and spreads of the training rows.

    Ids that occur fewer than `least` times stay out: they share the rows of unseen ids, which learn from them. A
    vocabulary, mean or std that the schema has already is kept.

    Raises:
        ValueError: The file lacks the column of a field.
    """
    learned = Learned()
    names = [each.name for each in schema.field]
    for columns in pieces(path, names):
        if missing := [name for name in names if name not in columns]:
            message = f"{path} has no column '{missing[0]}', which is a field of the schema '{schema.name}'"
            raise ValueError(message)
        for each in schema.field:
            values = columns[each.name]
            if each.kind == "numerical":
                learned.numbers.setdefault(each.name, Numbers()).add(values)
            else:
                learned.ids.setdefault(each.name, Counter()).update(_texts(each, values))
    return schema.model_copy(update={"field": tuple(_filled(each, learned, least) for each in schema.field)})


def _texts(each: Field, values: Sequence[Any]) -> Iterator[str]:
    """Yield the ids of a column, as the encoder reads them."""
    for value in values:
        if value is None or value == "":
            continue
        if each.kind == "categorical":
            several: Sequence[Any] = (value,)
        else:
            several = value.split(each.separator) if isinstance(value, str) else value
        yield from (_text(one) for one in several if one is not None and one != "")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _filled(each: Field, learned: Learned, least: int) -> Field:
    told = each.model_dump(exclude_unset=True)
    if each.kind == "numerical":
        numbers = learned.numbers.get(each.name, Numbers())
        return Field(**{"mean": round(numbers.mean, 6), "std": round(numbers.std, 6) or 1.0} | told)
    counts = learned.ids.get(each.name, Counter())
    # By count, then by text: the same rows in any order give the same vocabulary.
    known = sorted((text for text, count in counts.items() if count >= least), key=lambda text: (-counts[text], text))
    return Field(**{"vocabulary": tuple(known)} | told)


def read_samples(folder: Path, part: str, schema: Schema, tasks: Sequence[str]) -> Samples:
    """Encode one part of a folder; see `read_file`."""
    return read_file(find(folder, part), schema, tasks)


def read_file(path: Path, schema: Schema, tasks: Sequence[str]) -> Samples:
    """Encode a file; `tasks` are the columns of its labels, 0 or 1. Without the user's column all rows are one user's.

    Raises:
        ValueError: A label is missing, or neither 0 nor 1, or there are no rows.
    """
    layout, encoder = Layout.of(schema), Encoder(schema)
    numbers: dict[Any, int] = {}
    wanted = [each.name for each in schema.field] + [*tasks, schema.user]
    parts = []
    for columns in pieces(path, wanted):
        count = len(next(iter(columns.values())))
        rows, weights = place(schema, layout, encoder.encode(columns, rows=count))
        labels = np.stack([_labels(columns, task, path) for task in tasks], axis=1)
        users = columns.get(schema.user, [""] * count)
        codes = np.array([numbers.setdefault(user, len(numbers)) for user in users], np.int64)
        parts.append(Samples(torch.from_numpy(rows), _tensor(weights), torch.from_numpy(labels), codes))
    if not parts:
        message = f"{path} holds no rows"
        raise ValueError(message)
    return Samples.join(parts)


def _tensor(weights: NDArray[np.float32] | None) -> torch.Tensor | None:
    return None if weights is None else torch.from_numpy(weights)


def _labels(columns: Columns, task: str, path: Path) -> NDArray[np.float32]:
    if task not in columns:
        message = f"{path} has no column '{task}' for the label"
        raise ValueError(message)
    labels = np.array(columns[task], np.float32)
    if not np.isin(labels, (0, 1)).all():
        message = f"{path}: a label in '{task}' is neither 0 nor 1"
        raise ValueError(message)
    return labels
