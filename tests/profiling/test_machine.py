from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import platform
import time
from pathlib import Path

import pytest

from edgekit.profiling import machine
from edgekit.profiling.machine import Disturbance, Limits, Machine, Noise, State

QUIET = Disturbance(seconds=10.0, others=0.0, stolen=0.0)
STILL = [Noise(cv=0.01, median_ms=0.5)]


@pytest.fixture(scope="module")
def here() -> Machine:
    return machine.describe({"onnxruntime": "1.2.3"})


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_machine_is_described(here: Machine) -> None:
    assert here.arch == platform.machine()
    assert here.cpu
    assert here.cores >= len(here.affinity) >= 1
    assert here.memory > 1 << 28
    assert here.versions["onnxruntime"] == "1.2.3"
    assert here.versions["python"] == platform.python_version()
    json.dumps(dataclasses.asdict(here))


def test_affinity_is_this_process_s_own() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert machine.describe({}).affinity == (min(allowed),)
    finally:
        os.sched_setaffinity(0, allowed)


def test_an_arm_board_is_named_by_its_device_tree(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/cpuinfo": "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd0b\n\nprocessor : 1\n"
            "CPU implementer : 0x41\nCPU part : 0xd0b\n",
        },
    )
    board = machine.describe({}, root)
    assert (board.board, board.cpu) == ("Raspberry Pi 5 Model B Rev 1.0", "ARM implementer 0x41 part 0xd0b")


def test_governors_frequency_and_temperature_are_read(tmp_path: Path, here: Machine) -> None:
    files = {"proc/loadavg": "0.50 0.40 0.30 1/100 4242"}
    for core in here.affinity:
        files[f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"] = "powersave\n"
        files[f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq"] = "1800000\n"
    files["sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"] = "2400000\n"
    files["sys/class/thermal/thermal_zone0/temp"] = "48250\n"
    files["sys/class/thermal/thermal_zone1/temp"] = "-274000\n"
    files["sys/class/hwmon/hwmon0/temp1_input"] = "51500\n"
    root = write(tmp_path, files)
    assert machine.describe({}, root).governor == ("powersave",)
    assert machine.state(root) == State(load=0.5, frequency_mhz=2400.0, temperature_c=51.5)


def test_what_is_not_readable_is_absent(tmp_path: Path) -> None:
    assert machine.state(tmp_path) == State(None, None, None)
    blank = machine.describe({}, tmp_path)
    assert (blank.board, blank.governor, blank.limits) == ("", (), Limits(None, None))


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, Limits(1.5, None)),
        (
            {
                "proc/self/cgroup": "0::/docker/abc\n",
                "sys/fs/cgroup/docker/cpu.max": "200000 100000",
                "sys/fs/cgroup/docker/abc/cpu.max": "max 100000",
                "sys/fs/cgroup/docker/memory.max": "max",
                "sys/fs/cgroup/docker/abc/memory.max": "1073741824",
            },
            Limits(2.0, 1 << 30),
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/job\n1:cpu,cpuacct:/job\n0::/\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "536870912",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
            Limits(0.5, 1 << 29),
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n4:memory:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
            Limits(None, None),
        ),
    ],
    ids=["v2 in a container", "v2 nested", "v1", "v1 without limits"],
)
def test_the_tightest_limit_of_the_control_groups_counts(tmp_path: Path, files: dict[str, str], limits: Limits) -> None:
    assert machine.cgroup_limits(write(tmp_path, files)) == limits


def test_the_noise_floor_is_measured() -> None:
    floor = machine.noise_floor()
    assert floor.median_ms > 0
    assert floor.cv > 0


def burn(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_the_watch_sees_other_processes_but_not_this_one() -> None:
    watch = machine.Watch()
    burn(0.3)
    alone = watch.read()
    other = multiprocessing.get_context("spawn").Process(target=burn, args=(30.0,))
    other.start()
    try:
        time.sleep(1.0)
        watch = machine.Watch()
        time.sleep(1.0)
        disturbed = watch.read()
    finally:
        other.terminate()
        other.join()
    assert disturbed.others > 0.3
    assert alone.others >= 0
    assert 0 <= disturbed.stolen <= 1


def test_a_quiet_machine_gives_no_warning(here: Machine) -> None:
    still = dataclasses.replace(here, governor=("performance",), limits=Limits(None, None))
    assert list(machine.warnings(still, STILL, QUIET, threads=1)) == []


def test_every_trouble_gives_its_warning(here: Machine) -> None:
    troubled = dataclasses.replace(here, governor=("powersave",), limits=Limits(1.5, None), affinity=(0, 1))
    found = "\n".join(
        machine.warnings(
            troubled, [Noise(0.01, 0.5), Noise(0.08, 0.5)], Disturbance(10.0, others=0.75, stolen=0.02), threads=2
        )
    )
    assert "varies by 8.0% (limit 5%)" in found
    assert "Other processes took 0.75 cores" in found
    assert "The hypervisor took 2.0% of the CPU time" in found
    assert "governor powersave" in found
    assert "2 threads share 1.5 cores" in found
