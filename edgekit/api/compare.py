"""`edgekit.compare`: whether one profile is faster than another, beyond noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.profiling.compare import Comparison, compare_profiles
from edgekit.profiling.document import read_profile
from edgekit.profiling.result import Profile

__all__ = ["Comparison", "compare", "read_profile"]

Source = Profile | str | Path


def compare(before: Source, after: Source, *, repeats: Sequence[Source] = (), anyway: bool = False) -> Comparison:
    """Compare two profiles: faster, slower, or no difference beyond noise; memory and accuracy too.

    Args:
        before: A profile, or the JSON file of one.
        after: Another, of the same machine, threads, schedule and frame size.
        repeats: Further profiles of what `before` is of: what they differ by is noise.
        anyway: Compare what was measured in different ways, too.

    Raises:
        UsageError: The two were measured in different ways, and `anyway` is false.
        ArtifactError: A file is no profile of this version.
    """
    names = (_name(before, "before"), _name(after, "after"))
    documents = [_document(each) for each in (before, after, *repeats)]
    comparison = compare_profiles(documents[0], documents[1], names, documents[2:])
    if comparison.different and not anyway:
        raise UsageError(
            problem=f"{names[0]} and {names[1]} were measured in different ways: their speeds cannot be compared.",
            found="\n".join(comparison.different),
            fix="Profile both alike, or compare them all the same with --anyway.",
        )
    return comparison


def _document(source: Source) -> Mapping[str, Any]:
    return source.to_json() if isinstance(source, Profile) else read_profile(Path(source))


def _name(source: Source, otherwise: str) -> str:
    return otherwise if isinstance(source, Profile) else str(source)
