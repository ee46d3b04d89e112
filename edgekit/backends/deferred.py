"""Engines that are built on the board: what goes there, and what to say to someone who wants to run them here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.backends.base import Build
from edgekit.backends.sealed import sealed, unsealed
from edgekit.errors import ModelError, TargetError, UsageError
from edgekit.targets import Target

RECIPE = "build.json"
_SCHEMA_VERSION = 1
_UNPACK = "unzip -p BUNDLE.edge engine/{name} > {name}"


def checked_model(model: bytes) -> Any:
    """Return the parsed ONNX model.

    Raises:
        ModelError: It is damaged.
        TargetError: The package onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise TargetError(
            problem="The model cannot be checked without the package onnx.",
            found=str(error),
            fix="pip install 'edgekit[calibrate]'",
        ) from error
    try:
        parsed = onnx.load_model_from_string(model)
        onnx.checker.check_model(parsed)
    # DecodeError, which damaged bytes raise, is protobuf's own and derives from nothing but Exception.
    except Exception as error:
        raise ModelError(
            problem="The model is not a valid ONNX model.",
            found=str(error).strip().split("\n")[0],
            fix="Compile again; if it still fails, check the model with `edgekit inspect`.",
        ) from error
    return parsed


def build_on_device(
    engine: str,
    model: bytes,
    target: Target,
    must_match: Sequence[str],
    converted: Mapping[str, bytes] | None = None,
    **details: Any,
) -> Build:
    """Return the model and `build.json`, which says how the engine is built from it on the board.

    Args:
        engine: Its name.
        model: The ONNX model.
        target: The board.
        must_match: What has to be as it was here, one sentence each.
        converted: The model in the engine's own format, which the engine is then built from; its main file first.
        details: What else the recipe has to say.

    Raises:
        UsageError: The target does not say with which command.
    """
    if not target.build_note:
        raise UsageError(
            problem=f"The target '{target.name}' does not say how its engine is built on the device.",
            fix="Set build_note in the target's file to the command that builds the engine from model.onnx.",
        )
    sources = dict(converted or {"model.onnx": model})
    members = {**sources, "model.onnx": model}
    main = next(iter(sources))
    record = {
        "schema_version": _SCHEMA_VERSION,
        "engine": engine,
        "target": target.name,
        "soc": target.device.soc,
        "software": target.device.software,
        "options": dict(target.options),
        "model": main,
        "commands": [*(_UNPACK.format(name=name) for name in sources), target.build_note.strip()],
        "must_match": list(must_match),
        **details,
    }
    return Build({**members, RECIPE: sealed(record, members)})


def refusal_to_run(engine: str, members: Mapping[str, bytes], here: str) -> TargetError:
    """Return the error that says where the engine is built and how.

    Args:
        engine: The engine's name.
        members: Those that `build_on_device` returned.
        here: What of the engine is on this machine.

    Raises:
        ArtifactError: The members are damaged, or not those of this engine.
    """
    record = unsealed(engine, RECIPE, members)
    where = " with ".join(part for part in (record["soc"], record["software"]) if part)
    return TargetError(
        problem=f"The {engine} engine of this bundle is built on the device ({where}) and cannot run here.",
        found=here,
        fix="\n".join(["Build it on the device, from this bundle:", *record["commands"]]),
    )
