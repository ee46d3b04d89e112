"""Checkpoints of a reconstruction: written beside and renamed, read back only for the very same work."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from edgekit.errors import ArtifactError

_VERSION = 1


@dataclass
class Progress:
    """All that a reconstruction needs to go on where it was.

    Attributes:
        unit: Which unit is learned: the network, or a block of it.
        step: Steps of that unit that are done.
        learned: The learned parameters.
        moments: Adam's moments, per parameter of the unit.
        first_error: The error of the unit when its learning began.
        best: The best state so far.
        verdict: What was found of it.
        stale: Checks since then.
        estimates: Estimated head weights, in order.
        history: Checks so far, as plain values.
    """

    unit: int = 0
    step: int = 0
    learned: dict[str, torch.Tensor] = field(default_factory=dict)
    moments: dict[str, Any] = field(default_factory=dict)
    first_error: float = 0.0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    verdict: dict[str, float] = field(default_factory=dict)
    stale: int = 0
    estimates: list[dict[str, float]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


def fingerprint(*parts: bytes | str) -> str:
    """Return one SHA-256 over everything that a reconstruction depends on."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def save_checkpoint(path: Path, progress: Progress, belongs_to: str) -> None:
    """Write a checkpoint; one that is there stays whole until the new one is complete."""
    beside = path.with_name(f"{path.name}.part")
    torch.save({"version": _VERSION, "belongs_to": belongs_to, **vars(progress)}, beside)
    beside.replace(path)


def load_checkpoint(path: Path, belongs_to: str) -> Progress:
    """Read a checkpoint.

    Raises:
        ArtifactError: It is damaged, of another version, or of other work: another model, data, options or seed.
    """
    try:
        with warnings.catch_warnings():
            # torch warns of foreign pickles before it refuses them.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
        version, owner = content.pop("version"), content.pop("belongs_to")
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise ArtifactError(
            problem=f"{path} cannot be read as a checkpoint.",
            found=(str(error).strip() or type(error).__name__).splitlines()[0],
            fix="Start the reconstruction again without it.",
        ) from error
    if version != _VERSION or owner != belongs_to:
        raise ArtifactError(
            problem=f"{path} is the checkpoint of another reconstruction.",
            found="another version" if version != _VERSION else "another model, frames, scheme, options or seed",
            fix="Resume with what it was started with, or start again without it.",
        )
    return Progress(**content)
