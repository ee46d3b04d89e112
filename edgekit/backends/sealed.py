"""Records that lie beside what a backend built, with the SHA-256 of all of it: what was damaged is never run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from edgekit.errors import ArtifactError


def sealed(record: Mapping[str, Any], members: Mapping[str, bytes]) -> bytes:
    """Return a record as JSON, with the digests of the members that it lies beside."""
    digests = {name: _digest(content) for name, content in members.items()}
    return json.dumps({**record, "sha256": digests}, indent=2, sort_keys=True).encode()


def unsealed(engine: str, name: str, members: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the record of an engine.

    Args:
        engine: The engine's name, as the record has it under `engine`.
        name: The member that the record is.
        members: All members.

    Raises:
        ArtifactError: They are not those that the record was made with, or another engine's.
    """
    try:
        record = json.loads(members[name])
        digests = {member: _digest(content) for member, content in members.items() if member != name}
        fits = record["engine"] == engine and record["sha256"] == digests
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise ArtifactError(
            problem=f"{engine} cannot load what another engine's build gave, or what was damaged.",
            found=", ".join(sorted(members)) or "nothing",
            fix="Compile again for a target of this engine.",
        )
    return dict(record)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
