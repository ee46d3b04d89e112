"""The machine that is measured on: what it is, what state it is in, and how noisy it is."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

import edgekit
from edgekit.targets import cpu_flags

RELEVANT_FLAGS = (
    *("sse4_2", "avx2", "fma", "f16c", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni"),
    *("avx_vnni_int8", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "svei8mm"),
)
"""Instruction sets that decide how fast floating-point and 8-bit kernels run."""

NOISE_LOOP = "SHA-256 over 1 MiB, 100 times"
NOISY = 0.05
BUSY_CORES = 0.1
STOLEN_SHARE = 0.01
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class Limits:
    """What the control group of this process allows; none where it sets no limit.

    Attributes:
        cpus: CPU time a second, in cores.
        memory: Bytes.
    """

    cpus: float | None
    memory: int | None


@dataclass(frozen=True)
class Machine:
    """What does not change while it is measured.

    Attributes:
        cpu: The CPU as it names itself.
        board: The board as its device tree names it; empty where there is none.
        arch: The architecture, for instance x86_64.
        isa: The instruction sets that matter.
        cores: Logical cores of the machine.
        affinity: Cores that this process may run on.
        limits: What its control group allows.
        governor: Frequency governors of these cores; empty where they are not readable.
        virtual: Whether a hypervisor may take the CPU away.
        memory: Bytes of RAM.
        system: Operating system and kernel.
        versions: Python, EdgeKit, numpy, the engine.
    """

    cpu: str
    board: str
    arch: str
    isa: tuple[str, ...]
    cores: int
    affinity: tuple[int, ...]
    limits: Limits
    governor: tuple[str, ...]
    virtual: bool
    memory: int
    system: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class State:
    """What changes while it is measured; none where it is not readable.

    Attributes:
        load: Processes that ran or waited, mean of the last minute.
        frequency_mhz: The highest of the cores' frequencies.
        temperature_c: The highest of the sensors.
    """

    load: float | None
    frequency_mhz: float | None
    temperature_c: float | None


@dataclass(frozen=True)
class Noise:
    """How much a loop of fixed work varies.

    Attributes:
        cv: Coefficient of variation: standard deviation over mean.
        median_ms: Median duration of the loop's body.
    """

    cv: float
    median_ms: float


@dataclass(frozen=True)
class Disturbance:
    """What else ran during the measurement.

    Attributes:
        seconds: How long it took.
        others: CPU time a second that other processes took, in cores.
        stolen: Share of the machine's CPU time that its hypervisor kept for others.
    """

    seconds: float
    others: float
    stolen: float


def describe(versions: Mapping[str, str], root: Path = Path("/")) -> Machine:
    """Describe this machine.

    Args:
        versions: Engine to version.
        root: Where /proc and /sys are read.
    """
    affinity = _affinity()
    about = _cpuinfo(root)
    flags = cpu_flags()
    return Machine(
        cpu=cpu_name(about) or platform.processor() or platform.machine(),
        board=_text(root / "proc/device-tree/model").strip("\0"),
        arch=platform.machine(),
        isa=relevant(flags),
        cores=psutil.cpu_count() or len(affinity),
        affinity=affinity,
        limits=cgroup_limits(root),
        governor=tuple(
            sorted(
                {_text(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor") for core in affinity} - {""}
            )
        ),
        virtual="hypervisor" in flags,
        memory=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
        versions={
            "python": platform.python_version(),
            "edgekit": edgekit.__version__,
            "numpy": np.__version__,
            **versions,
        },
    )


def state(root: Path = Path("/")) -> State:
    """Read what changes: load, frequency, temperature."""
    load = _text(root / "proc/loadavg").split()
    cpufreq = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    kilohertz = [float(_text(path) or 0) for path in cpufreq]
    megahertz = [kilo / 1000 for kilo in kilohertz] or [float(mhz) for mhz in _values(_cpuinfo(root), "cpu MHz")]
    return State(
        load=float(load[0]) if load else None,
        frequency_mhz=max(megahertz, default=None),
        temperature_c=max(_temperatures(root), default=None),
    )


def noise_floor() -> Noise:
    """Time a loop of fixed work (`NOISE_LOOP`): whatever varies here is the machine and not a model."""
    data = bytes(1 << 20)
    durations = []
    for _ in range(120):
        start = time.perf_counter_ns()
        hashlib.sha256(data).digest()
        durations.append((time.perf_counter_ns() - start) / 1e6)
    warm = np.asarray(durations[20:])
    return Noise(float(warm.std() / warm.mean()), float(np.median(warm)))


class Watch:
    """Counts what other processes take from now on."""

    def __init__(self) -> None:
        self._start = self._read()

    def read(self) -> Disturbance:
        """Return what they took since this watch was made."""
        wall, busy, own, stolen = (now - then for now, then in zip(self._read(), self._start, strict=True))
        wall = max(wall, 1e-9)
        return Disturbance(wall, max(0.0, busy - own) / wall, max(0.0, stolen) / wall / (psutil.cpu_count() or 1))

    @staticmethod
    def _read() -> tuple[float, float, float, float]:
        machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
        stolen = getattr(machine, "steal", 0.0)
        # Linux counts a guest's time in user's as well.
        idle = machine.idle + getattr(machine, "iowait", 0.0) + stolen
        idle += getattr(machine, "guest", 0.0) + getattr(machine, "guest_nice", 0.0)
        return time.monotonic(), sum(machine) - idle, own.user + own.system, stolen


def warnings(machine: Machine, noise: Sequence[Noise], disturbance: Disturbance, threads: int) -> Iterator[str]:
    """Yield why the figures may not be repeatable here, one sentence each."""
    worst = max(floor.cv for floor in noise)
    if worst > NOISY:
        yield (
            f"Noisy machine: a loop of fixed work varies by {worst:.1%} (limit {NOISY:.0%}). "
            "Percentiles above p50 tell about the machine as much as about the model."
        )
    if disturbance.others > BUSY_CORES:
        yield f"Other processes took {disturbance.others:.2f} cores during the measurement."
    if disturbance.stolen > STOLEN_SHARE:
        yield f"The hypervisor took {disturbance.stolen:.1%} of the CPU time away."
    moving = [name for name in machine.governor if name != "performance"]
    if moving:
        yield f"The CPU frequency may change: governor {', '.join(moving)}."
    usable = min(len(machine.affinity), machine.limits.cpus or machine.cores)
    if threads > usable:
        yield f"{threads} threads share {usable:g} cores that this process may use."


def cgroup_limits(root: Path = Path("/")) -> Limits:
    """Return the tightest limits of this process's control group and those above it (cgroup v1 and v2)."""
    cpus: list[float] = []
    memory: list[int] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for mount in ("", "unified") if not controllers else controllers.split(","):
            for folder in _upwards(root / "sys/fs/cgroup" / mount, path):
                cpus += _cpu_quota(folder)
                memory += _numbers(folder / "memory.max") + _numbers(folder / "memory.limit_in_bytes")
    return Limits(min(cpus, default=None), min((limit for limit in memory if limit < _NO_LIMIT), default=None))


