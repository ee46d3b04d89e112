"""From the values of fields to rows of embedding tables and standardised numbers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.features.hashing import fnv1a
from edgekit.features.schema import Field, Schema

MISSING = 0
"""The row of a missing value."""


@dataclass(frozen=True)
class Encoded:
    """The values of one field.

    Attributes:
        ids: Rows of the field's table, int32: (N) for categorical; (N, L) for multi and sequence, with 0 behind each
            value's end, where L is the longest that occurs; (N) for numerical, 1 where there is a value, 0 where not.
        lengths: (N) int32, how many of the L count; at least 1, since no id at all is one missing id. None for the
            other kinds.
        values: (N) float32, standardised and clipped, 0 where missing. None for the other kinds.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32] | None = None
    values: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.ids)


class Encoder:
    """Turns columns into rows of tables.

    A value is missing where it is None, NaN or an empty text, and everywhere where its column is absent. An id may be
    a text, an integer, a float without a fraction (7.0 is the id "7") or a bool ("true", "false"). Several ids are a
    sequence, or a text with the field's separator between them.

    Args:
        schema: The fields.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._fields = {field.name: field for field in schema.field}
        self._known = {
            field.name: {text: row for row, text in enumerate(field.vocabulary, field.first_known)}
            for field in schema.field
            if field.kind != "numerical"
        }

    def rows(self, field: str) -> int:
        """Return how many rows a field's table has."""
        one = self._fields[field]
        return one.rows if one.kind == "numerical" else one.first_known + len(self._known[field])

    def row(self, field: str, value: Any) -> int:
        """Return the row of one id.

        Raises:
            DataError: It cannot be an id.
        """
        return self._row(self._fields[field], value, {})

    def with_ids(self, ids: Mapping[str, Sequence[str]]) -> Encoder:
        """Return an encoder in which these ids of fields have rows of their own, new ones behind the last."""
        grown = copy(self)
        grown._known = dict(self._known)
        for field, texts in ids.items():
            known = dict(self._known[field])
            for text in texts:
                known.setdefault(text, self._fields[field].first_known + len(known))
            grown._known[field] = known
        return grown

    def encode(
        self,
        columns: Mapping[str, Sequence[Any] | NDArray[Any]],
        fields: Collection[str] | None = None,
        rows: int | None = None,
    ) -> dict[str, Encoded]:
        """Encode columns of equal length.

        Args:
            columns: Column name to values. Columns that are no field are left alone.
            fields: The fields to encode; absent: all.
            rows: The length of the columns, for where none of them may be there.

        Returns:
            Field name to what it holds, in the schema's order.

        Raises:
            DataError: The columns differ in length, or a value cannot be one of its field; the message names field
                and row.
        """
        wanted = [field for field in self.schema.field if fields is None or field.name in fields]
        lengths = {field.name: len(columns[field.name]) for field in wanted if field.name in columns}
        count = rows if rows is not None else next(iter(lengths.values()), 0)
        if uneven := [name for name, length in lengths.items() if length != count]:
            raise DataError(
                problem="The columns are not of the same length.",
                found=f"'{uneven[0]}' has {lengths[uneven[0]]} values where {count} are expected",
                fix="Give every column one value per row; None where it is missing.",
            )
        return {field.name: self._encode(field, columns.get(field.name), count) for field in wanted}

    def _encode(self, field: Field, values: Sequence[Any] | NDArray[Any] | None, count: int) -> Encoded:
        if field.kind == "numerical":
            return _numbers(field, values, count)
        seen: dict[Any, int] = {}
        if field.kind == "categorical":
            if values is None:
                return Encoded(np.zeros(count, np.int32))
            listed = values.tolist() if isinstance(values, np.ndarray) else values
            try:
                found = [seen[value] if value in seen else self._row(field, value, seen) for value in listed]
            except (DataError, TypeError) as error:
                raise self._blame(field, listed) from error
            return Encoded(np.array(found, np.int32).reshape(count))
        rows = [[MISSING]] * count if values is None else [self._rows(field, value, seen) for value in values]
        lengths = np.array([len(row) for row in rows], np.int32).reshape(count)
        ids = np.full((count, int(lengths.max(initial=1))), MISSING, np.int32)
        ids[np.arange(ids.shape[1]) < lengths[:, None]] = [row for several in rows for row in several]
        return Encoded(ids, lengths)

    def _rows(self, field: Field, value: Any, seen: dict[Any, int]) -> list[int]:
        """Return the rows of one value of a field with several ids."""
        if isinstance(value, str):
            value = value.split(field.separator)
        elif _is_missing(value):
            return [MISSING]
        elif isinstance(value, np.ndarray):
            value = value.tolist()
        if not isinstance(value, list | tuple):
            raise _not_an_id(field, value, "a list of ids, or a text with the separator between them")
        kept = [each for each in value if not _is_missing(each)]
        kept = kept[: field.max_length] if field.kind == "multi" else kept[-field.max_length :]
        return [self._row(field, each, seen) for each in kept] or [MISSING]

    def _row(self, field: Field, value: Any, seen: dict[Any, int]) -> int:
        if _is_missing(value):
            return MISSING
        text = text_of(value)
        if text is None:
            raise _not_an_id(field, value, "a text or an integer")
        row = self._known[field.name].get(text)
        if row is None:
            row = 1 + (fnv1a(text) % field.hash_buckets if field.hash_buckets else 0)
        # True and 1 are equal as keys, and so are 1 and 1.0; only the first two are different ids.
        if not isinstance(value, bool) and value != 1 and value != 0:
            seen[value] = row
        return row

    def _blame(self, field: Field, values: Sequence[Any]) -> DataError:
        """Return the error of the first value that cannot be an id, with its row."""
        for index, value in enumerate(values):
            try:
                self._row(field, value, {})
            except (DataError, TypeError):
                return _not_an_id(field, value, "a text or an integer", index)
        raise AssertionError(field.name)  # encoding failed, so one of them does


