"""Strict, frozen data that is read from TOML and JSON, with errors a person can act on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.errors import EdgekitError, UsageError
from edgekit.resources import nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Strict(BaseModel):
    """Base of every schema: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Schema = TypeVar("Schema", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: The file is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(problem=f"{path} cannot be read.", found=str(error.strerror)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            problem=f"{path} is not valid TOML.", found=str(error), fix="Mend the line that is named."
        ) from error


def parse(schema: type[Schema], data: Any, source: str, error: type[EdgekitError] = UsageError) -> Schema:
    """Validate `data` against `schema`.

    Args:
        schema: The expected shape.
        data: Parsed TOML or JSON.
        source: The file, as it is named in the message.
        error: The error to raise.

    Raises:
        EdgekitError: Of the class `error`, naming the file, the key and what is known or expected there.
    """
    try:
        return schema.model_validate(data)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        # A misspelt key is reported twice, as missing and as unknown; only the second says what to mend.
        first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
        key = _key(data, first["loc"])
        if first["type"] == "union_tag_not_found":
            key = f"{key}.{first['ctx']['discriminator'].strip(chr(39))}"
        if first["type"] in ("missing", "union_tag_not_found"):
            raise error(problem=f"{source}: key '{key}' is missing.", fix=f"Add '{key}'.") from invalid
        if first["type"] == "extra_forbidden":
            known = _known_keys(schema, first["loc"][:-1])
            raise error(
                problem=f"{source}: unknown key '{key}'.",
                found=f"Known keys here: {', '.join(known)}." if known else "",
                fix=f"{nearest(str(first['loc'][-1]), known)}Remove the key or correct its name.",
            ) from invalid
        raise error(
            problem=f"{source}: key '{key}' is not valid: {first['msg'].removeprefix('Value error, ')}.",
            found=_shorten(first.get("input")),
            fix=f"Correct '{key}'.",
        ) from invalid


def _key(data: Any, location: tuple[int | str, ...]) -> str:
    """Return the key at `location` as the file has it: items of a list by number, without the tags of unions."""
    key = ""
    for depth, part in enumerate(location, start=1):
        holds = part in data if isinstance(data, dict) else isinstance(data, list) and part in range(len(data))
        if isinstance(part, str) and not holds and depth < len(location):
            continue  # No key but the tag of a union, which the file has as a value.
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
        data = data[part] if holds else None
    return key or "(all)"


def _known_keys(schema: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the field names at `location`, found by walking the annotations."""
    candidates: list[type[BaseModel]] = [schema]
    for part in location:
        following: list[type[BaseModel]] = []
        for candidate in candidates:
            field = candidate.model_fields.get(str(part))
            following.extend(_models_in(field.annotation) if field else [])
        # An index into a list, or the tag of a union, is no field: the candidates stay what they are.
        tagged = [candidate for candidate in candidates if _has_tag(candidate, part)]
        candidates = following or tagged or candidates
    return sorted({name for candidate in candidates for name in candidate.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments = getattr(annotation, "__args__", ())
    return [model for argument in arguments for model in _models_in(argument)]


def _has_tag(model: type[BaseModel], tag: int | str) -> bool:
    return any(tag in getattr(field.annotation, "__args__", ()) for field in model.model_fields.values())


def _shorten(value: Any, length: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."
