"""No such board was at hand.

Files are as the kernel's documentation describes them (hwmon/ina3221, power/powercap). Lines of tegrastats end as those
that owners of the boards published: a TX2 in henrygd/beszel, pull request 1631, the others in tests and notes of public
repositories. That of the Orin Nano is made from NVIDIA's documentation.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgekit.profiling.energy import PowerMeter, Tegrastats, board_watts, find_meter, parse_tegrastats

ORIN_NANO = (
    "11-25-2026 10:00:00 RAM 2448/7620MB (lfb 3x4MB) SWAP 0/3810MB (cached 0MB) CPU [1%@729,0%@729,off,off,off,off] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 0%@[305] cpu@47.5C soc2@46.9C VDD_IN 4949mW/4912mW VDD_CPU_GPU_CV 733mW/700mW "
    "VDD_SOC 1467mW/1450mW"
)
TX2 = (
    "thermal@41.3C Tdiode@39.25C VDD_SYS_GPU 182/182 VDD_SYS_SOC 730/730 VDD_4V0_WIFI 0/0 VDD_IN 5297/5297 "
    "VDD_SYS_CPU 1917/1917 VDD_SYS_DDR 1241/1241"
)
XAVIER_NX = "MTS fg 1% bg 9% PMIC@100C thermal@31.35C VDD_IN 6140/5510 VDD_CPU_GPU_CV 2706/2119 VDD_SOC 1074/1051"
AGX_ORIN = (
    "NVDLA0_FREQ @1600 APE 174 CV0@73.625C tj@77.281C CV2@67.25C VDD_GPU_SOC 3150mW/2971mW VDD_CPU_CV 14312mW/12415mW "
    "VIN_SYS_5V0 4968mW/5048mW VDDQ_VDD2_1V8AO 1091mW/1091mW"
)
NANO = "IRAM 0/252kB(lfb 252kB) APE 25 PLL@37C thermal@40C POM_5V_IN 1750/1628 POM_5V_GPU 0/0 POM_5V_CPU 366/406"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


def rapl(root: Path, package: int, microjoules: int) -> None:
    folder = f"sys/class/powercap/intel-rapl:{package}"
    files = {"name": f"package-{package}", "energy_uj": str(microjoules), "max_energy_range_uj": "1000000"}
    write(root, {f"{folder}/{name}": text for name, text in files.items()})


def test_rapl_adds_up_packages_and_starts_anew_when_full(tmp_path: Path) -> None:
    rapl(tmp_path, 0, 900_000)
    rapl(tmp_path, 1, 100_000)
    core = {"name": "core", "energy_uj": "5", "max_energy_range_uj": "9"}
    write(tmp_path, {f"sys/class/powercap/intel-rapl:0:0/{name}": text for name, text in core.items()})
    write(tmp_path, {"sys/class/powercap/intel-rapl:2/name": "psys"})
    meter, reason = find_meter(tmp_path)
    assert meter is not None
    assert reason == ""
    assert meter.joules() == 0
    rapl(tmp_path, 0, 100_000)
    rapl(tmp_path, 1, 150_000)
    assert meter.joules() == pytest.approx(0.25)
    meter.close()


def test_power_of_ina_sensors_is_that_of_the_whole_board(tmp_path: Path) -> None:
    sensor = "sys/class/hwmon/hwmon3"
    rails = {"1": ("VDD_IN", "5000", "1000"), "2": ("VDD_SOC", "5000", "300")}
    write(tmp_path, {f"{sensor}/name": "ina3221"})
    for channel, (label, millivolts, milliamperes) in rails.items():
        write(
            tmp_path,
            {
                f"{sensor}/in{channel}_label": label,
                f"{sensor}/in{channel}_input": millivolts,
                f"{sensor}/curr{channel}_input": milliamperes,
            },
        )
    write(tmp_path, {f"{sensor}/in7_label": "sum of shunt voltages"})
    meter, _ = find_meter(tmp_path)
    assert meter is not None
    assert meter.source == "INA3221 sensors"
    assert meter.joules() >= 0


def test_power_is_added_up_over_time() -> None:
    moments, watts = iter([0.0, 1.0, 3.0]), iter([4.0, 6.0, 6.0])
    meter = PowerMeter("test", lambda: next(watts), lambda: next(moments))
    assert meter.joules() == 5.0
    assert meter.joules() == 17.0


@pytest.mark.parametrize(
    ("line", "rails", "board"),
    [
        (ORIN_NANO, {"VDD_IN": 4.949, "VDD_CPU_GPU_CV": 0.733, "VDD_SOC": 1.467}, 4.949),
        (NANO, {"POM_5V_IN": 1.75, "POM_5V_GPU": 0.0, "POM_5V_CPU": 0.366}, 1.75),
        (XAVIER_NX, {"VDD_IN": 6.14, "VDD_CPU_GPU_CV": 2.706, "VDD_SOC": 1.074}, 6.14),
        (
            TX2,
            {
                "VDD_SYS_GPU": 0.182,
                "VDD_SYS_SOC": 0.73,
                "VDD_4V0_WIFI": 0.0,
                "VDD_IN": 5.297,
                "VDD_SYS_CPU": 1.917,
                "VDD_SYS_DDR": 1.241,
            },
            5.297,
        ),
        (
            AGX_ORIN,
            {"VDD_GPU_SOC": 3.15, "VDD_CPU_CV": 14.312, "VIN_SYS_5V0": 4.968, "VDDQ_VDD2_1V8AO": 1.091},
            pytest.approx(23.521),
        ),
        ("RAM 1100/3964MB", {}, 0),
    ],
)
def test_tegrastats_is_read(line: str, rails: dict[str, float], board: float) -> None:
    assert parse_tegrastats(line) == rails
    assert board_watts(rails) == board


def test_without_a_meter_the_reason_is_told(tmp_path: Path) -> None:
    assert find_meter(tmp_path) == (None, "This machine has no RAPL, no INA3221 sensor and no tegrastats.")
    write(tmp_path, {"sys/class/powercap/intel-rapl:0/name": "package-0"})
    meter, reason = find_meter(tmp_path)
    assert meter is None
    assert "only root" in reason


def test_tegrastats_is_read_while_it_runs(tmp_path: Path) -> None:
    command = tmp_path / "tegrastats"
    command.write_text(f"#!/bin/sh\nwhile echo '{ORIN_NANO}'; do sleep 0.05; done\n")
    command.chmod(0o755)
    meter = Tegrastats(str(command))
    try:
        start = time.monotonic()
        before = meter.joules()
        time.sleep(0.2)
        used = meter.joules() - before
        assert used == pytest.approx(4.949 * (time.monotonic() - start), rel=0.5)
    finally:
        meter.close()
