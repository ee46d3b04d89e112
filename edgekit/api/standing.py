"""What this machine can do for a target."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from edgekit.api.load import host_mismatch
from edgekit.backends import backend_for
from edgekit.targets import Target, cpu_flags

ON_DEVICE = "on the device"
NO_ENGINE = "engine missing"
RESULTS_ONLY = "results only"
"""The engine runs the bundle here, on another kind of CPU: what it computes counts, its speed does not."""


@dataclass(frozen=True)
class Standing:
    """Where a target's engine is built and runs, and what was ever done with one.

    Attributes:
        name: The target.
        title: One line for people.
        builds: `here`, `on the device`, or `engine missing`.
        runs: `here`, `results only`, `simulated`, `on the device`, or `engine missing`.
        verified: The most that was ever done with an engine for this target, wherever that was.
    """

    name: str
    title: str
    builds: str
    runs: str
    verified: str


def standing(target: Target) -> Standing:
    """Say what this machine can do for a target; engines are looked for and not loaded."""
    installed = bool(backend_for(target.backend).available().version)
    builds = ON_DEVICE if target.builds == "on-device" else "here" if installed else NO_ENGINE
    return Standing(target.name, target.title, builds, _runs(target, installed), target.verified)


def _runs(target: Target, installed: bool) -> str:
    if target.runs == "on-device":
        return ON_DEVICE
    if not installed:
        return NO_ENGINE
    if target.runs == "simulated":
        return target.runs
    return RESULTS_ONLY if host_mismatch(target.name, target.device, platform.machine(), cpu_flags()) else "here"
