"""Board descriptors (targets/*.toml): the device, its engine, its quantization rules and its peak figures."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from edgekit.errors import UsageError
from edgekit.resources import find, shipped_names
from edgekit.schema import Strict, parse, read_toml

BackendName = Literal["onnxruntime", "openvino", "tensorrt", "qnn"]


class Device(Strict):
    """The chip and the software version that a target stands for."""

    vendor: str
    soc: str
    arch: Literal["x86_64", "aarch64", "any"]
    isa: tuple[str, ...] = Field(default=(), description="CPU flags that the scheme relies on, as in cpu_flags()")
    software: str = Field(default="", description="the software release that fixes the engine version")
    unit: Literal["cpu", "gpu", "npu", "dla"]


class TensorScheme(Strict):
    """How one kind of tensor is quantized."""

    dtype: Literal["int8", "uint8", "int16", "uint16"]
    symmetric: bool
    granularity: Literal["tensor", "channel"]
    narrow_range: bool = Field(default=False, description="without the lowest integer: both signs reach equally far")
    reduce_range: bool = Field(default=False, description="one bit less, where the kernel would saturate")
    bits: int | None = Field(default=None, ge=2, le=16, description="of the dtype's bits, these; absent: all of them")

    @model_validator(mode="after")
    def _has_the_bits(self) -> TensorScheme:
        if self.bits is not None and self.bits > int(self.dtype.lstrip("uint")):
            message = f"{self.dtype} has fewer than {self.bits} bits"
            raise ValueError(message)
        return self


class Scheme(Strict):
    """The quantization rules of a target's engine."""

    activations: TensorScheme
    weights: TensorScheme
    bias: Literal["float", "int32"] = Field(description="int32: quantized with scale = input scale x weight scale")
    higher_precision: Literal["fp32", "fp16", "bf16", "int16"] = Field(description="for what 8 bit would distort")
    operators: tuple[str, ...] = Field(description="operators that are computed in 8 bit")
    outputs: bool = Field(description="whether such an operator needs a quantized output as well to run in 8 bit")
    residual_add: Literal["none", "branch", "full"] = Field(
        description="what an Add of two branches needs: nothing, one quantized branch, or all inputs and the output"
    )
    share_scale: tuple[str, ...] = Field(default=(), description="operators whose inputs and output share one scale")
    unless_minor: tuple[str, ...] = Field(
        default=(), description="of the operators, those left as they are where they do less than a tenth of the work"
    )
    opset: Literal[17, 21] = Field(description="the ONNX opset of the Q/DQ model")


class Peak(Strict):
    """Published peak figures. What is not published stays absent."""

    int8_tops: float | None = Field(default=None, gt=0, description="dense, 10^12 operations a second")
    fp16_tflops: float | None = Field(default=None, gt=0, description="dense")
    fp32_tflops: float | None = Field(default=None, gt=0)
    dram_gb_s: float | None = Field(default=None, gt=0)
    dram_gb: float | None = Field(default=None, gt=0)
    on_chip_mb: float | None = Field(default=None, gt=0)
    clock_ghz: float | None = Field(default=None, gt=0)
    cores: int | None = Field(default=None, gt=0)
    tdp_w: float | None = Field(default=None, gt=0)
    source: str = Field(default="", description="where each figure above is published, or how it follows from one")

    @model_validator(mode="after")
    def _is_sourced(self) -> Peak:
        figures = [name for name, value in self if name != "source" and value is not None]
        if figures and not self.source.strip():
            message = f"{', '.join(figures)} without a source"
            raise ValueError(message)
        return self


