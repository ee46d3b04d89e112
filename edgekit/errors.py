"""The errors that EdgeKit raises on purpose, and the exit code of each.

EdgekitError             1   base of all; anything else that escapes is a bug
├── UsageError           2   an argument, path, key or setting is wrong
├── DataError            2   frames that cannot be used
├── ArtifactError        2   a calibration or bundle that is damaged, foreign or does not fit
├── OutputError          2   a result that cannot be written
├── GateError            3   a result that is worse than a gate allows
├── TargetError          4   the board, or the engine for it, is not here
└── ModelError           5   a model that is damaged or not supported
"""

from __future__ import annotations

from typing import ClassVar


class EdgekitError(Exception):
    """What was asked, what was found, and what to do about it.

    Args:
        problem: One sentence that says what cannot be done, and to what.
        found: The evidence: what is there instead.
        fix: What the user does next.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, *, problem: str, found: str = "", fix: str = "") -> None:
        super().__init__(problem, found, fix)
        self.problem = problem
        self.found = found
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.problem]
        if self.found:
            lines.append(_labelled("found: ", self.found))
        if self.fix:
            lines.append(_labelled("fix:   ", self.fix))
        return "\n".join(lines)


def _labelled(label: str, text: str) -> str:
    """Put a label before a text and align the text's further lines below its first."""
    return "  " + label + text.replace("\n", "\n" + " " * (2 + len(label)))


class UsageError(EdgekitError):
    """An argument, path, key or setting is wrong."""

    exit_code = 2


class DataError(EdgekitError):
    """Frames are missing, unreadable, or of the wrong shape."""

    exit_code = 2


class ArtifactError(EdgekitError):
    """A calibration or bundle is damaged, foreign, or does not fit what it is used with."""

    exit_code = 2


class OutputError(EdgekitError):
    """A result cannot be written: it exists already, the folder is read-only, or the disk is full."""

    exit_code = 2


class GateError(EdgekitError):
    """The result is worse than a gate allows."""

    exit_code = 3


class TargetError(EdgekitError):
    """The board is not here, or the engine that it needs is not installed."""

    exit_code = 4


class ModelError(EdgekitError):
    """The model is damaged, or holds something that is not supported."""

    exit_code = 5


class HostMismatchWarning(UserWarning):
    """A bundle runs on a machine that it was not compiled for; not everything measured there holds for the board."""


class DeadlineWarning(UserWarning):
    """A deadline is shorter than what it is held against takes: it will be missed, whatever the machine does."""
