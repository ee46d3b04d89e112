"""What is carried to a board, and what it has already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgekit.errors import TargetError
from edgekit.profiling.remote.facts import Facts
from edgekit.profiling.remote.wheels import is_met, package_of, resolve, room_needed

SPARE_BYTES = 16 << 20
"""For what a run writes: the log, the result, and Python's compiled modules."""


@dataclass(frozen=True)
class Plan:
    """What is carried to a board.

    Attributes:
        facts: The board.
        wheels: Packages that it lacks, and what those require.
        used: Packages that it has in a version that will do: name and version.
    """

    facts: Facts
    wheels: tuple[Path, ...]
    used: tuple[str, ...]

    def version(self, package: str) -> str:
        """Return the version of a package that runs there; empty where it is not among what is needed."""
        both = (each.partition(" ") for each in (*self.used, *map(package_of, self.wheels)))
        return next((version for name, _, version in both if canonicalize_name(name) == package), "")

    def to_json(self) -> dict[str, Any]:
        """Return it for people and programs."""
        facts = self.facts
        return {
            "board": facts.board or facts.cpu,
            "cpu": facts.cpu,
            "cores": facts.cores,
            "architecture": f"{facts.machine}{', emulated' if facts.emulated else ''}",
            "libc": " ".join(facts.libc) or "unknown",
            "python": f"{'.'.join(map(str, facts.python))} ({facts.executable})",
            "folder": f"{facts.folder}, {facts.free_bytes / 1e6:,.0f} MB free",
            "used": list(self.used),
            "carried": [package_of(wheel) for wheel in self.wheels],
            "carried_bytes": sum(wheel.stat().st_size for wheel in self.wheels),
        }


def make_plan(
    facts: Facts, own: Path, requirements: Sequence[str], wheels: Path | None, preferred: Sequence[str] = ()
) -> Plan:
    """Find out what has to be carried to a board.

    Args:
        facts: The board.
        own: EdgeKit's own wheel.
        requirements: What EdgeKit needs there.
        wheels: A folder of wheels; none: from the package index.
        preferred: Exact versions, such as that of the engine here; where there are none of them, others that meet the
            requirements are carried.

    Raises:
        TargetError: There are no packages for this board.
    """
    missing = [each for each in requirements if not is_met(each, facts)]
    exact = {canonicalize_name(Requirement(each).name): each for each in preferred}
    pinned = [exact.get(canonicalize_name(Requirement(each).name), each) for each in missing]
    try:
        found = resolve(pinned, facts, wheels)
    except TargetError:
        if pinned == missing:
            raise
        found = resolve(missing, facts, wheels)
    names = [canonicalize_name(Requirement(each).name) for each in requirements if each not in missing]
    return Plan(facts, (own, *found), tuple(f"{name} {facts.packages[name]}" for name in names))


def check_room(plan: Plan, host: str, more: int) -> None:
    """Raise where a board has too little room.

    Args:
        plan: What is carried.
        host: The board, for the error.
        more: Bytes that are sent beside the packages.

    Raises:
        TargetError: It has.
    """
    needed = room_needed(plan.wheels) + more + SPARE_BYTES
    if needed > plan.facts.free_bytes:
        raise TargetError(
            problem=f"The disk of {host} is too full: {plan.facts.folder} has no room for the runtime.",
            found=f"{plan.facts.free_bytes / 1e6:,.0f} MB free, {needed / 1e6:,.0f} MB needed",
            fix="Free some space there, name a folder on another disk with --host-folder, or install "
            f"{', '.join(package_of(wheel).split()[0] for wheel in plan.wheels[1:]) or 'EdgeKit'} there for good.",
        )
