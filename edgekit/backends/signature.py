"""What a model takes and gives, and a cheap check of what it is run on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.errors import ArtifactError, UsageError


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: Its name in the model.
        shape: Its shape; none for a length that the model leaves open.
        dtype: Its numpy type.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {' x '.join('?' if size is None else str(size) for size in self.shape)}"

    def fits(self, value: Any) -> bool:
        """Whether `value` is an array of this shape and type."""
        return (
            isinstance(value, np.ndarray)
            and value.dtype == self.dtype
            and value.ndim == len(self.shape)
            and all(expected in (None, found) for expected, found in zip(self.shape, value.shape, strict=True))
        )


def check_inputs(specs: Sequence[TensorSpec], inputs: Mapping[str, Any]) -> None:
    """Check that the inputs are the model's, by name, shape and type.

    Raises:
        UsageError: They are not; the message lists what the model takes.
    """
    if len(inputs) == len(specs) and all(spec.fits(inputs.get(spec.name)) for spec in specs):
        return
    raise UsageError(
        problem="The model cannot run on these inputs.",
        found=", ".join(_described(name, value) for name, value in inputs.items()) or "no input",
        fix=f"Give {', '.join(map(str, specs)) or 'nothing'}.",
    )


def check_options(engine: str, options: Mapping[str, Any], known: Collection[str]) -> None:
    """Check that an engine knows every option.

    Raises:
        UsageError: It does not.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UsageError(
            problem=f"{engine} has no option '{unknown[0]}'.",
            found=f"Known: {', '.join(sorted(known)) or 'none'}.",
            fix="Correct [options] in the target's file.",
        )


def only_model(members: Mapping[str, bytes], engine: str) -> bytes:
    """Return the ONNX model of an engine that is loaded from nothing else.

    Raises:
        ArtifactError: The members are those of another engine.
    """
    if set(members) == {"model.onnx"}:
        return members["model.onnx"]
    raise ArtifactError(
        problem=f"{engine} cannot load what another engine's build gave.",
        found=", ".join(sorted(members)) or "nothing",
        fix="Compile again for a target of this engine.",
    )


def _described(name: str, value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return f"{name} {type(value).__name__}"
    return str(TensorSpec(name, value.shape, value.dtype))
