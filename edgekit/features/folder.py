"""The folder `*.features`: a schema with its embedding tables; the same content gives the same bytes.

    schema.json         the schema without its vocabularies, and what the tables are
    vocabularies.z      zlib: a JSON list with the vocabulary of every field; one of integers, whose texts are plain, as
                        {"steps": [the first, and how much each following one is more]}
    tables.bin          for every field: its rows, then its scales; float32 is little-endian

`schema.json` says where in `tables.bin` a table starts. A browser reads all three without a library.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from edgekit.errors import ArtifactError, UsageError
from edgekit.features.order import as_integers
from edgekit.features.schema import Schema
from edgekit.features.tables import Bits, Table, quantize_table
from edgekit.output import new_folder
from edgekit.schema import Strict, parse

SCHEMA_VERSION = 1
DESCRIPTION, VOCABULARIES, TABLES = "schema.json", "vocabularies.z", "tables.bin"
MEMBERS = (DESCRIPTION, VOCABULARIES, TABLES)
_DTYPES: dict[int, str] = {32: "<f4", 8: "<i1", 4: "<u1"}


class TableRecord(Strict):
    """Where a table lies in tables.bin, and how it is read."""

    bits: Bits
    rows: int = pydantic.Field(ge=1)
    exponent: int
    start: int = pydantic.Field(ge=0)


class Description(Strict):
    """The content of schema.json."""

    schema_version: int = SCHEMA_VERSION
    fields: dict[str, Any] = pydantic.Field(description="the schema as its TOML has it, without vocabularies")
    tables: tuple[TableRecord, ...] = pydantic.Field(description="in the order of the fields")
    update_key: str = pydantic.Field(default="", description="Ed25519 public key of whoever may change rows, hex")


@dataclass(frozen=True)
class Features:
    """A schema and its tables.

    Attributes:
        schema: The fields.
        tables: Field name to table.
        identity: SHA-256 over the content, hexadecimal; what an update names.
        update_key: Ed25519 public key of whoever may change rows; empty: nobody.
    """

    schema: Schema
    tables: Mapping[str, Table]
    identity: str
    update_key: bytes = b""


def write_features(
    folder: str | Path,
    schema: Schema,
    tables: Mapping[str, NDArray[np.floating[Any]]],
    bits: Bits | Mapping[str, Bits] = 8,
    update_key: bytes = b"",
    overwrite: bool = False,
) -> Features:
    """Quantize embedding tables and write them with their schema.

    Args:
        folder: The folder to make, by custom `NAME.features`.
        schema: The fields.
        tables: Field name to (rows, dimension) float32, as many rows as `Encoder.rows` says.
        bits: 32, 8 or 4: of every table, or field by field.
        update_key: The 32 bytes of the Ed25519 public key whose deltas are accepted; absent: none are.
        overwrite: Whether an older folder may be replaced.

    Raises:
        UsageError: A table is missing, or is not of its field's shape.
        OutputError: The folder exists or cannot be written.
    """
    _check_tables(schema, tables)
    if len(update_key) not in (0, 32):
        raise UsageError(
            problem="The update key is no Ed25519 public key.",
            found=f"{len(update_key)} bytes",
            fix="Give the 32 raw bytes of the public key.",
        )
    chosen = {field.name: bits[field.name] if isinstance(bits, Mapping) else bits for field in schema.field}
    made = {name: quantize_table(tables[name], width) for name, width in chosen.items()}
    members = pack_features(schema, made, update_key)
    with new_folder(folder, overwrite) as draft:
        for name, content in members.items():
            (draft / name).write_bytes(content)
    return unpack_features(members, str(folder))


def read_features(folder: str | Path) -> Features:
    """Read a folder that `write_features` wrote.

    Raises:
        ArtifactError: It is missing, damaged, or of a newer version.
    """
    return unpack_features(features_members(folder), str(folder))


def features_members(folder: str | Path) -> dict[str, bytes]:
    """Return the files of a features folder by name.

    Raises:
        ArtifactError: One is missing.
    """
    folder = Path(folder)
    try:
        return {name: (folder / name).read_bytes() for name in MEMBERS}
    except OSError as error:
        raise ArtifactError(
            problem=f"{folder} holds no features.",
            found=f"{error.filename}: {error.strerror}",
            fix="Give the folder that `write_features` made, by custom NAME.features.",
        ) from error


def pack_features(schema: Schema, tables: Mapping[str, Table], update_key: bytes = b"") -> dict[str, bytes]:
    """Return the files of a features folder by name."""
    blob, records = bytearray(), []
    for field in schema.field:
        table = tables[field.name]
        blob += b"\0" * (-len(blob) % 4)
        records.append(TableRecord(bits=table.bits, rows=table.rows, exponent=table.exponent, start=len(blob)))
        blob += table.data.astype(_DTYPES[table.bits]).tobytes() + table.scales.tobytes()
    plain = schema.model_dump(mode="json", exclude_unset=True)
    for entry in plain["field"]:
        entry.pop("vocabulary", None)
    description = Description(fields=plain, tables=tuple(records), update_key=update_key.hex())
    packed = [_packed(field.vocabulary) for field in schema.field]
    vocabularies = json.dumps(packed, ensure_ascii=False, separators=(",", ":"))
    return {
        DESCRIPTION: json.dumps(description.model_dump(mode="json"), separators=(",", ":")).encode(),
        VOCABULARIES: zlib.compress(vocabularies.encode("utf-8", "surrogatepass"), 9),
        TABLES: bytes(blob),
    }


def unpack_features(members: Mapping[str, bytes], source: str) -> Features:
    """Return the features that these files hold; `source` names them in errors.

    Raises:
        ArtifactError: They are damaged, or of a newer version.
    """
    try:
        data = json.loads(members[DESCRIPTION])
        vocabularies = json.loads(zlib.decompress(members[VOCABULARIES]).decode("utf-8", "surrogatepass"))
    except (ValueError, zlib.error) as error:
        raise _damaged(source, str(error)) from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ArtifactError(
            problem=f"{source} was written by a newer EdgeKit.",
            found=f"schema version {version}; this one reads {SCHEMA_VERSION}",
            fix="Update EdgeKit, or write the features again with this version.",
        )
    description = parse(Description, data, f"{source}: {DESCRIPTION}", ArtifactError)
    schema = _schema_of(description.fields, vocabularies, source)
    if len(description.tables) != len(schema.field):
        raise _damaged(source, f"{len(description.tables)} tables for {len(schema.field)} fields")
    tables = {
        field.name: _table_of(record, field.dimension, field.rows, members[TABLES], f"{source}: {field.name}")
        for field, record in zip(schema.field, description.tables, strict=True)
    }
    digest = hashlib.sha256(b"".join(hashlib.sha256(members[name]).digest() for name in MEMBERS)).hexdigest()
    try:
        key = bytes.fromhex(description.update_key)
    except ValueError as error:
        raise _damaged(source, str(error)) from error
    return Features(schema, tables, digest, key)


def _packed(vocabulary: tuple[str, ...]) -> Any:
    numbers = as_integers(vocabulary)
    if not numbers:
        return vocabulary
    return {"steps": [numbers[0], *(two - one for one, two in pairwise(numbers))]}


def _unpacked(packed: Any, source: str) -> list[Any]:
    """Return a vocabulary; what is no text in it the schema refuses."""
    steps = packed.get("steps") if isinstance(packed, dict) else None
    if isinstance(steps, list) and all(isinstance(step, int) for step in steps):
        return [str(number) for number in accumulate(steps)]
    if not isinstance(packed, list):
        raise _damaged(source, "a vocabulary that is none")
    return packed


def _schema_of(fields: dict[str, Any], vocabularies: Any, source: str) -> Schema:
    entries = fields.get("field")
    whole = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    if not whole or not isinstance(vocabularies, list) or len(vocabularies) != len(entries or []):
        raise _damaged(source, "the vocabularies do not belong to the fields")
    filled = [
        {**entry, "vocabulary": words} if (words := _unpacked(packed, source)) else entry
        for entry, packed in zip(entries or [], vocabularies, strict=True)
    ]
    return parse(Schema, {**fields, "field": filled}, f"{source}: {DESCRIPTION}", ArtifactError)


def _table_of(record: TableRecord, dimension: int, rows: int, blob: bytes, source: str) -> Table:
    columns = (dimension + 1) // 2 if record.bits == 4 else dimension
    dtype = np.dtype(_DTYPES[record.bits])
    scales = 0 if record.bits == 32 else record.rows
    middle = record.start + record.rows * columns * dtype.itemsize
    if record.rows != rows or middle + scales > len(blob) or record.start % 4 or not -149 <= record.exponent <= 127:
        raise _damaged(source, f"{record.rows} rows of {record.bits} bit where the schema has {rows}")
    data = np.frombuffer(blob, dtype, record.rows * columns, record.start).reshape(record.rows, columns)
    if record.bits == 32 and not np.isfinite(data).all():
        raise _damaged(source, "values that are not finite")
    native = data.astype(dtype.newbyteorder("="))
    return Table(record.bits, dimension, native, np.frombuffer(blob, np.uint8, scales, middle).copy(), record.exponent)


def _check_tables(schema: Schema, tables: Mapping[str, NDArray[np.floating[Any]]]) -> None:
    names = {field.name for field in schema.field}
    if odd := sorted(names ^ set(tables)):
        missing = odd[0] in names
        raise UsageError(
            problem=f"There is {'no table for the field' if missing else 'a table for no field:'} '{odd[0]}'.",
            found=f"fields: {', '.join(sorted(names))}; tables: {', '.join(sorted(tables))}",
            fix="Give one table for every field of the schema.",
        )
    for field in schema.field:
        wanted, found = (field.rows, field.dimension), np.shape(tables[field.name])
        if found != wanted:
            raise UsageError(
                problem=f"The table of '{field.name}' is not of its field's shape.",
                found=f"{' x '.join(map(str, found))}; the schema says {wanted[0]} rows of {wanted[1]}",
                fix="Train with as many rows as Encoder(schema).rows(field) says.",
            )


def float_size(schema: Schema) -> int:
    """Return the bytes that all tables of a schema take in float32."""
    return sum(4 * field.rows * field.dimension for field in schema.field)


def _damaged(source: str, found: str) -> ArtifactError:
    return ArtifactError(
        problem=f"The features {source} are damaged.", found=found, fix="Write them again, or copy them here again."
    )
