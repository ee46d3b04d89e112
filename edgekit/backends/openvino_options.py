"""What OpenVINO is told about a device, said outright: what is left open it chooses itself, and not always the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.backends.signature import check_options
from edgekit.errors import UsageError

PRECISIONS: Mapping[str, tuple[str, ...]] = {"CPU": ("f32", "bf16", "f16"), "GPU": ("f32", "f16"), "NPU": ("f16",)}
"""By device, what can compute the part that is not quantized; CPUs have bf16 and f16 by their instruction sets."""

HINTS = ("latency", "throughput")
_KNOWN = ("device", "precision", "performance_hint", "streams", "threads")
_COUNTED: Mapping[str, tuple[str, ...]] = {"CPU": ("streams", "threads"), "GPU": ("streams",), "NPU": ()}
"""The counts that each device takes."""


@dataclass(frozen=True)
class Settings:
    """A device and OpenVINO's own properties for it.

    Attributes:
        device: CPU, GPU or NPU.
        precision: What the part that is not quantized is to be computed in: f32, bf16 or f16.
        properties: As `compile_model` takes them.
    """

    device: str
    precision: str
    properties: dict[str, str | int]

    def without_threads(self) -> dict[str, str | int]:
        """Return what a compiled model depends on: threads may be others on every load."""
        return {name: value for name, value in self.properties.items() if name != "INFERENCE_NUM_THREADS"}


def settings(options: Mapping[str, Any], threads: int = 0) -> Settings:
    """Return the settings that options stand for.

    Args:
        options: `device` (CPU), `precision` (f32; f16 on an NPU), `performance_hint` (latency), `streams` (1 for
            latency, else OpenVINO's choice) and `threads` (OpenVINO's choice); in brackets what holds without them.
        threads: Threads that the caller asks for; 0 leaves it to the options.

    Raises:
        UsageError: An option or its value is not known, or the device does not take it.
    """
    check_options("OpenVINO", options, _KNOWN)
    device = _one_of(options, "device", "CPU", tuple(PRECISIONS))
    known = PRECISIONS[device]
    precision = _one_of(options, "precision", known[0], known, of=f" on a {device}")
    hint = _one_of(options, "performance_hint", HINTS[0], HINTS)
    counts = {name: _count(options, name, device) for name in ("streams", "threads") if name in options}
    properties: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": hint.upper()}
    if device == "CPU" and hint == "latency":
        counts.setdefault("streams", 1)
    if "streams" in counts:
        properties["NUM_STREAMS"] = counts["streams"]
    wanted = threads or counts.get("threads", 0)
    if device == "CPU" and wanted:
        properties["INFERENCE_NUM_THREADS"] = wanted
    return Settings(device, precision, properties)


def _one_of(options: Mapping[str, Any], name: str, default: str, known: tuple[str, ...], of: str = "") -> str:
    value = options.get(name, default)
    if value not in known:
        raise UsageError(
            problem=f"OpenVINO cannot be told the {name} '{value}'{of}.",
            found=f"Known: {', '.join(known)}.",
            fix=f"Correct options.{name} in the target's file.",
        )
    return str(value)


def _count(options: Mapping[str, Any], name: str, device: str) -> int:
    value = options[name]
    if name not in _COUNTED[device]:
        raise UsageError(
            problem=f"OpenVINO takes no {name} for a {device}.",
            found=f"{name} = {value}",
            fix=f"Remove options.{name} from the target's file.",
        )
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(
            problem=f"OpenVINO cannot be told {value} {name}.",
            found=f"options.{name} = {value!r}",
            fix="Give a whole number from 1 on, or leave it out.",
        )
    return value
