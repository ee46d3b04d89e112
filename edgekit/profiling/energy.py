"""Energy, where the machine counts it: RAPL on x86, INA3221 sensors or tegrastats on Jetson boards.

RAPL counts the energy of whole CPU packages (Linux: Documentation/power/powercap). The others tell power, which is read
at both ends of every block and taken as a straight line in between. All include what else runs on the board.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgekit.profiling.bootstrap import Interval

WHOLE_BOARD = ("VDD_IN", "POM_5V_IN")
"""Rails that feed all others."""


@dataclass(frozen=True)
class Energy:
    """What a frame takes.

    Attributes:
        source: What counts it.
        joules: Of one frame, idle time between frames included.
        interval: Its 95 % interval; none with too few rounds.
    """

    source: str
    joules: float
    interval: Interval | None


class Meter(Protocol):
    """Counts energy."""

    source: str

    def joules(self) -> float:
        """Return what was used since the meter was made, in J."""
        ...

    def close(self) -> None:
        """Stop counting."""
        ...


class Rapl:
    """Counts the energy of CPU packages; the counters start anew when they are full."""

    source = "RAPL, CPU packages"

    def __init__(self, domains: list[Path]) -> None:
        self._domains = domains
        self._full = [_number(domain / "max_energy_range_uj") for domain in domains]
        self._last = [_number(domain / "energy_uj") for domain in domains]
        self._used = 0

    def joules(self) -> float:
        """Return what was used since the meter was made, in J."""
        now = [_number(domain / "energy_uj") for domain in self._domains]
        for new, old, full in zip(now, self._last, self._full, strict=True):
            self._used += new - old if new >= old else new + full - old
        self._last = now
        return self._used / 1e6

    def close(self) -> None:
        """Nothing to stop."""


class PowerMeter:
    """Adds up the power that something tells, as a straight line between two readings."""

    def __init__(self, source: str, watts: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self.source = source
        self._watts, self._clock = watts, clock
        self._last, self._at, self._used = watts(), clock(), 0.0

    def joules(self) -> float:
        """Return what was used since the meter was made, in J."""
        watts, now = self._watts(), self._clock()
        self._used += (watts + self._last) / 2 * (now - self._at)
        self._last, self._at = watts, now
        return self._used

    def close(self) -> None:
        """Nothing to stop."""


class Tegrastats:
    """Reads the lines that tegrastats prints."""

    source = "tegrastats"

    def __init__(self, command: str) -> None:
        self._process = subprocess.Popen([command, "--interval", "100"], stdout=subprocess.PIPE, text=True)
        self._watts = 0.0
        self._first = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._first.wait(2.0)
        self._meter = PowerMeter(self.source, lambda: self._watts)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._watts = board_watts(parse_tegrastats(line))
            self._first.set()

    def joules(self) -> float:
        """Return what was used since the meter was made, in J."""
        return self._meter.joules()

    def close(self) -> None:
        """End tegrastats."""
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()


def find_meter(root: Path = Path("/")) -> tuple[Meter | None, str]:
    """Return what counts energy here, or why nothing does.

    Args:
        root: Where /sys is read.
    """
    packages = [
        domain
        for domain in sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
        if domain.name.count(":") == 1 and _text(domain / "name").startswith("package")
    ]
    if packages and all(_text(domain / "energy_uj") for domain in packages):
        return Rapl(packages), ""
    sensors = [each for each in (root / "sys/class/hwmon").glob("hwmon*") if _text(each / "name") == "ina3221"]
    if sensors:
        return PowerMeter("INA3221 sensors", lambda: board_watts(read_ina3221(sensors))), ""
    command = shutil.which("tegrastats")
    if command:
        return Tegrastats(command), ""
    if packages:
        return None, "RAPL is here, and only root may read /sys/class/powercap/intel-rapl:*/energy_uj."
    return None, "This machine has no RAPL, no INA3221 sensor and no tegrastats."


def read_ina3221(sensors: list[Path]) -> dict[str, float]:
    """Return rail to W from the folders of INA3221 sensors (Linux: Documentation/hwmon/ina3221): mV times mA."""
    rails = {}
    for sensor in sensors:
        for label in sensor.glob("in*_label"):
            channel = label.name.removeprefix("in").removesuffix("_label")
            volts, amperes = (_text(sensor / f"{kind}{channel}_input") for kind in ("in", "curr"))
            if volts and amperes:
                rails[_text(label)] = float(volts) * float(amperes) / 1e6
    return rails


def parse_tegrastats(line: str) -> dict[str, float]:
    """Return rail to W from a line of tegrastats: `VDD_IN 4949mW/4949mW`, or `POM_5V_IN 2521/2521` on older boards.

    The first figure is the current one and the second the mean (NVIDIA, Jetson Linux Developer Guide, tegrastats).
    """
    found = re.findall(r"\b((?:VDD|VIN|POM|CV|GPU|CPU|SOC|SYS)_?\w*) (\d+)(?:mW)?/\d+(?:mW)?", line)
    return {rail: int(milliwatts) / 1000 for rail, milliwatts in found}


def board_watts(rails: dict[str, float]) -> float:
    """Return the power of the board: that of the rail that feeds all others, or else the sum."""
    return next((rails[name] for name in WHOLE_BOARD if name in rails), sum(rails.values()))


def _number(path: Path) -> int:
    return int(_text(path) or 0)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
