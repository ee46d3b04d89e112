"""What an engine was built for, and how that differs from what is here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from edgekit.backends.tensorrt.cuda import Device, has_driver

_L4T = Path("/etc/nv_tegra_release")
_RELEASE = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")

_TITLES = {
    "library": "the Python module",
    "version": "TensorRT",
    "gpu": "the GPU",
    "compute_capability": "the compute capability",
    "l4t": "Jetson Linux (L4T)",
}


def here(library: str, version: str) -> dict[str, str]:
    """Return what an engine that is built here depends on; what is not known is left out.

    `gpu` and `compute_capability` are the first GPU's, `l4t` is the release that a JetPack stands on.
    """
    gpu, capability = Device().identity() if has_driver() else ("", "")
    found = {"library": library, "version": version, "gpu": gpu, "compute_capability": capability, "l4t": l4t()}
    return {key: value for key, value in found.items() if value}


def l4t(path: Path = _L4T) -> str:
    """Return the release of Jetson Linux, "36.4.3"; empty on every other machine."""
    try:
        found = _RELEASE.search(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return ".".join(found.groups()) if found else ""


def differences(built_for: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Say in what the machine differs from what the engine was built for, one sentence each.

    What one side does not know is no difference: without a GPU only versions are compared.
    """
    return [
        f"{title} was {built_for[key]}, and is {found[key]} here"
        for key, title in _TITLES.items()
        if built_for.get(key, "") and found.get(key, "") and built_for[key] != found[key]
    ]
