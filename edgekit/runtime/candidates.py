"""Candidates of a request: rows or columns of values, encoded as they are needed, or a catalogue encoded before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.features.encode import Encoded, Encoder
from edgekit.features.schema import Schema
from edgekit.resources import nearest

Values = Sequence[Any] | NDArray[Any]
Places = NDArray[np.intp]


class Candidates(Protocol):
    """What is ranked."""

    @property
    def ids(self) -> Sequence[Any]:
        """What names each candidate: the values of the schema's item column, or places from 0 where there is none."""
        ...

    @property
    def places(self) -> Places:
        """The places of those that are ranked: of candidates with the same id the first."""
        ...

    def encoded(self, places: Places) -> dict[str, Encoded]:
        """Return the item fields of some candidates."""
        ...


class Columns:
    """Candidates as columns of values.

    Attributes:
        ids: What names each candidate.
        places: The places of those that are ranked.
    """

    def __init__(self, schema: Schema, encoder: Encoder, columns: Mapping[str, Values]) -> None:
        check_fields(schema, columns, "candidates")
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(
                problem="The candidates' columns are not of the same length.",
                found=", ".join(f"{name} {length}" for name, length in lengths.items()),
                fix="Give every column one value per candidate; None where it is missing.",
            )
        self._columns, self._encoder = columns, encoder
        self._fields = [field.name for field in schema.of_side("item")]
        count = next(iter(lengths.values()), 0)
        named = columns[schema.item] if schema.item in columns else range(count)
        self.ids: Sequence[Any] = named.tolist() if isinstance(named, np.ndarray) else named
        self.places = _first_of_each(self.ids)

    def encoded(self, places: Places) -> dict[str, Encoded]:
        """Encode the item fields of some candidates."""
        chosen = {name: _taken(values, places) for name, values in self._columns.items() if name in self._fields}
        return self._encoder.encode(chosen, self._fields, len(places))


class Catalogue:
    """Candidates that were encoded once, for many requests; what `Ranker.catalogue` returns.

    Attributes:
        ids: What names each candidate.
        places: The places of those that are ranked.
        version: How many updates the ranker had when they were encoded.
    """

    def __init__(self, ids: Sequence[Any], fields: Mapping[str, Encoded], version: int) -> None:
        self.ids = ids
        self.version = version
        self.places = _first_of_each(ids)
        self._fields = fields
        self._place_of = {ids[place]: place for place in self.places.tolist()}

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, ids: Sequence[Any]) -> Catalogue:
        """Return the candidates with these ids, in their order.

        Raises:
            DataError: The catalogue lacks one.
        """
        try:
            places = np.array([self._place_of[each] for each in ids], np.intp)
        except (KeyError, TypeError) as error:
            raise DataError(
                problem="The catalogue lacks a candidate.",
                found=str(error),
                fix="Make the catalogue of all candidates that may be asked for.",
            ) from error
        return Catalogue(list(ids), self.encoded(places), self.version)

    def encoded(self, places: Places) -> dict[str, Encoded]:
        """Return the item fields of some candidates."""
        return {
            name: Encoded(
                one.ids[places],
                None if one.lengths is None else one.lengths[places],
                None if one.values is None else one.values[places],
            )
            for name, one in self._fields.items()
        }


def candidates_of(schema: Schema, encoder: Encoder, given: Any) -> Candidates:
    """Return what a request was given as candidates.

    Args:
        schema: The fields.
        encoder: Encodes them.
        given: A catalogue, columns by name, or a sequence of mappings from column to value.

    Raises:
        DataError: It is none of them, or names what is no field of a candidate.
    """
    if isinstance(given, Catalogue):
        return given
    if isinstance(given, Mapping):
        return Columns(schema, encoder, given)
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        names: dict[str, None] = {}
        for place, row in enumerate(given):
            if not isinstance(row, Mapping):
                raise DataError(
                    problem="A candidate is no mapping from field to value.",
                    found=f"{row!r} ({type(row).__name__}) at place {place}",
                    fix="Give every candidate as {'field': value, ...}; ids alone are ranked from a catalogue: "
                    "ranker.catalogue(items).only(ids).",
                )
            names.update(dict.fromkeys(row))
        columns = Columns(schema, encoder, {name: [row.get(name) for row in given] for name in names})
        return columns if names or not given else Columns(schema, encoder, {schema.field[0].name: []})
    raise DataError(
        problem="These are no candidates.",
        found=type(given).__name__,
        fix="Give a sequence of mappings, a mapping from column to values, or what ranker.catalogue returned.",
    )


def check_fields(schema: Schema, given: Mapping[str, Any], of: str) -> None:
    """Check that only fields of the right side are named: a misspelt one would be missing everywhere.

    Args:
        schema: The fields.
        given: What is named.
        of: `user` or `candidates`.

    Raises:
        DataError: A name is no field, or a field of the other.
    """
    sides = {field.name: field.side for field in schema.field}
    free = {schema.user} if of == "user" else {schema.item, schema.label}
    for name in given:
        known = [each for each, side in sides.items() if (side == "item") == (of == "candidates")]
        if name in free or name in known:
            continue
        if name in sides:
            raise DataError(
                problem=f"'{name}' does not tell of the {of}.",
                found=f"a field of the {sides[name]}",
                fix=f"Give it with the {'candidates' if of == 'user' else 'user'}.",
            )
        raise DataError(
            problem=f"'{name}' is no field of the {of}.",
            found=f"fields: {', '.join(known) or 'none'}",
            fix=f"{nearest(str(name), known)}Leave out what the ranker does not read.",
        )


def _taken(values: Values, places: Places) -> Values:
    if isinstance(values, np.ndarray):
        taken: NDArray[Any] = values[places]
        return taken
    return [values[place] for place in places.tolist()]


def _first_of_each(ids: Sequence[Any]) -> Places:
    """Return the place of the first candidate of each id; candidates without an id are all there."""
    if isinstance(ids, range):
        return np.arange(len(ids))
    seen: set[Any] = set()
    places = []
    for place, each in enumerate(ids):
        try:
            if each is None or each not in seen:
                places.append(place)
                seen.add(each)
        except TypeError as error:
            raise DataError(
                problem="A candidate's id is none.",
                found=f"{each!r} ({type(each).__name__}) at place {place}",
                fix="Give a text or an integer.",
            ) from error
    return np.array(places, np.intp)