def text_of(value: Any) -> str | None:
    """Return the text that stands for an id, or None for what cannot be one."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return None


def _is_missing(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, str) and not value)
        or (isinstance(value, float | np.floating) and math.isnan(value))
    )


def _numbers(field: Field, values: Sequence[Any] | NDArray[Any] | None, count: int) -> Encoded:
    if values is None:
        return Encoded(np.zeros(count, np.int32), values=np.zeros(count, np.float32))
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        numbers = values.astype(np.float64).reshape(count)
    else:
        numbers = np.array([_number(field, value, row) for row, value in enumerate(values)], np.float64).reshape(count)
    present = ~np.isnan(numbers)
    scaled = (numbers - field.mean) / field.std
    if field.clip is not None:
        scaled = np.clip(scaled, -field.clip, field.clip)
    with np.errstate(over="ignore"):
        standardised = np.where(present, scaled, 0.0).astype(np.float32)
    if infinite := np.flatnonzero(~np.isfinite(standardised)).tolist():
        raise _not_a_number(field, values[infinite[0]], infinite[0])
    return Encoded(present.astype(np.int32), values=standardised)


def _number(field: Field, value: Any, row: int) -> float:
    if _is_missing(value):
        return math.nan
    try:
        if isinstance(value, str | int | float | np.number | np.bool_):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise _not_a_number(field, value, row)


def _not_a_number(field: Field, value: Any, row: int) -> DataError:
    return DataError(
        problem=f"A value of the numerical field '{field.name}' is no finite number.",
        found=f"{value!r} ({type(value).__name__}) in row {row}",
        fix="Give a number, or None where it is missing; with `clip` in the schema, infinity is clipped.",
    )


def _not_an_id(field: Field, value: Any, wanted: str, row: int | None = None) -> DataError:
    where = "" if row is None else f" in row {row}"
    return DataError(
        problem=f"A value of the {field.kind} field '{field.name}' is no id.",
        found=f"{value!r} ({type(value).__name__}){where}",
        fix=f"Give {wanted}, or None where it is missing.",
    )
