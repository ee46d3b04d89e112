"""`edgekit.write_report`: a profile or a calibration as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError
from edgekit.output import new_file
from edgekit.profiling.document import read_profiles
from edgekit.profiling.result import Profile
from edgekit.profiling.samples import decode
from edgekit.report.html.durations import Series
from edgekit.report.html.profile import profile_html

__all__ = ["write_report"]


def write_report(source: Profile | str | Path, out: str | Path, *, overwrite: bool = False) -> Path:
    """Write a profile or a calibration as one HTML file that loads nothing from elsewhere.

    Args:
        source: A profile, the JSON file of one, or a calibration folder.
        out: The file.
        overwrite: Whether a file that is there already is replaced.

    Raises:
        ArtifactError: `source` is neither, or is damaged.
        OutputError: The file cannot be written.
    """
    with new_file(out, overwrite) as draft:
        draft.write_text(_html(source), encoding="utf-8")
    return Path(out)


def html_of(document: Mapping[str, Any]) -> str:
    """Return the page of a profile's JSON, or of that of several engines."""
    profiles = document.get("profiles", [document])
    durations = [{part: _durations(each, part) for part in _parts(each)} for each in profiles]
    return profile_html(profiles, durations, document.get("estimates", []))


def _html(source: Profile | str | Path) -> str:
    if isinstance(source, Profile):
        return html_of(source.to_json())
    if Path(source).is_dir():
        from edgekit.calibration.artifact import Calibration
        from edgekit.report.html.calibration import calibration_html

        calibration = Calibration.open(source)
        about = {"recipe": calibration.recipe.name, "target": calibration.target.name}
        return calibration_html(calibration.folder, about, calibration.report)
    if not Path(source).exists():
        raise ArtifactError(
            problem=f"There is nothing at {source} to report on.",
            fix="Give a folder that `edgekit calibrate -o` wrote, or a file that `edgekit profile -o` wrote.",
        )
    return html_of(read_profiles(Path(source)))


def _parts(profile: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(part for row in profile["rows"] for part in row["latency"]))


def _durations(profile: Mapping[str, Any], part: str) -> Series:
    """Return when each run of a part started, in s, and how long it took, in ms; of each model, in order of time."""
    found = {}
    for row in profile["rows"]:
        works = row["samples"]["work"]
        # The engine's own figures are those of the engine alone, where it ran alone.
        name = next((name for name in ("engine", "frame") if part in works.get(name, {}).get("parts", {})), None)
        if name is not None:
            started = decode(works[name]["started"]).ravel() / 1e9
            taken = decode(works[name]["parts"][part]).ravel() / 1e6
            order = started.argsort(kind="stable")
            found[row["model"]] = (started[order], taken[order])
    return found
