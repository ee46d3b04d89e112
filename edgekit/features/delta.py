"""Signed updates of embedding rows: new ids and new values for a ranker that is already on the device.

A delta is one file:

    8 bytes      EKDELTA1
    4 bytes      length of the header, little-endian
    header       JSON: identity of the features that it belongs to, its number, and per field the ids that follow
    rows         float32, little-endian: the fields in the header's order, each id's row after the other
    64 bytes     Ed25519 signature of all bytes before it (RFC 8032)

Deltas of one features folder are numbered from 1 and applied in that order. One that was made for other features, that
comes again or out of turn, or that was changed or signed by somebody else changes nothing and is an error.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from edgekit.errors import ArtifactError, UsageError
from edgekit.features.folder import Features
from edgekit.features.schema import Schema
from edgekit.output import new_file
from edgekit.schema import Strict, parse

MAGIC = b"EKDELTA1"
_LENGTH = struct.Struct("<I")
_SIGNATURE = 64

Rows = Mapping[str, Mapping[str, NDArray[np.floating[Any]] | Sequence[float]]]
"""Field name to id to its new row."""


class Header(Strict):
    """What a delta holds."""

    schema_version: int = 1
    features: str = pydantic.Field(description="identity of the features that it belongs to")
    number: int = pydantic.Field(ge=1, description="1 for the first delta of these features")
    ids: dict[str, tuple[str, ...]] = pydantic.Field(description="field to the ids whose rows follow")


@dataclass(frozen=True)
class Delta:
    """A delta whose signature was found right.

    Attributes:
        number: Its place among the deltas of its features, from 1.
        rows: Field to id to the new row, float32.
    """

    number: int
    rows: Mapping[str, Mapping[str, NDArray[np.float32]]]


def new_key() -> tuple[bytes, bytes]:
    """Return a new private key and its public key, 32 bytes each.

    The private key signs deltas and stays with whoever trains; `write_features` takes the public one.

    Raises:
        ModuleNotFoundError: The package cryptography is not installed.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    return key.private_bytes_raw(), key.public_key().public_bytes_raw()


def write_delta(
    path: str | Path, features: Features, rows: Rows, number: int, private_key: bytes, overwrite: bool = False
) -> None:
    """Write and sign a delta.

    Args:
        path: The file to write.
        features: The features that it belongs to, as they were before any delta.
        rows: New rows; ids that the vocabulary lacks become part of it.
        number: 1 for the first delta of these features, 2 for the next.
        private_key: The 32 bytes whose public key the features name.
        overwrite: Whether an older file may be replaced.

    Raises:
        UsageError: A field, a row or the key is not one of these features.
        OutputError: The file exists, or cannot be written.
        ModuleNotFoundError: The package cryptography is not installed.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(private_key)
    if key.public_key().public_bytes_raw() != features.update_key:
        raise UsageError(
            problem="Deltas of these features are signed with another key.",
            found="no update key in them" if not features.update_key else f"theirs is {features.update_key.hex()}",
            fix="Sign with the private key of the public one that `write_features` was given as update_key.",
        )
    header = Header(
        features=features.identity, number=number, ids={field: tuple(found) for field, found in rows.items()}
    )
    body = b"".join(
        _row(features.schema, field, text, values).tobytes() for field in rows for text, values in rows[field].items()
    )
    text = json.dumps(header.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":")).encode()
    content = MAGIC + _LENGTH.pack(len(text)) + text + body
    with new_file(path, overwrite) as draft:
        draft.write_bytes(content + key.sign(content))


def read_delta(path: str | Path, features: Features, applied: int) -> Delta:
    """Read a delta and check that it is the next one of these features.

    Args:
        path: The file.
        features: The features, as they were before any delta.
        applied: How many deltas were applied to them so far.

    Raises:
        ArtifactError: It is damaged, unsigned, signed by somebody else, foreign, or not the next one.
        ModuleNotFoundError: The package cryptography is not installed.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(problem=f"The delta {path} cannot be read.", found=str(error.strerror)) from error
    content = data[:-_SIGNATURE]
    if not content.startswith(MAGIC) or len(content) < len(MAGIC) + _LENGTH.size:
        raise ArtifactError(
            problem=f"{path} is no delta.", found=repr(data[:8]), fix="Give a file that `write_delta` wrote."
        )
    _check_signature(path, content, data[-_SIGNATURE:], features.update_key)
    # Nothing is read of what is not signed: from here on, the file is what its author wrote.
    start = len(MAGIC) + _LENGTH.size
    end = start + _LENGTH.unpack(content[len(MAGIC) : start])[0]
    header = parse(Header, json.loads(content[start:end]), f"{path}: header", ArtifactError)
    if header.features != features.identity:
        raise ArtifactError(
            problem=f"The delta {path} belongs to other features.",
            found=f"it is for {header.features[:16]}..., these are {features.identity[:16]}...",
            fix="Make a delta for the features that this bundle was compiled with, or ship a new bundle.",
        )
    if header.number != applied + 1:
        older = header.number <= applied
        raise ArtifactError(
            problem=f"The delta {path} is {'older than what is there' if older else 'not the next one'}.",
            found=f"number {header.number}, and {applied} {'was' if applied == 1 else 'were'} applied",
            fix="It is applied already: leave it out." if older else f"Apply number {applied + 1} first.",
        )
    return Delta(header.number, _rows(features.schema, header, content[end:], str(path)))


def _check_signature(path: str | Path, content: bytes, signature: bytes, key: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not key:
        raise ArtifactError(
            problem="These features take no deltas.",
            found="no update key in them",
            fix="Write the features with update_key = the public key of whoever may change rows.",
        )
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, content)
    except InvalidSignature as error:
        raise ArtifactError(
            problem=f"The delta {path} is not signed by whoever may change these features.",
            found="a signature that does not fit its content and the update key",
            fix="Fetch it again; if it stays so, it was changed on its way or signed with another key.",
        ) from error


def _rows(schema: Schema, header: Header, body: bytes, source: str) -> dict[str, dict[str, NDArray[np.float32]]]:
    dimensions = {field.name: field.dimension for field in schema.field}
    if unknown := sorted(header.ids.keys() - dimensions.keys()):
        raise ArtifactError(problem=f"{source} has rows for '{unknown[0]}', which is no field of these features.")
    counts = [len(ids) * dimensions[field] for field, ids in header.ids.items()]
    if len(body) != 4 * sum(counts):
        raise ArtifactError(problem=f"{source} is damaged.", found=f"{len(body)} bytes of rows, not {4 * sum(counts)}")
    values, found, start = np.frombuffer(body, "<f4"), {}, 0
    for (field, ids), count in zip(header.ids.items(), counts, strict=True):
        rows = values[start : start + count].reshape(len(ids), dimensions[field]).astype(np.float32)
        found[field] = dict(zip(ids, rows, strict=True))
        start += count
    return found


def _row(schema: Schema, field: str, text: str, values: Any) -> NDArray[np.float32]:
    known = {each.name: each for each in schema.field if each.kind != "numerical"}
    if field not in known:
        raise UsageError(
            problem=f"'{field}' is no field with ids.", found=f"fields with ids: {', '.join(known) or 'none'}"
        )
    row = np.asarray(values, "<f4")
    if row.shape != (known[field].dimension,) or not np.isfinite(row).all() or not text:
        raise UsageError(
            problem=f"The row of '{text}' in the field '{field}' is not one.",
            found=f"an array {row.shape}, {'finite' if np.isfinite(row).all() else 'not finite'}",
            fix=f"Give {known[field].dimension} finite numbers for an id that is not empty.",
        )
    return row
