from __future__ import annotations

from typing import Any

import pytest

from edgekit.backends.openvino_options import settings
from edgekit.errors import UsageError
from edgekit.targets import list_targets, load_target


def test_without_options_a_cpu_computes_in_f32_with_one_stream() -> None:
    found = settings({})
    assert (found.device, found.precision) == ("CPU", "f32")
    assert found.properties == {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }


def test_every_option_is_said_to_openvino() -> None:
    options = {"device": "CPU", "precision": "bf16", "performance_hint": "throughput", "streams": 2, "threads": 4}
    assert settings(options).properties == {
        "INFERENCE_PRECISION_HINT": "bf16",
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": 2,
        "INFERENCE_NUM_THREADS": 4,
    }


def test_threads_that_the_caller_asks_for_come_first_and_are_no_part_of_what_was_compiled() -> None:
    found = settings({"threads": 4}, threads=2)
    assert found.properties["INFERENCE_NUM_THREADS"] == 2
    assert found.without_threads() == settings({}).without_threads()


def test_npu_gets_neither_threads_nor_streams() -> None:
    assert settings({"device": "NPU"}, threads=2).properties == {
        "INFERENCE_PRECISION_HINT": "f16",
        "PERFORMANCE_HINT": "LATENCY",
    }


@pytest.mark.parametrize(
    "options, found",
    [
        ({"device": "TPU"}, "Known: CPU, GPU, NPU"),
        ({"precision": "int4"}, "Known: f32, bf16, f16"),
        ({"device": "GPU", "precision": "bf16"}, "Known: f32, f16"),
        ({"device": "NPU", "precision": "f32"}, "Known: f16"),
        ({"performance_hint": "fast"}, "Known: latency, throughput"),
        ({"streams": 0}, "options.streams = 0"),
        ({"streams": True}, "options.streams = True"),
        ({"threads": 1.5}, "options.threads = 1.5"),
        ({"device": "GPU", "threads": 2}, "threads = 2"),
        ({"device": "NPU", "streams": 1}, "streams = 1"),
        ({"turbo": True}, "Known: device, performance_hint, precision, streams, threads"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(options: dict[str, Any], found: str) -> None:
    with pytest.raises(UsageError) as refusal:
        settings(options)
    assert found in refusal.value.found


@pytest.mark.parametrize("name", [name for name, _ in list_targets() if load_target(name).backend == "openvino"])
def test_shipped_targets_leave_nothing_open(name: str) -> None:
    assert {"device", "precision", "performance_hint"} <= set(load_target(name).options)
