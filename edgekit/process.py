"""What this process holds in memory."""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
_ROLLUP = Path("/proc/self/smaps_rollup")


def is_measurable() -> bool:
    """Whether this system tells a process its peak memory: Linux does."""
    return _STATUS.exists()


def resident() -> tuple[int, int]:
    """Return (resident memory now, its highest value so far) of this process in bytes.

    Read from /proc and not by getrusage: Linux lets a new program inherit its parent's `ru_maxrss`, so that a child
    of a process with torch loaded would seem to need what torch needs.
    """
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    kilobytes = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return int(kilobytes["VmRSS"]) * 1024, int(kilobytes["VmHWM"]) * 1024


def proportional() -> int | None:
    """Return this process's memory in bytes, with every page that is shared by n processes counted as an n-th (PSS).

    None where the kernel does not tell: it does from Linux 4.14 on.
    """
    try:
        lines = _ROLLUP.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), None)
