"""What a search measured, kept beside the calibration, so that a second compile gives the same bytes at once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edgekit import __version__
from edgekit.calibration.scales import sha256_of
from edgekit.output import new_file
from edgekit.placements import Origin, Times
from edgekit.profiling.machine import describe
from edgekit.schema import Strict
from edgekit.targets import Target
from edgekit.tuning.comparison import Comparison
from edgekit.tuning.groups import Group

SCHEMA_VERSION = 1
FOLDER = "placement"


class Key(Strict):
    """What times hold for: a record counts only where all of it is the same."""

    origin: Origin
    """`measured` on this machine, or `remote` on a board."""

    model_sha256: str
    """Of the Q/DQ model that the search starts from, and so of the calibration."""

    target: str
    target_sha256: str
    engine: str
    processor: str
    instruction_sets: tuple[str, ...]
    cores: int
    threads: int
    edgekit: str

    def changed(self, other: Key) -> list[str]:
        """Say in which fields another key differs, and how."""
        return [
            f"{name.replace('_', ' ')} was {_short(getattr(other, name))}, is {_short(getattr(self, name))}"
            for name in type(self).model_fields
            if getattr(self, name) != getattr(other, name)
        ]


class Result(Strict):
    """What the search came to, once it has."""

    kept: tuple[str, ...]
    groups: tuple[Group, ...]
    noise: float
    complete: bool
    seconds: float
    rules: Times
    placed: Times
    bf16: Times | None


class Record(Strict):
    """The content of a record: every comparison, and the result where the search was not interrupted."""

    schema_version: int = SCHEMA_VERSION
    key: Key
    seconds: float
    comparisons: tuple[Comparison, ...]
    result: Result | None


@dataclass(frozen=True)
class Where:
    """A machine that times are taken on, as a `Key` names it."""

    origin: Origin
    processor: str
    instruction_sets: tuple[str, ...]
    cores: int


def here() -> Where:
    """Return this machine."""
    machine = describe({})
    return Where("measured", machine.cpu, machine.isa, len(machine.affinity))


def key_of(model: bytes, target: Target, engine: str, threads: int, where: Where) -> Key:
    """Return what times of this model, target and engine hold for on a machine."""
    return Key(
        origin=where.origin,
        model_sha256=hashlib.sha256(model).hexdigest(),
        target=target.name,
        target_sha256=sha256_of(target.model_dump_json()),
        engine=engine,
        processor=where.processor,
        instruction_sets=where.instruction_sets,
        cores=where.cores,
        threads=threads,
        edgekit=__version__,
    )


def record_path(calibration: Path, key: Key) -> Path:
    """Return where the record lies in a calibration's folder: one for each target, number of threads and processor."""
    processor = re.sub(r"[^a-z0-9]+", "-", key.processor.lower()).strip("-")
    return calibration / FOLDER / f"{key.target}-{key.threads}-{key.origin}-{processor}.json"


def read_record(path: Path, key: Key) -> tuple[Record | None, str]:
    """Return the record of a key, or none and why there is none that counts; the reason is empty where none is there.

    A record that is damaged or of another key is never used, and no error: it is measured again.
    """
    try:
        record = Record.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError, ValidationError) as error:
        return None, f"{path} cannot be read ({type(error).__name__}), so it is measured again"
    changed = key.changed(record.key)
    if changed:
        return None, f"measured again, since {path.name} does not hold here: {'; '.join(changed)}"
    return record, ""


def write_record(path: Path, key: Key, seconds: float, found: Sequence[Comparison], result: Result | None) -> None:
    """Write a record in one go.

    Raises:
        OutputError: It cannot be written.
    """
    record = Record(key=key, seconds=round(seconds, 1), comparisons=tuple(found), result=result)
    with new_file(path, overwrite=True) as draft:
        draft.write_text(json.dumps(record.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 80 else f"{text[:12]}..."