class Target(Strict):
    """A board: (SoC, software version), its engine and rules."""

    name: str
    title: str
    device: Device
    backend: BackendName
    options: dict[str, str | int | float | bool] = Field(default_factory=dict, description="passed to the engine")
    builds: Literal["here", "on-device"] = Field(description="where the engine is built")
    runs: Literal["here", "simulated", "on-device"] = Field(
        description="where the built engine runs: on a machine like the one that builds it, there in the vendor's "
        "simulator, or on the device only"
    )
    build_note: str = Field(default="", description="for an engine built on the device: with which command")
    scheme: Scheme
    peak: Peak = Peak()
    verified: Literal["measured", "emulated", "simulated", "built", "never run"] = Field(
        description="the most that was ever done with an engine for this target; `tested` has the details"
    )
    tested: str = Field(description="what of this target was really run, and what never was")

    def computing(self, operators: Iterable[str]) -> Target:
        """Return the target with these operators computed in 8 bit as well, as a recipe may ask for."""
        added = tuple(name for name in operators if name not in self.scheme.operators)
        if not added:
            return self
        scheme = self.scheme.model_copy(update={"operators": (*self.scheme.operators, *added)})
        return self.model_copy(update={"scheme": scheme})


def origin_of(target: Target) -> Literal["measured", "simulated"]:
    """Return the label of what a target's engine gives on the machine that built it; of times there are none then."""
    return "simulated" if target.runs == "simulated" else "measured"


class _Alias(Strict):
    alias: str


def load_target(name: str | Path) -> Target:
    """Load a target by its shipped name, an alias, or from a TOML file. `host` is this machine's own CPU.

    Raises:
        UsageError: There is no such target, or the file is not valid; the message names file, key and known keys.
    """
    path = find("targets", str(name))
    data = read_toml(path)
    passed = [path]
    while "alias" in data:
        path = find("targets", _target_of(parse(_Alias, data, str(path)).alias))
        if path in passed:
            raise UsageError(
                problem=f"{path} is an alias of itself.",
                found=" -> ".join(map(str, (*passed, path))),
                fix="Break the circle in 'alias'.",
            )
        data = read_toml(path)
        passed.append(path)
    return parse(Target, data, str(path))


def list_targets() -> list[tuple[str, str]]:
    """Return (name, title) of every shipped target; for an alias the title says what it stands for."""
    rows = []
    for name in shipped_names("targets"):
        data = read_toml(find("targets", name))
        rows.append((name, f"alias of {_target_of(data['alias'])}" if "alias" in data else str(data["title"])))
    return rows


def _target_of(alias: str) -> str:
    return host_target_name() if alias == "this-machine" else alias


def host_target_name() -> str:
    """Return the shipped target that fits this machine's CPU.

    Raises:
        UsageError: No shipped target fits.
    """
    return cpu_target_name(platform.machine(), cpu_flags())


def cpu_target_name(machine: str, flags: frozenset[str]) -> str:
    """Return the shipped target that fits a CPU.

    Args:
        machine: Its architecture, as `platform.machine()` names it.
        flags: Its instruction sets, as in `cpu_flags()`.

    Raises:
        UsageError: No shipped target fits.
    """
    if machine in ("x86_64", "AMD64"):
        return "intel-cpu-vnni" if "vnni" in flags else "intel-cpu-avx2"
    if machine in ("aarch64", "arm64"):
        return "arm-cortex-a76" if "asimddp" in flags else "arm-cortex-a72"
    raise UsageError(
        problem="No shipped target fits this machine.",
        found=f"CPU architecture {machine}",
        fix="Name a target with --target; `edgekit targets list` shows them.",
    )


def cpu_flags() -> frozenset[str]:
    """Return the instruction-set flags that Linux reports for this CPU; empty where it reports none.

    `vnni` is added to them where the CPU has either form of it, avx512_vnni or avx_vnni.
    """
    try:
        return flags_of(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return frozenset()


def flags_of(cpuinfo: str) -> frozenset[str]:
    """Return what `cpu_flags` does, from the content of a /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags = frozenset(value.split())
            return flags | {"vnni"} if flags & {"avx512_vnni", "avx_vnni"} else flags
    return frozenset()
