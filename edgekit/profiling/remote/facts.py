"""What a board is, asked before anything is sent to it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from edgekit.errors import TargetError, UsageError
from edgekit.profiling.machine import cpu_name
from edgekit.profiling.remote.connection import Connection
from edgekit.targets import flags_of

OLDEST = (3, 10)

CANDIDATES = ("python3", "python3.13", "python3.12", "python3.11", "python3.10")

_FIND = """
uname -m
for name in "$@"; do
  path=$(command -v "$name") || continue
  version=$("$path" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null </dev/null) || version=none
  echo "$version $path"
done
"""

_INTEL_32 = ("i386", "i486", "i586", "i686")


@dataclass(frozen=True)
class Facts:
    """What a board is.

    Attributes:
        executable: Its Python.
        python: Version of that.
        implementation: Which Python it is, for instance cpython.
        machine: The architecture that this Python runs on, as packages name it: x86_64, aarch64, armv7l.
        libc: Name and version of the C library; both empty where it does not tell.
        packages: Name (lower case, dashes) to version of what is installed for this Python.
        folder: Where a temporary folder is made.
        free_bytes: Of the disk below it.
        board: As the device tree names it; empty where there is none.
        cpu: As it names itself.
        flags: Of the CPU, as in `edgekit.targets.cpu_flags`.
        cores: Logical ones.
        emulated: Whether this Python runs in an emulator, as far as that can be seen.
    """

    executable: str
    python: tuple[int, int, int]
    implementation: str
    machine: str
    libc: tuple[str, str]
    packages: Mapping[str, str]
    folder: str
    free_bytes: int
    board: str
    cpu: str
    flags: frozenset[str]
    cores: int
    emulated: bool


def on_board_source() -> bytes:
    """Return the program that does the work on the board."""
    return files("edgekit.profiling.remote").joinpath("on_board.py").read_bytes()


def ask(connection: Connection, python: str = "", folder: str = "") -> Facts:
    """Ask a board what it is; this writes nothing there.

    Args:
        connection: To the board.
        python: Its Python, a name or a path; empty: the first one of 3.10 or newer that is found.
        folder: Where a temporary folder is to be made; empty: where its Python makes them.

    Raises:
        TargetError: It has no Python that is new enough, or no room that can be written to.
        UsageError: The Python that was named is not there.
        Dropped: The connection ended.
    """
    found = connection.run(shlex.join(["sh", "-c", _FIND, "sh", *([python] if python else CANDIDATES)]))
    kernel, *lines = found.output.decode(errors="replace").split("\n")
    versions = {path: version for version, _, path in (line.partition(" ") for line in lines if line)}
    executable = _choose(connection, python, versions)
    said = connection.run(f"{shlex.quote(executable)} - probe {shlex.quote(folder)}", [on_board_source()])
    if said.code:
        raise TargetError(
            problem=f"{executable} on {connection.address} does not work.",
            found=said.errors.strip().rpartition("\n")[2] or f"exit code {said.code}",
            fix="Name another Python of the board with --host-python.",
        )
    told = json.loads(said.output)
    if told["free_bytes"] is None or not told["writable"]:
        raise UsageError(
            problem=f"The folder {told['folder']} on {connection.address} cannot be written to.",
            found="no such folder" if told["free_bytes"] is None else "no permission to write",
            fix="Name another folder of the board with --host-folder.",
        )
    machine = _machine(told["machine"], told["bits"])
    return Facts(
        executable=executable,
        python=tuple(told["python"]),
        implementation=told["implementation"],
        machine=machine,
        libc=tuple(told["libc"]),
        packages=told["packages"],
        folder=told["folder"],
        free_bytes=told["free_bytes"],
        board=told["board"],
        cpu=cpu_name(told["cpuinfo"]) or told["processor"],
        flags=flags_of(told["cpuinfo"]),
        cores=told["cores"],
        emulated=_is_emulated(machine, kernel.strip(), "vendor_id" in told["cpuinfo"]),
    )


def _choose(connection: Connection, named: str, versions: Mapping[str, str]) -> str:
    for path, version in versions.items():
        if version != "none" and tuple(int(part) for part in version.split(".")[:2]) >= OLDEST:
            return path
    oldest = ".".join(map(str, OLDEST))
    if named and not versions:
        raise UsageError(
            problem=f"There is no {named} on {connection.address}.", fix="Name a Python of the board by its path."
        )
    there = ", ".join(f"{path} is {version}" for path, version in versions.items())
    raise TargetError(
        problem=f"{connection.address} has no Python of {oldest} or newer, which EdgeKit needs there.",
        found=there.replace("is none", "does not start") or f"none of {', '.join(CANDIDATES)} in its PATH",
        fix=f"Install Python {oldest} or newer there, or name one outside of the PATH with --host-python.",
    )


def _machine(machine: str, bits: int) -> str:
    """Return the architecture of a Python, which may have fewer bits than the kernel."""
    if bits == 32:
        return {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(machine, machine)
    return {"arm64": "aarch64", "AMD64": "x86_64"}.get(machine, machine)


def _is_emulated(machine: str, kernel: str, cpuinfo_is_x86: bool) -> bool:
    """Whether Python runs on another architecture than the shell, or than the CPU that the kernel describes."""

    def family(name: str) -> str:
        return "x86" if name in ("x86_64", "amd64", *_INTEL_32) else "arm" if name.startswith(("a", "A")) else name

    return family(machine) != family(kernel) or (cpuinfo_is_x86 and family(machine) != "x86")
