"""What a board calls when it is measured from elsewhere; see `edgekit.api.remote`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.api.apart import profile_apart
from edgekit.profiling.remote import telling

BUNDLE = "bundle.edge"


def profile_there(folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Profile the bundle that was sent into this folder, and tell of that while it lasts."""
    with telling.telling(folder) as progress:
        return profile_apart(
            folder / "in" / BUNDLE,
            **options,
            progress=progress,
            keep=lambda partial: telling.keep(folder, partial.to_json()),
        ).to_json()
