"""Which packages a board lacks, and their wheels for exactly its Python, architecture and C library."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgekit.errors import OutputError, TargetError
from edgekit.output import new_folder
from edgekit.profiling.remote.facts import Facts

_LEGACY = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
_OLDEST_GLIBC = {"x86_64": 5, "i686": 5}
"""Minor version of the oldest glibc that wheels are built for; 17 on all other architectures (PEP 600)."""


def light_requirements(facts: Facts, extra: str = "") -> list[str]:
    """Return what EdgeKit's runtime, with one extra for the engine, needs on a board.

    Args:
        facts: The board.
        extra: The extra of EdgeKit that brings the engine.
    """
    environment = {
        "python_version": ".".join(map(str, facts.python[:2])),
        "python_full_version": ".".join(map(str, facts.python)),
        "implementation_name": facts.implementation,
        "platform_machine": facts.machine,
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
        "extra": extra,
    }
    needed = []
    for text in importlib.metadata.requires("edgekit") or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            needed.append(f"{requirement.name}{requirement.specifier}")
    return needed


def is_met(requirement: str, facts: Facts) -> bool:
    """Whether a board has a package in a version that is wanted."""
    wanted = Requirement(requirement)
    installed = facts.packages.get(canonicalize_name(wanted.name), "")
    return bool(installed) and wanted.specifier.contains(installed, prereleases=True)


def resolve(requirements: Sequence[str], facts: Facts, wheels: Path | None = None) -> list[Path]:
    """Return wheels for requirements and all that those require, downloaded once and kept.

    Args:
        requirements: What a board lacks.
        facts: The board.
        wheels: A folder of wheels to take them from; none: the package index that pip is set up with.

    Raises:
        TargetError: There are none for this Python, architecture and C library.
    """
    if not requirements:
        return []
    key = "\n".join([*sorted(requirements), *platform_tags(facts), *map(str, facts.python[:2]), *_listing(wheels)])
    name = f"{facts.machine}-python{facts.python[0]}.{facts.python[1]}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    folder = cache_folder() / name
    if not folder.is_dir():
        try:
            with new_folder(folder) as draft:
                _download(requirements, facts, wheels, draft)
        except OutputError:
            # Another process may have downloaded the same meanwhile.
            if not folder.is_dir():
                raise
    return sorted(folder.glob("*.whl"))


def cache_folder() -> Path:
    """Return where downloaded wheels are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekit" / "wheels"


def platform_tags(facts: Facts) -> list[str]:
    """Return the platforms whose wheels run on a board, as wheels name them, best first."""
    return list(_tags(facts)) or [f"linux_{facts.machine}"]


def _tags(facts: Facts) -> Iterator[str]:
    name, version = facts.libc
    major, minor = (int(part) for part in (*version.split("."), "0", "0")[:2]) if version else (0, 0)
    if name == "musl":
        yield from (f"musllinux_{major}_{each}_{facts.machine}" for each in range(minor, 0, -1))
    elif name == "glibc" and major == 2:
        for each in range(minor, _OLDEST_GLIBC.get(facts.machine, 17) - 1, -1):
            yield f"manylinux_2_{each}_{facts.machine}"
            if (2, each) in _LEGACY:
                yield f"{_LEGACY[2, each]}_{facts.machine}"


def _listing(wheels: Path | None) -> list[str]:
    if wheels is None:
        return []
    return [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in sorted(wheels.glob("*.whl"))]


def _download(requirements: Sequence[str], facts: Facts, wheels: Path | None, folder: Path) -> None:
    if not importlib.util.find_spec("pip"):
        raise TargetError(
            problem="This Python has no pip, which finds the packages that the board lacks.",
            found=f"needed there: {', '.join(requirements)}",
            fix=f"{sys.executable} -m ensurepip, or install them on the board yourself.",
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", ".".join(map(str, facts.python))]
    command += [word for tag in platform_tags(facts) for word in ("--platform", tag)]
    command += ["--no-index", "--find-links", str(wheels.resolve())] if wheels else []
    done = subprocess.run(
        [*command, "--dest", str(folder), *requirements], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR")]
        python = ".".join(map(str, facts.python[:2]))
        raise TargetError(
            problem=f"There are no packages for the board's Python {python} on {facts.machine} with "
            f"{' '.join(facts.libc) or 'an unknown C library'}.",
            found="\n".join(said) or done.stderr.strip()[-500:],
            fix=f"Put fitting wheels of {', '.join(requirements)}, and what they require, into a folder and give it "
            "with --wheels, or install them on the board.",
        )


def room_needed(wheels: Sequence[Path]) -> int:
    """Return the bytes that wheels take on a board while they are unpacked one after the other."""
    unpacked = 0
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            unpacked += sum(info.file_size for info in archive.infolist())
    return unpacked + max((wheel.stat().st_size for wheel in wheels), default=0)


def package_of(wheel: Path) -> str:
    """Return the package and version of a wheel."""
    name, version = wheel.name.split("-")[:2]
    return f"{name} {version}"
