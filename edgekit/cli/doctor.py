"""`edgekit doctor`: what this machine can do, found out by trying."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

import edgekit
from edgekit.cli.common import talk, terminal
from edgekit.cli.terminal import Terminal, table
from edgekit.errors import TargetError, UsageError

_PACKAGES = ("numpy", "onnx", "onnx-ir", "scipy", "torch", "opencv-python-headless")


@click.command()
@talk
@terminal
def doctor(terminal: Terminal, /) -> None:
    """Say what this machine can do.

    Exits with 4 where the engine for this machine's own target cannot run.
    """
    found = examine()
    terminal.show(table(_rows(found)))
    for problem in found["problems"]:
        terminal.show(f"problem: {problem}")
    terminal.result(found)
    if found["problems"]:
        raise click.exceptions.Exit(TargetError.exit_code)


def examine() -> dict[str, Any]:
    """Return what is here, and under `problems` what keeps EdgeKit from running here."""
    from edgekit.backends import BACKENDS, backend_for
    from edgekit.profiling.machine import describe

    machine = describe({})
    engines = {name: backend_for(name).available() for name in BACKENDS}
    target, backend, why_none = _host_target()
    codecs = _codecs()
    problems = [why_none] if why_none else []
    if backend and engines[backend].reason:
        problems.append(
            f"{backend}, the engine of this machine's target {target}, cannot run: {engines[backend].reason}"
        )
    if not codecs:
        problems.append("OpenCV is missing: no image or video can be read. Install edgekit[vision].")
    return {
        "edgekit": edgekit.__version__,
        "python": platform.python_version(),
        "system": machine.system,
        "cpu": {"name": machine.cpu, "arch": machine.arch, "cores": machine.cores, "isa": machine.isa},
        "memory_bytes": machine.memory,
        "host_target": target,
        "engines": {
            name: {"version": each.version, "runs_here": not each.reason, "reason": each.reason}
            for name, each in engines.items()
        },
        "packages": {name: _version(name) for name in _PACKAGES},
        "codecs": codecs,
        "ffmpeg": shutil.which("ffmpeg") or "",
        "free_bytes": {
            str(folder): shutil.disk_usage(folder).free for folder in (Path.cwd(), Path(tempfile.gettempdir()))
        },
        "problems": problems,
    }


def _host_target() -> tuple[str, str, str]:
    """Return (target, its backend, why there is none)."""
    from edgekit.targets import load_target

    try:
        target = load_target("host")
    except UsageError as error:
        return "", "", str(error)
    return target.name, target.backend, ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _codecs() -> list[str]:
    """Return the formats that OpenCV can write here: it has them all in its list, and not all work."""
    try:
        import cv2
        import numpy as np
    except ImportError:
        return []
    picture = np.zeros((64, 64, 3), np.uint8)
    works = [suffix for suffix in ("jpg", "png") if cv2.imencode(f".{suffix}", picture)[0]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 64))
        writer.write(picture)
        writer.release()
        capture = cv2.VideoCapture(str(path))
        if capture.isOpened() and capture.read()[0]:
            works.append("mp4")
        capture.release()
    return works


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    engines = [
        (name, f"{each['version'] or 'not installed'}{', runs here' if each['runs_here'] else ': ' + each['reason']}")
        for name, each in found["engines"].items()
    ]
    cpu = found["cpu"]
    packages = [(name, version or "not installed") for name, version in found["packages"].items()]
    disks = [("free disk", f"{free / 1e9:.1f} GB in {folder}") for folder, free in found["free_bytes"].items()]
    return [
        ("edgekit", found["edgekit"]),
        ("python", f"{found['python']} on {found['system']}"),
        ("cpu", f"{cpu['name'] or cpu['arch']}, {cpu['cores']} cores, {found['memory_bytes'] / 1e9:.1f} GB of memory"),
        ("instructions", " ".join(cpu["isa"]) or "none known to speed up 8-bit arithmetic"),
        ("host target", found["host_target"] or "none"),
        *engines,
        *packages,
        ("can write", ", ".join(found["codecs"]) or "nothing"),
        ("ffmpeg", found["ffmpeg"] or "not installed (not needed)"),
        *disks,
    ]
