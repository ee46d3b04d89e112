"""Set up the root folder of `edgekit.emulation` on Debian: python -m tests.emulated.root [FOLDER]

CPython and qemu come as Debian packages from where apt gets this machine's own, numpy, ONNX Runtime and the rest as
wheels from where pip gets them, in the versions that this Python has: so that results can be compared bit by bit. All
are unpacked into the folder; nothing is installed, and no privilege is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from edgekit.emulation import CORES, DEFAULT_ROOT, emulated_python
from edgekit.errors import EdgekitError, TargetError
from edgekit.output import new_folder

PYTHON = ("python3", "libstdc++6")
QEMU = ("qemu-aarch64-static", "qemu-x86_64-static")
WHEELS = ("click", "numpy", "onnxruntime", "opencv-python-headless", "psutil", "pydantic", "rich")
"""What EdgeKit's runtime and command line need with ONNX Runtime, as pyproject.toml has it."""

GLIBC = range(17, 37)
"""Of the wheels, as the second number of 2.x: Debian 12 has 2.36."""

TOOLS = ("apt-get", "dpkg", "dpkg-deb", "tar")
RECORD = "root.json"


def main() -> int:
    parser = argparse.ArgumentParser(description="Set up an aarch64 Python with ONNX Runtime that qemu-user runs.")
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_ROOT)
    try:
        set_up(parser.parse_args().folder)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def set_up(folder: Path) -> None:
    """Set the folder up, unless it is there with these versions.

    Raises:
        TargetError: This machine cannot.
    """
    record = {"packages": [*PYTHON], "wheels": [f"{name}=={version(name)}" for name in WHEELS]}
    if (folder / RECORD).is_file() and json.loads((folder / RECORD).read_text(encoding="utf-8")) == record:
        print(f"{folder} is there")
        return
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise TargetError(
            problem="The root folder with an aarch64 Python can be set up on Debian only.",
            found=f"no {', '.join(missing)} on this machine",
            fix="Run it on Debian 12, or in a container of it.",
        )
    with new_folder(folder, overwrite=True) as draft:
        print("Debian packages ...", flush=True)
        unpack_python(draft)
        unpack_qemu(draft)
        print("wheels ...", flush=True)
        unpack_wheels(draft, record["wheels"])
        for core in CORES:
            make_core(draft, core)
        shutil.rmtree(draft / "apt")
        print("first start ...", flush=True)
        start(draft)
        (draft / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{folder} is set up")


def unpack_python(root: Path) -> None:
    """Unpack CPython with all that it depends on."""
    (root / "debian").mkdir()
    for package in download(root / "apt", "arm64", PYTHON):
        unpack(package, root / "debian")


def unpack_qemu(root: Path) -> None:
    """Unpack the two of qemu's programs that tests run, for this machine's architecture."""
    (root / "qemu").mkdir()
    own = run("dpkg", "--print-architecture").strip()
    (package,) = download(root / "apt", own, ["qemu-user-static"])
    unpack(package, root / "qemu", "--strip-components=3", *(f"./usr/bin/{name}" for name in QEMU))


def download(folder: Path, architecture: str, packages: Sequence[str]) -> list[Path]:
    """Download packages and what they depend on, with lists of apt's own that lie below the folder."""
    for part in ("lists/partial", "archives/partial"):
        (folder / architecture / part).mkdir(parents=True)
    state = folder / architecture
    (state / "status").touch()
    settings = {
        "Dir::State": state,
        "Dir::Cache": state,
        # By this list nothing is installed.
        "Dir::State::status": state / "status",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
    }
    apt = ["apt-get", *(f"-o{name}={value}" for name, value in settings.items())]
    run(*apt, "update")
    run(*apt, "--yes", "--download-only", "install", *packages)
    return sorted((state / "archives").glob("*.deb"))


def unpack(package: Path, folder: Path, *options: str) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as reading:
        # Some packages bring files in a folder that another has made a link.
        command = ["tar", "-x", "--keep-directory-symlink", "-C", folder, *options]
        subprocess.run(command, stdin=reading.stdout, check=True)


def unpack_wheels(root: Path, wheels: Sequence[str]) -> None:
    """Unpack wheels for the CPython in the root, with all that they depend on."""
    python = (root / "debian/usr/bin/python3").readlink().name.removeprefix("python")
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in GLIBC]
    foreign = [f"--python-version={python}", "--implementation=cp", "--only-binary=:all:", *platforms]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile"]
    run(*pip, *foreign, "--target", root / "site", *wheels)


def make_core(root: Path, core: str) -> None:
    """Make what a process on this core finds at /."""
    (root / core / "proc").mkdir(parents=True)
    (root / core / "proc" / "cpuinfo").write_text(CORES[core].cpuinfo(), encoding="ascii")
    for part in (root / "debian").iterdir():
        (root / core / part.name).symlink_to(Path("..", "debian", part.name))


def start(root: Path) -> None:
    """Import everything once: it shows that the root is whole, and leaves compiled modules for the next start."""
    python = emulated_python(next(iter(CORES)), root)
    code = "import cv2, onnxruntime, edgekit.cli.verify, edgekit.api.verify"
    run(*python.command(), "-c", code, environment=python.environment())


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    """Run a command and return what it printed.

    Raises:
        TargetError: It failed.
    """
    settings = os.environ | (environment or {})
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TargetError(
            problem=f"`{Path(command[0]).name}` failed, so there is no aarch64 root.",
            found="\n".join((done.stderr or done.stdout).strip().splitlines()[-6:]) or f"exit code {done.returncode}",
            fix="Its own words are above. apt needs a Debian mirror with arm64, and pip an index with aarch64 wheels.",
        )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
