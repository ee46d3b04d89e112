from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from edgekit.backends import Layer, backend_for
from edgekit.backends.openvino_layers import timed_layers
from tests.backends import models
from tests.backends.test_contract import quantized_for, target_of

MANY_RUNS = 3000


def profile(**microseconds: float) -> list[SimpleNamespace]:
    """What OpenVINO gives for one run; its CPU plugin calls what takes under a microsecond not run."""
    return [
        SimpleNamespace(
            node_name=name,
            status="Status.EXECUTED" if value else "Status.NOT_RUN",
            real_time=timedelta(microseconds=value),
        )
        for name, value in microseconds.items()
    ]


def layer(name: str, device: str) -> Layer:
    return Layer(name, "Convolution", "int8", device)


def test_time_on_a_cpu_is_the_mean_of_all_runs_but_the_first() -> None:
    # 90, then 30 three times: the plugin tells the mean of all runs so far.
    runs = [profile(conv=90, tiny=1), profile(conv=60, tiny=0), profile(conv=50, tiny=0), profile(conv=45, tiny=0)]
    layers = [layer("conv", "CPU"), layer("tiny", "CPU")]
    assert [one.microseconds for one in timed_layers(layers, runs)] == [30.0, 0.0]


def test_time_elsewhere_is_the_median_of_all_runs_but_the_first() -> None:
    runs = [profile(conv=90), profile(conv=31), profile(conv=30), profile(conv=38)]
    assert [one.microseconds for one in timed_layers([layer("conv", "GPU.0")], runs)] == [31.0]


def test_layer_that_the_profiler_does_not_know_has_no_time() -> None:
    assert timed_layers([layer("conv", "CPU")], [profile(relu=1), profile(relu=1)]) == ()


def test_kernels_under_a_microsecond_are_told_of() -> None:
    backend = backend_for("openvino")
    if reason := backend.available().reason:
        pytest.skip(reason)
    built = backend.build(quantized_for(backend), target_of(backend))
    timed = backend.time_layers(built.members, target_of(backend).options, 1, {"image": models.sample()}, MANY_RUNS)
    assert [one.layer.name for one in timed] == [layer.name for layer in built.layers]
    assert max(one.microseconds for one in timed) > 0
