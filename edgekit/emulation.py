"""Arm cores that qemu-user emulates, with a real aarch64 Python on them: what they compute counts, their times do not.

The Python and its packages lie in a root folder, which `make arm-root` in a checkout sets up
(tests/emulated/root.py):

    debian/    CPython and the C library, unpacked Debian packages for arm64
    site/      aarch64 wheels: numpy, ONNX Runtime and what else EdgeKit's runtime needs
    qemu/      qemu-user, for this machine's own architecture
    CORE/      what the emulated process finds at /: the folders of debian/, and that core's /proc/cpuinfo
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import TargetError, UsageError

DEFAULT_ROOT = Path("build/arm-root")
EMULATED = "The processor is emulated: what it computes counts, and its times are the emulator's, not a board's."

_BASE = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
_V8_2 = f"{_BASE} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class Core:
    """A core as a process sees it.

    ONNX Runtime chooses its kernels by /proc/cpuinfo, and qemu shows that of the machine it runs on, on which ONNX
    Runtime crashes. So the root holds one for each core. It must claim nothing that the emulated processor lacks: with
    `asimddp` on a Cortex-A72 an 8-bit model ends with SIGILL.

    Attributes:
        cpu: qemu's model of it, as the variable QEMU_CPU has it.
        part: Arm's part number.
        features: Its instruction sets, as Linux names them.
    """

    cpu: str
    part: int
    features: str

    def cpuinfo(self) -> str:
        """Return what Linux shows as /proc/cpuinfo on a processor with one such core."""
        facts = {
            "processor": "0",
            "BogoMIPS": "100.00",
            "Features": self.features,
            "CPU implementer": "0x41",
            "CPU architecture": "8",
            "CPU variant": "0x0",
            "CPU part": f"{self.part:#05x}",
            "CPU revision": "3",
        }
        return "".join(f"{key}\t: {value}\n" for key, value in facts.items())


CORES: Mapping[str, Core] = {
    "cortex-a72": Core("cortex-a72", 0xD08, f"{_BASE} cpuid"),
    "cortex-a76": Core("cortex-a76", 0xD0B, f"{_V8_2} ssbs"),
    # qemu 7.2 has no model of it. By the part number ONNX Runtime takes the kernels that it has for this core, and the
    # Cortex-A76 has every instruction that they use.
    "cortex-a55": Core("cortex-a76", 0xD05, _V8_2),
}


@dataclass(frozen=True)
class EmulatedPython:
    """A Python on an emulated core.

    Attributes:
        root: The root folder, absolute.
        core: A name in `CORES`.
    """

    root: Path
    core: str

    def command(self) -> list[str]:
        """Return the command that is `python` on that core."""
        qemu = self.root / "qemu" / "qemu-aarch64-static"
        return [str(qemu), "-L", str(self.root / self.core), str(self.root / "debian/usr/bin/python3")]

    def environment(self) -> dict[str, str]:
        """Return the variables that it needs; EdgeKit itself is imported from where this file lies."""
        return {
            "QEMU_CPU": CORES[self.core].cpu,
            "PYTHONPATH": f"{self.root / 'site'}:{Path(__file__).parents[1]}",
            # Compiling every package anew at each start would take longer than all else.
            "PYTHONDONTWRITEBYTECODE": "",
            "ORT_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
        }


def emulated_python(core: str, root: str | Path = DEFAULT_ROOT) -> EmulatedPython:
    """Return the Python of a root folder on one of its cores.

    Raises:
        UsageError: There is no such core.
        TargetError: The folder is not there, or no root folder.
    """
    if core not in CORES:
        raise UsageError(
            problem=f"There is no emulated core '{core}'.",
            found=f"Known: {', '.join(CORES)}.",
            fix="Name one of those.",
        )
    folder = Path(root).resolve()
    if not (folder / core / "proc" / "cpuinfo").is_file():
        raise TargetError(
            problem=f"There is no emulated {core} in {root}.",
            found="no such folder" if not folder.is_dir() else f"a folder without {core}/proc/cpuinfo",
            fix="Set it up in a checkout of EdgeKit, on Debian, with `make arm-root`, and give that folder.",
        )
    return EmulatedPython(folder, core)


def is_emulated() -> bool:
    """Whether this process itself runs on an emulated processor.

    qemu hides itself from /proc/self/maps, but the kernel shows the same under another name.
    """
    try:
        maps = Path("/proc/thread-self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(line.rpartition("/")[2].startswith("qemu-") for line in maps.splitlines())
