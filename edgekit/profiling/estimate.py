"""What a model would cost on a board that is not here: a range for each layer and the whole, never a measurement."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import onnx

from edgekit.graph.placement import place
from edgekit.profiling.efficiency import Efficiency, Range, efficiency_of
from edgekit.profiling.peaks import Peaks, published_peaks
from edgekit.profiling.roofline import FLOAT_BYTES, LayerTime, LayerWork, layer_time, layer_works
from edgekit.targets import Target

SCHEMA_VERSION = 1

Pays = Literal["yes", "no", "unclear", "not known"]


@dataclass(frozen=True)
class LayerEstimate:
    """A layer.

    Attributes:
        work: What it has to do under the target's rules.
        fp: How long it takes in floating point.
        int8: How long it takes under the target's rules, which may leave it in floating point.
        speedup: fp over int8 of a layer in 8 bit; none where it is not in 8 bit, or a figure is missing.
        fp_bytes: What it would touch in floating point.
    """

    work: LayerWork
    fp: LayerTime
    int8: LayerTime
    speedup: Range | None
    fp_bytes: int


@dataclass(frozen=True)
class Estimate:
    """What a model would cost on a target.

    Attributes:
        model: What the estimate is of.
        target: The board.
        peaks: What its unit could do.
        efficiency: Which share of that engines reach.
        layers: In graph order.
        fp: Milliseconds of a run in floating point; none where a figure is missing.
        int8: The same under the target's rules.
        speedup: fp over int8. Narrower than the quotient of both, since the same layer's efficiencies go together.
        fits_on_chip: Whether weights and the largest layer's activations fit into the chip's own memory; none where
            the descriptor does not say how large that is.
        origin: How the figures came about.
    """

    model: str
    target: Target
    peaks: Peaks
    efficiency: Efficiency
    layers: tuple[LayerEstimate, ...]
    fp: Range | None
    int8: Range | None
    speedup: Range | None
    fits_on_chip: bool | None
    origin: Literal["estimated"] = "estimated"

    @property
    def pays(self) -> Pays:
        """Whether INT8 pays."""
        return pays(self.speedup)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON has it; times in ms, what is not known as null."""
        works = [layer.work for layer in self.layers]
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "estimate",
            "origin": self.origin,
            "model": self.model,
            "target": self.target.name,
            "title": self.target.title,
            "engine": self.target.backend,
            "floating_point": self.peaks.precision,
            "fp_ms": _pair(self.fp),
            "int8_ms": _pair(self.int8),
            "speedup": _pair(self.speedup),
            "int8_pays": self.pays,
            "macs": sum(work.macs for work in works),
            "int8_macs": sum(work.macs for work in works if work.integer),
            "weight_bytes": sum(work.weight_bytes for work in works),
            "fits_on_chip": self.fits_on_chip,
            "missing": list(self.peaks.missing),
            "peaks": asdict(self.peaks),
            "efficiency": {
                "source": self.efficiency.source,
                "compute": {" ".join(key): _pair(each) for key, each in self.efficiency.compute.items()},
                "memory": {kind: _pair(each) for kind, each in self.efficiency.memory.items()},
                "layer_us": _pair(self.efficiency.layer_us),
                "call_us": _pair(self.efficiency.call_us),
            },
            "layers": [_layer(layer) for layer in self.layers],
        }


def estimate_model(
    name: str, model: onnx.ModelProto, target: Target, *, keep: Collection[str] = (), peaks: Peaks | None = None
) -> Estimate:
    """Estimate what a model would cost on a target, in floating point and under the target's rules.

    Args:
        name: What the model is called.
        model: Cleaned: named nodes, static shapes.
        target: The board.
        keep: Nodes that stay in floating point.
        peaks: The unit's; none: those of the target's descriptor.
    """
    peaks = peaks or published_peaks(target)
    efficiency, float_bytes = efficiency_of(target), FLOAT_BYTES[peaks.precision]
    floating = list(layer_works(model, None, float_bytes))
    integer = list(layer_works(model, place(model, target.scheme, keep), float_bytes))
    fits = _fits(peaks.on_chip_bytes)
    layers = tuple(_estimated(fp, int8, peaks, efficiency, fits) for fp, int8 in zip(floating, integer, strict=True))
    largest = max((work.activation_bytes for work in integer), default=0)
    return Estimate(
        model=name,
        target=target,
        peaks=peaks,
        efficiency=efficiency,
        layers=layers,
        fp=_total([layer.fp for layer in layers], efficiency),
        int8=_total([layer.int8 for layer in layers], efficiency),
        speedup=_whole_speedup(layers),
        fits_on_chip=fits(sum(work.weight_bytes for work in integer) + largest),
    )


def pays(speedup: Range | None) -> Pays:
    """Say whether 8 bit pays, from the range of what it gains."""
    if speedup is None:
        return "not known"
    return "yes" if speedup.low > 1 else "no" if speedup.high < 1 else "unclear"


def _fits(on_chip_bytes: int | None) -> Callable[[int], bool | None]:
    return lambda size: None if on_chip_bytes is None else size <= on_chip_bytes


def _estimated(
    fp: LayerWork, int8: LayerWork, peaks: Peaks, efficiency: Efficiency, fits: Callable[[int], bool | None]
) -> LayerEstimate:
    slow = layer_time(fp, peaks, efficiency, fits(fp.moved))
    fast = layer_time(int8, peaks, efficiency, fits(int8.moved))
    gain = efficiency.gain.get(int8.kind)
    speedup = None
    if int8.integer and gain and peaks.int8 and peaks.floating:
        speedup = Range(peaks.int8 / peaks.floating.high * gain.low, peaks.int8 / peaks.floating.low * gain.high)
    return LayerEstimate(int8, slow, fast, speedup, fp.moved)


def _total(times: Sequence[LayerTime], efficiency: Efficiency) -> Range | None:
    ranges = [time.ms for time in times if time.ms is not None]
    if len(ranges) < len(times):
        return None
    return sum(ranges, efficiency.call_us.scaled(1e-3))


def _whole_speedup(layers: Sequence[LayerEstimate]) -> Range | None:
    """Return what the whole gains: each layer in 8 bit what it may, any other at most what it reads and writes less."""
    slow, fastest, slowest = 0.0, 0.0, 0.0
    for layer in layers:
        if layer.fp.ms is None or (layer.work.integer and layer.speedup is None):
            return None
        middle = (layer.fp.ms.low + layer.fp.ms.high) / 2
        gain = layer.speedup or Range(1.0, layer.fp_bytes / max(layer.work.moved, 1))
        slow += middle
        fastest += middle / gain.high
        slowest += middle / gain.low
    return Range(slow / slowest, slow / fastest) if fastest else None


def _layer(layer: LayerEstimate) -> dict[str, Any]:
    work = layer.work
    return {
        "name": work.name,
        "operator": work.operator,
        "int8": work.integer,
        "macs": work.macs,
        "bytes": work.moved,
        "fp_ms": _pair(layer.fp.ms),
        "int8_ms": _pair(layer.int8.ms),
        "bound": layer.int8.bound,
        "bound_fp": layer.fp.bound,
        "speedup": _pair(layer.speedup),
        "int8_pays": pays(layer.speedup) if work.integer else None,
    }


def _pair(each: Range | None) -> list[float] | None:
    return [each.low, each.high] if each else None
