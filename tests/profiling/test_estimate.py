from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.graph.clean import clean
from edgekit.profiling.efficiency import Range, efficiency_of
from edgekit.profiling.estimate import Estimate, estimate_model, pays
from edgekit.profiling.peaks import Peaks, integer_ratio, own_peaks, published_peaks
from edgekit.profiling.roofline import layer_time, layer_works
from edgekit.report.estimate import estimate_text
from edgekit.targets import list_targets, load_target
from tests.graph.models import NetBuilder

PEAKS = Peaks(
    int8=4e11, floating=Range(1e11, 1e11), dram=2e10, on_chip=1e11, on_chip_bytes=1 << 20, precision="fp32", origin="x"
)
HOST = load_target("intel-cpu-vnni")


def net(channels: int = 32, size: int = 32) -> onnx.ModelProto:
    """A convolution with Relu, and a 1x1 convolution behind it."""
    build = NetBuilder(channels=channels, size=size)
    first = build.node(
        "Conv", ["image", build.weight("w", channels, channels, 3, 3)], "first", kernel_shape=[3, 3], pads=[1] * 4
    )
    active = build.node("Relu", [first], "active")
    return clean(build.model(build.node("Conv", [active, build.weight("v", 8, channels, 1, 1)], "out")), 21).model


def estimated(target: str = "intel-cpu-vnni", peaks: Peaks | None = PEAKS, **more: Any) -> Estimate:
    return estimate_model("net", net(), load_target(target), peaks=peaks, **more)


def test_a_layer_takes_its_operations_over_the_peak() -> None:
    share = efficiency_of(HOST).compute["dense", "float"]
    work = next(iter(layer_works(net(), None, 4)))
    macs = 32 * 32 * 9 * 32 * 32
    assert work.macs == macs
    time = layer_time(work, replace(PEAKS, on_chip=1e15), efficiency_of(HOST), True)
    assert time.bound == "compute fp"
    assert time.ms is not None
    assert time.ms.low == pytest.approx(2e3 * macs / (1e11 * share.high))
    assert time.ms.high == pytest.approx(2e3 * macs / (1e11 * share.low) + 1e-3)


@pytest.mark.parametrize(("on_chip", "bound"), [(True, "on-chip"), (False, "memory")])
def test_a_slow_memory_bounds(on_chip: bool, bound: str) -> None:
    work = next(iter(layer_works(net(), None, 4)))
    assert layer_time(work, replace(PEAKS, on_chip=1e8, dram=1e8), efficiency_of(HOST), on_chip).bound == bound


def test_twice_the_peak_takes_no_longer() -> None:
    slow = estimated().fp
    fast = estimated(peaks=replace(PEAKS, floating=Range(2e11, 2e11))).fp
    assert slow is not None
    assert fast is not None
    assert fast.low < slow.low
    assert fast.high < slow.high


def test_what_the_target_quantizes_is_counted_in_8_bit() -> None:
    floating = {work.name: work for work in layer_works(net(), None, 4)}
    layers = {layer.work.operator: layer for layer in estimated().layers if layer.work.macs > 1e6}
    conv = layers["Conv"].work
    assert conv.integer
    assert conv.weight_bytes == 32 * 32 * 9
    assert conv.moved < floating[conv.name].moved
    assert layers["Conv"].int8.bound == "compute int8"


def test_a_layer_that_is_kept_stays_in_floating_point() -> None:
    names = [layer.work.name for layer in estimated().layers if layer.work.operator == "Conv"]
    kept = estimated(keep=names)
    assert not any(layer.work.integer for layer in kept.layers)
    assert kept.fp == kept.int8


def test_a_view_takes_no_time_and_a_relu_at_best_none() -> None:
    relu = next(layer for layer in estimated().layers if layer.work.operator == "Relu")
    assert relu.fp.ms is not None
    assert relu.fp.ms.low == 0 < relu.fp.ms.high


def test_what_a_descriptor_lacks_is_named_and_not_invented() -> None:
    found = estimated("qualcomm-htp-v73", None)
    assert (found.fp, found.int8, found.speedup, found.pays) == (None, None, None, "not known")
    assert found.peaks.missing == ("int8_tops", "fp16_tflops", "dram_gb_s")
    assert found.fits_on_chip
    assert "missing   int8_tops, fp16_tflops, dram_gb_s" in estimate_text(found.to_json())


def test_half_precision_lies_between_single_precision_and_8_bit() -> None:
    peaks = published_peaks(load_target("jetson-orin-nano-jp6"))
    assert peaks.floating == Range(2.08e12, 33e12)
    assert peaks.missing == ()
    assert "fp16_tflops is missing" in peaks.origin


@pytest.mark.parametrize("name", [name for name, title in list_targets() if not title.startswith("alias")])
def test_every_shipped_target_has_an_estimate_that_is_labelled(name: str) -> None:
    found = estimated(name, None)
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert written["origin"] == "estimated"
    assert (written["int8_ms"] is None) == bool(written["missing"])
    text = estimate_text(written)
    assert "estimated" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("speedup", "verdict"),
    [(Range(1.1, 2), "yes"), (Range(0.4, 0.9), "no"), (Range(0.9, 1.1), "unclear"), (None, "not known")],
)
def test_whether_8_bit_pays(speedup: Range | None, verdict: str) -> None:
    assert pays(speedup) == verdict


@pytest.mark.parametrize(
    ("flags", "ratio"), [({"vnni"}, 4), ({"avx2"}, 4 / 3), ({"asimd", "asimddp"}, 4), ({"asimd"}, 2), (set(), 4 / 3)]
)
def test_what_an_instruction_set_does_in_8_bit(flags: set[str], ratio: float) -> None:
    assert integer_ratio(frozenset(flags))[0] == ratio


def test_the_peaks_of_this_machine_are_those_of_a_computer() -> None:
    peaks = own_peaks()
    assert peaks.floating is not None
    assert peaks.on_chip is not None
    assert 1e9 < peaks.floating.low < 1e13
    assert peaks.dram is not None
    side = np.zeros((64, 64), np.float32)
    assert side.nbytes < (peaks.on_chip_bytes or 0)
