from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekit.profiling.latency import speedup, summarize
from edgekit.profiling.machine import Disturbance, Limits, Machine, Noise, State
from edgekit.profiling.memory import Memory
from edgekit.profiling.pace import Pace
from edgekit.profiling.result import Conditions, Method, Model, Profile, Row, Subject
from edgekit.profiling.samples import Samples
from edgekit.profiling.schedule import Budget, WarmUp
from edgekit.report import table
from edgekit.report.table_parts import estimates_text

MACHINE = Machine(
    cpu="Some CPU 9B45",
    board="",
    arch="x86_64",
    isa=("sse4_2", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni"),
    cores=8,
    affinity=(0, 1),
    limits=Limits(None, None),
    governor=(),
    virtual=True,
    memory=8 << 30,
    system="Linux 6.1.0",
    versions={"openvino": "2026.4.1"},
)


def profile_text(profile: dict[str, Any], width: int = 100, *, color: bool = False) -> str:
    return table.profile_text(profile, width, color=color)


def profiled(scale: float = 1.0, rounds: int = 30, calls: int = 20, mismatch: str = "") -> dict[str, Any]:
    random = np.random.default_rng(0)
    typical = {"engine": 20.0, "preprocess": 0.7, "postprocess": 0.2, "end_to_end": 21.0}

    def durations(ms: float) -> Any:
        return (1e6 * ms * scale * random.lognormal(sigma=0.02, size=(rounds, calls))).astype(np.int64)

    fp = {part: durations(ms) for part, ms in typical.items()}
    int8 = {part: durations(ms / 2.25 if ms > 1 else ms) for part, ms in typical.items()}
    profile = Profile(
        subject=Subject("lane.edge", "intel-cpu-vnni", mismatch, "openvino", {"precision": "f32"}, 1),
        method=Method(
            "quick", Budget(10.0), Pace(), None, rounds, calls, 4, (720, 1280), {"fp": WarmUp(30, 0.3, True, 1e6)}
        ),
        conditions=Conditions(
            MACHINE,
            State(0.1, None, None),
            State(0.5, None, None),
            (Noise(0.012, 0.5), Noise(0.034, 0.5)),
            Disturbance(10.0, 0.0, 0.0),
        ),
        rows=(
            row("fp", fp, memory(180), 3_100_000),
            row("int8", int8, memory(150), 812_345),
        ),
        speedup={part: speedup(fp[part], int8[part]) for part in ("engine", "end_to_end")},
        findings=(),
        warnings=("The CPU frequency may change: governor powersave.",),
    )
    loaded: dict[str, Any] = json.loads(json.dumps(profile.to_json()))
    return loaded


def row(model: Model, durations: dict[str, Any], held: Memory, weights: int) -> Row:
    order = np.zeros(durations["engine"].shape, np.int64) + np.arange(durations["engine"].shape[1])
    samples = {"frame": Samples(durations, order, order)}
    latency = {part: summarize(data) for part, data in durations.items()}
    return Row(model, latency, samples, {"frame": 10.0}, None, held, weights)


def memory(peak_mb: int) -> Memory:
    return Memory(20_000_000, 120_000_000, 140_000_000, peak_mb * 1_000_000, 90_000_000, 10)


@pytest.mark.parametrize("width", [40, 80, 100, 300])
@pytest.mark.parametrize("scale", [0.01, 1.0, 4.0, 30.0, 400.0])
def test_the_page_fits_the_terminal_and_nothing_is_cut(width: int, scale: float) -> None:
    page = profile_text(profiled(scale, mismatch="It is a toaster."), width)
    assert max(map(len, page.splitlines())) <= max(80, min(width, 100))
    assert "…" not in page
    for figure in ("p50", "95% interval", "p99.9", "max", "samples", "600", "weights", "activations"):
        assert figure in page


def test_every_figure_stands_under_its_heading_with_its_decimals_aligned() -> None:
    lines = profile_text(profiled()).splitlines()
    heading = next(line for line in lines if "p99.9" in line and "p50" in line)
    rows = [line for line in lines if re.match(r"\s+(fp|int8)\s+\d", line) and "600" in line]
    assert len(rows) == 8
    for name in ("p50", "p90", "max", "jitter", "samples"):
        end = heading.index(name) + len(name)
        figures = [re.search(r"[\d.,]+$", line[:end]) for line in rows]
        assert all(figures), name
        assert {line[end : end + 1] for line in rows} <= {" ", ""}
    points = {line.index(".") for line in rows}
    assert len(points) == 1


def test_figures_are_those_of_the_profile() -> None:
    profile = profiled()
    page = profile_text(profile)
    int8 = profile["rows"][1]
    assert f"{int8['latency']['engine']['percentiles']['p50']['value']:.3f}" in page
    low, high = profile["speedup"]["engine"]["interval_95"]
    assert f"x{profile['speedup']['engine']['ratio']:.2f}" in page
    assert f"{low:.2f}..{high:.2f}" in page
    assert re.search(r"int8\s+150\.0\s+90\.0\s+120\.0\s+30\.0\s+0\.81\s+-\s+-$", page, re.MULTILINE)


def test_origin_engine_and_machine_are_told() -> None:
    page = profile_text(profiled())
    assert "Latency in ms, measured" in page
    assert "Memory in MB, measured in a fresh process" in page
    assert "openvino 2026.4.1; precision f32; 1 thread" in page
    assert "Some CPU 9B45" in page
    assert "2 of 8 cores" in page
    assert "noise floor 3.4%" in page
    assert "! The CPU frequency may change" in page


def test_figures_of_a_foreign_machine_are_told_as_such() -> None:
    assert "figures of this machine, not of the target" not in profile_text(profiled())
    page = profile_text(profiled(mismatch="It is a toaster."))
    flat = " ".join(page.split())
    assert "figures of this machine, not of the target intel-cpu-vnni. It is a toaster." in flat


def test_percentiles_that_the_samples_do_not_bear_are_marked() -> None:
    few = profile_text(profiled(rounds=2, calls=2))
    assert "- too few samples: p50 needs 11, p90 needs 64, p99 needs 662, p99.9 needs 6,636" in few
    assert "<" not in few
    assert "speed-up" not in few
    some = profile_text(profiled(rounds=30, calls=20))
    assert "too few samples: p99 needs 662, p99.9 needs 6,636" in some
    assert re.search(r"fp .*<\d", some)
    assert "it lies below this with 95% confidence" in some
    assert "too few samples" not in profile_text(profiled(rounds=70, calls=100))


@pytest.mark.parametrize(
    "change",
    [
        lambda profile: [row.update(memory=None) for row in profile["rows"]],
        lambda profile: profile["warnings"].clear(),
        lambda profile: profile["speedup"].update(engine=None),
    ],
    ids=["no memory", "no warnings", "no speed-up"],
)
def test_what_is_missing_is_left_out(change: Callable[[dict[str, Any]], None]) -> None:
    profile = profiled()
    without = copy.deepcopy(profile)
    change(without)
    assert len(profile_text(without)) < len(profile_text(profile))


def test_misses_layers_and_findings_are_told_where_there_are_any() -> None:
    plain = profile_text(profiled())
    assert "deadline" not in plain
    assert "Layers" not in plain
    assert "Found" not in plain
    profile = profiled()
    profile["config"]["deadline_ms"] = 33.0
    misses = {"frames": 1000, "missed": 12, "dropped": 3, "rate": 0.012, "interval_95": [0.004, 0.02], "longest_run": 4}
    part = {"microseconds": 1234.5, "share": 0.31, "precision": "int8", "kinds": "conv"}
    profile["layers"] = [{"nodes": ["/backbone/" * 6 + "conv1", "relu1"], "int8": part}, {"nodes": [], "int8": part}]
    profile["findings"] = [{"model": "int8", "part": "engine", "statement": "stalls: 3 of 600 runs"}]
    for row in profile["rows"]:
        row["deadline"] = misses
    for width in (80, 100):
        page = profile_text(profile, width)
        assert re.search(r"int8\s+1,000\s+12\s+3\s+1.20%\s+0.40%..2.00%\s+4$", page, re.MULTILINE)
        assert re.search(r"^\.\.\S+conv1 \+1\s+1,234\s+31%\s+int8$", page, re.MULTILINE)
        assert re.search(r"^\(conv\)\s+1,234", page, re.MULTILINE)
        assert "! int8 engine: stalls: 3 of 600 runs" in page
        assert max(map(len, page.splitlines())) <= width


def test_a_partial_profile_says_so_first() -> None:
    assert profile_text(profiled() | {"partial": "KeyboardInterrupt"}).splitlines()[0].startswith("PARTIAL")


def test_estimates_are_ranges_and_labelled_as_such() -> None:
    known = {"fp_ms": [1.234, 5.0], "int8_ms": [0.5, 2.0], "speedup": [1.5, 2.5], "int8_pays": "yes"}
    unknown = {"fp_ms": None, "int8_ms": None, "speedup": None, "int8_pays": "unknown"}
    page = estimates_text([{"target": name, "engine": "qnn"} | each for name, each in (("a", known), ("b", unknown))])
    assert "estimated" in page.splitlines()[0]
    assert re.search(r"^a\s+qnn\s+1.23..5\s+0.5..2\s+1.5..2.5\s+yes$", page, re.MULTILINE)
    assert page.splitlines()[-1] == "Not estimated, for want of peak figures in the target's descriptor: b"


def test_color_is_only_there_when_asked_for() -> None:
    assert "\x1b[" in profile_text(profiled(), color=True)
    assert "\x1b[" not in profile_text(profiled())


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "84")
    assert table.profile_text(profiled()) == profile_text(profiled(), 84)
    assert table.profile_text(profiled()) != profile_text(profiled(), 100)


def test_the_board_that_was_measured_from_elsewhere_is_named() -> None:
    assert "host key" not in profile_text(profiled())
    board = {"host": "ssh://nvidia@orin", "host_key": "ssh-ed25519 SHA256:abc"}
    text = profile_text(profiled() | {"origin": "remote", "remote": board})
    assert "ssh://nvidia@orin, host key ssh-ed25519 SHA256:abc" in text
    assert "Latency in ms, remote" in text
