"""The schema of a ranker's fields, read from TOML.

name = "shop"
label = "clicked"
user = "user_id"
item = "item_id"

[[field]]
name = "item_id"
kind = "categorical"
side = "item"
dimension = 10
vocabulary = "items.txt"
hash_buckets = 64
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import model_validator

from edgekit.errors import UsageError
from edgekit.schema import Strict, parse, read_toml

Kind = Literal["categorical", "numerical", "multi", "sequence"]
Side = Literal["user", "item", "context"]

_OF_KIND: dict[str, tuple[Kind, ...]] = {
    "vocabulary": ("categorical", "multi", "sequence"),
    "hash_buckets": ("categorical", "multi", "sequence"),
    "max_length": ("multi", "sequence"),
    "pooling": ("multi", "sequence"),
    "separator": ("multi", "sequence"),
    "mean": ("numerical",),
    "std": ("numerical",),
    "clip": ("numerical",),
}
"""Keys that mean something for some kinds of field only."""


class Field(Strict):
    """One field: a column of the data, and an embedding table of its own.

    The rows of the table of a field with ids are: 0 for a missing value, then `hash_buckets` rows that ids out of the
    vocabulary are hashed into (one row for all of them where it is 0), then the vocabulary. The rows of a numerical
    field are: 0 for a missing value, 1 that the standardised value multiplies, 2 that is added to this.
    """

    name: str = pydantic.Field(min_length=1)
    kind: Kind
    side: Side = pydantic.Field(description="whom it tells of: the user, the candidate, or the moment of the request")
    dimension: int = pydantic.Field(ge=1, le=4096, description="length of its embedding")
    vocabulary: tuple[str, ...] = pydantic.Field(
        default=(), description="known ids; in TOML also the name of a text file beside it, with one id per line"
    )
    hash_buckets: int = pydantic.Field(default=0, ge=0, description="rows for unseen ids; 0: one row for all of them")
    max_length: int = pydantic.Field(default=16, ge=1, description="ids kept: the first of multi, the last of sequence")
    pooling: Literal["mean", "sum"] = pydantic.Field(default="mean", description="how several ids become one embedding")
    separator: str = pydantic.Field(default="|", min_length=1, description="between the ids where they come as a text")
    mean: float = 0.0
    std: float = pydantic.Field(default=1.0, gt=0)
    clip: float | None = pydantic.Field(default=None, gt=0, description="largest |standardised value|; absent: any")

    @model_validator(mode="after")
    def _is_of_its_kind(self) -> Field:
        for key in sorted(self.model_fields_set & _OF_KIND.keys()):
            if self.kind not in _OF_KIND[key]:
                message = f"'{self.name}' is {self.kind}, and '{key}' belongs to {' and '.join(_OF_KIND[key])} fields"
                raise ValueError(message)
        if "" in self.vocabulary:
            message = f"the vocabulary of '{self.name}' holds an empty id, which stands for a missing value"
            raise ValueError(message)
        if twice := _twice(self.vocabulary):
            message = f"the vocabulary of '{self.name}' holds '{twice}' twice"
            raise ValueError(message)
        return self

    @property
    def first_known(self) -> int:
        """The row of the vocabulary's first id."""
        return 1 + max(self.hash_buckets, 1)

    @property
    def rows(self) -> int:
        """Rows of the embedding table."""
        return 3 if self.kind == "numerical" else self.first_known + len(self.vocabulary)


class Schema(Strict):
    """All fields of a ranker, in the order in which their embeddings lie side by side."""

    name: str = pydantic.Field(min_length=1)
    label: str = pydantic.Field(default="", description="column with 1 for what the user took and 0 for what not")
    user: str = pydantic.Field(default="", description="column that says who the user is; need not be a field")
    item: str = pydantic.Field(default="", description="column that names the candidate; need not be a field")
    field: tuple[Field, ...] = pydantic.Field(min_length=1)

    @model_validator(mode="after")
    def _names_do_not_clash(self) -> Schema:
        names = [field.name for field in self.field]
        if twice := _twice(names):
            message = f"two fields are named '{twice}'"
            raise ValueError(message)
        if self.label and self.label in names:
            message = f"the label '{self.label}' is a field as well, so that the model would be told the answer"
            raise ValueError(message)
        for key, side in (("user", "user"), ("item", "item")):
            for field in self.field:
                if field.name == getattr(self, key) and field.side != side:
                    message = f"{key} = '{field.name}', but the field '{field.name}' has the side '{field.side}'"
                    raise ValueError(message)
        if self.user and self.user == self.item:
            message = f"user and item are both '{self.user}'"
            raise ValueError(message)
        return self

    @property
    def width(self) -> int:
        """Length of all fields' embeddings side by side."""
        return sum(field.dimension for field in self.field)

    @property
    def offsets(self) -> dict[str, int]:
        """Field to the place where its embedding starts within `width`."""
        found, start = {}, 0
        for field in self.field:
            found[field.name] = start
            start += field.dimension
        return found

    def of_side(self, *sides: Side) -> tuple[Field, ...]:
        """Return the fields of some sides."""
        return tuple(field for field in self.field if field.side in sides)


def read_schema(path: str | Path) -> Schema:
    """Read a schema from a TOML file.

    Raises:
        UsageError: The file or a vocabulary beside it is missing or not valid; the message names file, key and the
            known keys.
    """
    path = Path(path)
    data = read_toml(path)
    fields = data.get("field")
    for entry in fields if isinstance(fields, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("vocabulary"), str):
            entry["vocabulary"] = _read_vocabulary(path, entry["vocabulary"])
    return parse(Schema, data, str(path))


def _read_vocabulary(schema: Path, name: str) -> tuple[Any, ...]:
    file = schema.parent / name
    try:
        return tuple(file.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            problem=f"{schema}: the vocabulary {file} cannot be read.",
            found=str(error.strerror if isinstance(error, OSError) else error),
            fix="Write it beside the schema, in UTF-8, with one id per line.",
        ) from error


def _twice(values: Sequence[str]) -> str:
    """Return the first value that is there more than once, or nothing."""
    return next((value for value, count in Counter(values).items() if count > 1), "")