def _upwards(mount: Path, path: str) -> list[Path]:
    """Return the folders from a group up to its mount; inside a container only the mount may be there."""
    group = mount / path.lstrip("/")
    return [group, *(parent for parent in group.parents if parent.is_relative_to(mount))]


def _cpu_quota(folder: Path) -> list[float]:
    both = _numbers(folder / "cpu.max") or [
        *_numbers(folder / "cpu.cfs_quota_us"),
        *_numbers(folder / "cpu.cfs_period_us"),
    ]
    return [both[0] / both[1]] if len(both) == 2 and both[0] > 0 else []


def _numbers(path: Path) -> list[int]:
    """Return the whole numbers in a file; none where it says `max` or is not there."""
    words = _text(path).split()
    return [int(word) for word in words] if all(word.lstrip("-").isdigit() for word in words) else []


def _affinity() -> tuple[int, ...]:
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _cpuinfo(root: Path) -> str:
    return _text(root / "proc/cpuinfo")


def relevant(flags: Collection[str]) -> tuple[str, ...]:
    """Return those of a CPU's flags that engines choose their kernels by."""
    return tuple(flag for flag in RELEVANT_FLAGS if flag in flags)


def cpu_name(cpuinfo: str) -> str:
    """Return what a /proc/cpuinfo says a CPU is; empty where it does not say."""
    names = _values(cpuinfo, "model name")
    if names:
        return names[0]
    parts = sorted(set(zip(_values(cpuinfo, "CPU implementer"), _values(cpuinfo, "CPU part"), strict=False)))
    if parts:
        return ", ".join(f"ARM implementer {implementer} part {part}" for implementer, part in parts)
    return ""


def _values(cpuinfo: str, key: str) -> list[str]:
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    return [value.strip() for name, _, value in pairs if name.strip() == key]


def _temperatures(root: Path) -> list[float]:
    sensors = [
        *(root / "sys/class/thermal").glob("thermal_zone*/temp"),
        *(root / "sys/class/hwmon").glob("hwmon*/temp*_input"),
    ]
    readings = []
    for sensor in sensors:
        with suppress(ValueError):
            readings.append(int(_text(sensor)) / 1000)
    return [reading for reading in readings if 0 < reading < 150]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
