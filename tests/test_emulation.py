from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekit.emulation import CORES, EmulatedPython, emulated_python, is_emulated
from edgekit.errors import TargetError, UsageError
from edgekit.targets import cpu_target_name, load_target


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, core in CORES.items():
        (tmp_path / name / "proc").mkdir(parents=True)
        (tmp_path / name / "proc" / "cpuinfo").write_text(core.cpuinfo())
    return tmp_path


@pytest.mark.parametrize("name", CORES)
def test_a_core_has_what_the_target_of_its_name_relies_on(name: str) -> None:
    target = load_target(f"arm-{name}")
    features = frozenset(CORES[name].features.split())
    assert set(target.device.isa) <= features
    assert load_target(cpu_target_name("aarch64", features)).scheme == target.scheme


def test_only_the_old_core_lacks_the_dot_product() -> None:
    assert [name for name, core in CORES.items() if "asimddp" not in core.features] == ["cortex-a72"]


def test_cpuinfo_is_as_linux_writes_it() -> None:
    lines = CORES["cortex-a72"].cpuinfo().splitlines()
    assert "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid" in lines
    assert "CPU part\t: 0xd08" in lines


def test_the_command_works_from_any_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    python = emulated_python("cortex-a55", os.path.relpath(root))
    assert python == EmulatedPython(root.resolve(), "cortex-a55")
    assert all(Path(path).is_absolute() for path in python.command() if path != "-L")
    assert python.environment()["QEMU_CPU"] == "cortex-a76"


def test_a_root_that_is_not_there_says_how_it_is_set_up(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="make arm-root") as missing:
        emulated_python("cortex-a76", tmp_path / "gone")
    assert missing.value.found == "no such folder"
    with pytest.raises(TargetError, match="cortex-a76/proc/cpuinfo"):
        emulated_python("cortex-a76", tmp_path)


def test_an_unknown_core_is_refused_with_the_known_ones(root: Path) -> None:
    with pytest.raises(UsageError, match="cortex-a72, cortex-a76, cortex-a55"):
        emulated_python("cortex-a99", root)


def test_this_process_is_not_emulated_unless_it_is() -> None:
    """Where the tests themselves run under qemu-user, its program is what the kernel says that the process is."""
    told = Path("/proc/thread-self/maps").read_text() if Path("/proc/thread-self/maps").exists() else ""
    assert is_emulated() == ("/qemu-" in told)
