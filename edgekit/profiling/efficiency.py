"""Which share of a peak figure engines reach, as ranges: the one place where an estimate is not a published figure.

The CPU rows are the 10th and 90th percentile over 215 synthetic layers that are taken from no model, one thread
(`python -m tests.benchmarks.efficiency`; docs/estimates.md has the table). They are the same for every model. A CPU of
another architecture was not measured: it gets the span of all CPU rows. The rows of GPUs and NPUs are assumptions, as
wide as what users publish for them, and nobody checked them on a board.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from edgekit.targets import Target

Kind = Literal["dense", "narrow", "depthwise", "transposed", "matmul", "elementwise", "other", "view"]
Number = Literal["int8", "float"]


@dataclass(frozen=True)
class Range:
    """From low to high."""

    low: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)

    def scaled(self, factor: float) -> Range:
        """Return both ends times a factor."""
        return Range(self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Efficiency:
    """What a kind of unit reaches.

    Attributes:
        compute: Share of the peak of its precision that a layer with multiply-accumulates reaches.
        memory: Share of the bandwidth that a layer without them reaches.
        gain: Time in floating point over time in 8 bit of the same layer, where arithmetic bounds it, as a share of
            the ratio of the two peaks.
        layer_us: Microseconds that a layer costs beside its work.
        call_us: Microseconds that a run costs beside its layers.
        source: Where the ranges are from.
    """

    compute: Mapping[tuple[Kind, Number], Range]
    memory: Mapping[Kind, Range]
    gain: Mapping[Kind, Range]
    layer_us: Range
    call_us: Range
    source: str


_WEIGHTED: tuple[Kind, ...] = ("dense", "narrow", "depthwise", "transposed", "matmul")
_MEASURED = "10th to 90th percentile of synthetic layers, measured on x86-64 with VNNI, one thread"

_OPENVINO_CPU = Efficiency(
    compute={
        ("dense", "float"): Range(0.586, 1.080),
        ("dense", "int8"): Range(0.263, 0.993),
        ("narrow", "float"): Range(0.147, 0.691),
        ("narrow", "int8"): Range(0.101, 0.441),
        ("depthwise", "float"): Range(0.074, 0.310),
        ("depthwise", "int8"): Range(0.021, 0.063),
        ("transposed", "float"): Range(0.135, 0.855),
        ("transposed", "int8"): Range(0.038, 0.611),
        ("matmul", "float"): Range(0.324, 0.925),
    },
    memory={
        "elementwise": Range(0.093, 0.556),
        "other": Range(0.028, 0.143),
    },
    gain={
        "dense": Range(0.424, 0.938),
        "narrow": Range(0.375, 1.587),
        "depthwise": Range(0.194, 0.401),
        "transposed": Range(0.282, 0.692),
    },
    layer_us=Range(0.0, 1.0),
    call_us=Range(5.0, 65.0),
    source=f"OpenVINO: {_MEASURED}",
)

_ONNXRUNTIME_CPU = Efficiency(
    compute={
        ("dense", "float"): Range(0.588, 1.118),
        ("dense", "int8"): Range(0.321, 0.594),
        ("narrow", "float"): Range(0.115, 0.711),
        ("narrow", "int8"): Range(0.033, 0.216),
        ("depthwise", "float"): Range(0.237, 0.554),
        ("depthwise", "int8"): Range(0.034, 0.080),
        ("transposed", "float"): Range(0.274, 0.737),
        ("matmul", "float"): Range(0.829, 1.050),
    },
    memory={
        "elementwise": Range(0.331, 0.831),
        "other": Range(0.058, 1.803),
    },
    gain={
        "dense": Range(0.417, 0.578),
        "narrow": Range(0.155, 0.452),
        "depthwise": Range(0.091, 0.233),
    },
    layer_us=Range(0.0, 1.0),
    call_us=Range(5.0, 65.0),
    source=f"ONNX Runtime: {_MEASURED}",
)

_GPU = Efficiency(
    compute={
        ("dense", "float"): Range(0.10, 0.70),
        ("dense", "int8"): Range(0.05, 0.60),
        ("narrow", "float"): Range(0.02, 0.50),
        ("narrow", "int8"): Range(0.01, 0.40),
        ("depthwise", "float"): Range(0.01, 0.20),
        ("depthwise", "int8"): Range(0.005, 0.10),
        ("transposed", "float"): Range(0.05, 0.60),
        ("transposed", "int8"): Range(0.02, 0.50),
        ("matmul", "float"): Range(0.05, 0.70),
        ("matmul", "int8"): Range(0.02, 0.60),
    },
    memory={"elementwise": Range(0.30, 1.0), "other": Range(0.10, 0.80)},
    gain={kind: Range(0.5, 1.0) for kind in _WEIGHTED},
    layer_us=Range(1.0, 10.0),
    call_us=Range(20.0, 200.0),
    source="GPU: assumed. YOLOv8 n, s and m on an Orin Nano, as users publish them, reach 0.05 to 0.2 of its INT8 peak "
    "with everything counted, and gain 1.26 to 1.39 from FP16 to INT8",
)

_NPU = Efficiency(
    compute={**_GPU.compute, ("dense", "int8"): Range(0.05, 0.80)},
    memory=_GPU.memory,
    gain=_GPU.gain,
    layer_us=Range(0.0, 10.0),
    call_us=Range(50.0, 1000.0),
    source="NPU: assumed, nothing was measured",
)


def efficiency_of(target: Target) -> Efficiency:
    """Return the ranges for a target's unit and engine."""
    if target.device.unit == "gpu":
        return _GPU
    if target.device.unit != "cpu":
        return _NPU
    if target.device.arch != "x86_64":
        return _OTHER_CPU
    return _OPENVINO_CPU if target.backend == "openvino" else _ONNXRUNTIME_CPU


def _span(*ranges: Range) -> Range:
    return Range(min(each.low for each in ranges), max(each.high for each in ranges))


def _spans(tables: Iterable[Mapping[object, Range]]) -> dict[object, Range]:
    tables = tuple(tables)
    keys = dict.fromkeys(key for table in tables for key in table)
    return {key: _span(*(table[key] for table in tables if key in table)) for key in keys}


_CPUS = (_OPENVINO_CPU, _ONNXRUNTIME_CPU)
_OTHER_CPU = Efficiency(
    compute=_spans(each.compute for each in _CPUS),  # type: ignore[misc, arg-type]
    memory=_spans(each.memory for each in _CPUS),  # type: ignore[misc, arg-type]
    gain=_spans(each.gain for each in _CPUS),  # type: ignore[misc, arg-type]
    layer_us=Range(0.0, 20.0),
    call_us=Range(10.0, 200.0),
    source="a CPU of an architecture that was not measured: the span of what OpenVINO and ONNX Runtime reach on x86-64",
)
