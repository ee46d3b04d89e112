"""Vocabularies in order: ids that are numbers take next to no space then, and others less than in any other order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.features.schema import Field, Schema

LARGEST = 2**53 - 1
"""The largest integer that every language with floating-point numbers alone can hold."""


def in_order(schema: Schema) -> tuple[Schema, dict[str, NDArray[np.intp]]]:
    """Return a schema with its vocabularies in order, and by field which row of its old table each new row is.

    Training may number ids as it likes. For the device, `tables[name][rows[name]]` are the new tables.
    """
    fields, rows = [], {}
    for field in schema.field:
        order = _order(field)
        rows[field.name] = np.concatenate([np.arange(field.rows - len(order)), field.first_known + order])
        vocabulary = tuple(field.vocabulary[place] for place in order.tolist())
        fields.append(field.model_copy(update={"vocabulary": vocabulary} if vocabulary else {}))
    return schema.model_copy(update={"field": tuple(fields)}), rows


def as_integers(vocabulary: tuple[str, ...]) -> list[int] | None:
    """Return a vocabulary's ids as numbers, or None where one is not the plain text of an integer."""
    try:
        found = [int(text) for text in vocabulary]
    except ValueError:
        return None
    plain = all(str(number) == text and abs(number) <= LARGEST for number, text in zip(found, vocabulary, strict=True))
    return found if plain else None


def _order(field: Field) -> NDArray[np.intp]:
    numbers = as_integers(field.vocabulary)
    if numbers is not None:
        return np.argsort(np.array(numbers, np.int64), kind="stable")
    return np.array(sorted(range(len(field.vocabulary)), key=field.vocabulary.__getitem__), np.intp)
