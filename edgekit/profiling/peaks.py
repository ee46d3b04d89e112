"""What a unit could do at most: a board's published figures, or this CPU's, measured by numpy alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np

from edgekit.errors import EdgekitError
from edgekit.profiling.efficiency import Range
from edgekit.targets import Target, cpu_flags

FloatPrecision = Literal["fp32", "fp16", "bf16"]

_SINGLE_THREADED = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
_MATRIX_SIDES = (256, 384, 512)
_SECONDS_EACH = 0.15
_DEFAULT_CACHE = 32 << 20


@dataclass(frozen=True)
class Peaks:
    """Peak figures of a unit; what is not known is none.

    Attributes:
        int8: Operations a second, two for each multiply-accumulate.
        floating: The same in the target's floating-point precision. A range where only its bounds are known.
        dram: Bytes a second.
        on_chip: Bytes a second from the last cache.
        on_chip_bytes: What fits there.
        precision: The floating-point precision.
        origin: Where the figures are from, in words.
        missing: Names of the descriptor's figures that an estimate needs and that are not published.
    """

    int8: float | None
    floating: Range | None
    dram: float | None
    on_chip: float | None
    on_chip_bytes: int | None
    precision: FloatPrecision
    origin: str
    missing: tuple[str, ...] = ()


def float_precision(target: Target) -> FloatPrecision:
    """Return what a target computes in whatever it does not compute in integers."""
    precision = target.scheme.higher_precision
    return "fp16" if precision == "int16" else precision


def published_peaks(target: Target) -> Peaks:
    """Return what a target's descriptor has.

    Where fp16 is missing and fp32 and int8 are there, fp16 lies between them: no unit has half-precision arithmetic
    that is slower than its single-precision one, or faster than its 8-bit one.
    """
    peak, precision = target.peak, float_precision(target)
    int8 = peak.int8_tops and peak.int8_tops * 1e12
    fp32 = peak.fp32_tflops and peak.fp32_tflops * 1e12
    fp16 = peak.fp16_tflops and peak.fp16_tflops * 1e12
    notes, floating = [], None
    exact = fp32 if precision == "fp32" else fp16
    if exact:
        floating = Range(exact, exact)
    elif fp32 and int8:
        floating = Range(fp32, int8)
        notes = [f" {precision}_tflops is missing: it lies between fp32_tflops and int8_tops."]
    needed = {
        "int8_tops": int8,
        "fp32_tflops" if precision == "fp32" else "fp16_tflops": floating,
        "dram_gb_s": peak.dram_gb_s,
    }
    return Peaks(
        int8=int8,
        floating=floating,
        dram=peak.dram_gb_s and peak.dram_gb_s * 1e9,
        on_chip=None,
        on_chip_bytes=round(peak.on_chip_mb * 1e6) if peak.on_chip_mb else None,
        precision=precision,
        origin="".join((peak.source.strip() or "The descriptor has no peak figures.", *notes)),
        missing=tuple(name for name, value in needed.items() if not value),
    )


@lru_cache(maxsize=1)
def own_peaks() -> Peaks:
    """Measure what one core of this CPU could do, without an engine, in about two seconds.

    fp32: the fastest of numpy's float32 matrix products of side 256 to 512. 8 bit: fp32 times what the instruction set
    does more of in one instruction (`integer_ratio`). Bandwidth: the fastest copy of an array that lies in the last
    cache, and of one eight times as large.

    Raises:
        EdgekitError: The process that measures failed.
    """
    done = subprocess.run(
        [sys.executable, "-c", f"import {__name__} as peaks; print(*peaks._measure({_cache_bytes()}))"],
        env={**os.environ, **_SINGLE_THREADED},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EdgekitError(problem="The peaks of this CPU could not be measured.", found=done.stderr.strip()[-500:])
    flops, on_chip, dram = map(float, done.stdout.split())
    ratio, instructions = integer_ratio(cpu_flags())
    return Peaks(
        int8=flops * ratio,
        floating=Range(flops, flops),
        dram=dram,
        on_chip=on_chip,
        on_chip_bytes=_cache_bytes(),
        precision="fp32",
        origin=f"This CPU, one core. Measured: float32 matrix product by numpy {flops / 1e9:.0f} GFLOP/s, copy in "
        f"cache {on_chip / 1e9:.0f} GB/s, in memory {dram / 1e9:.0f} GB/s. Derived: 8 bit is {ratio:g} times float32 "
        f"with {instructions}.",
    )


def integer_ratio(flags: frozenset[str]) -> tuple[float, str]:
    """Return how many 8-bit multiply-accumulates an instruction set does for each in float32, and by what.

    A dot product of four 8-bit pairs takes one lane of 32 bit, as one float32 multiply-add does: four. Without it x86
    needs three instructions (multiply and add pairs to 16 bit, again to 32 bit, accumulate): four thirds. Arm without
    it widens to 16 bit, two to a lane. Matrix extensions are counted as their tiles say.
    """
    ratios: Mapping[str, tuple[float, str]] = {
        "amx_int8": (32.0, "AMX (16 x 16 x 64 products in 16 cycles against 32 in float32 a cycle)"),
        "i8mm": (8.0, "the matrix multiplication of i8mm"),
        "vnni": (4.0, "the dot product of VNNI"),
        "asimddp": (4.0, "the dot product of ASIMD"),
        "asimd": (2.0, "16-bit products"),
    }
    known = next((ratio for flag, ratio in ratios.items() if flag in flags), None)
    return known or (4 / 3, "three instructions for four products")


def _cache_bytes() -> int:
    """Return the size of the largest cache that core 0 sees."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    units = {"K": 1 << 10, "M": 1 << 20}
    found = [path.read_text(encoding="ascii").strip() for path in sizes]
    return max((int(size[:-1]) * units[size[-1]] for size in found if size[-1:] in units), default=_DEFAULT_CACHE)


def _measure(cache: int) -> tuple[float, float, float]:
    """Return float32 operations a second, and bytes a second of a copy in the cache and in memory."""
    random = np.random.default_rng(0)
    flops = 0.0
    for side in _MATRIX_SIDES:
        left, right = random.random((2, side, side), np.float32)
        product = np.empty_like(left)
        flops = max(flops, 2 * side**3 / _fastest(partial(np.matmul, left, right, out=product)))
    rates = []
    for size in (cache // 16, 4 * cache):
        source = np.ones(size // 4, np.float32)
        copy = np.empty_like(source)
        rates.append(2 * source.nbytes / _fastest(partial(np.copyto, copy, source)))
    return flops, rates[0], rates[1]


def _fastest(call: Callable[[], object]) -> float:
    """Return the least seconds of a call: what disturbs it only ever makes it slower."""
    call()
    least, end = float("inf"), time.perf_counter() + _SECONDS_EACH
    while time.perf_counter() < end or least == float("inf"):
        start = time.perf_counter_ns()
        call()
        least = min(least, (time.perf_counter_ns() - start) / 1e9)
    return least
