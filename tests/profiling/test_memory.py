from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.errors import TargetError
from edgekit.process import is_measurable, resident
from edgekit.profiling.growth import growth
from edgekit.profiling.memory import Call, Memory, Soak, in_fresh_process

pytestmark = pytest.mark.skipif(not is_measurable(), reason="this system does not tell a process its peak memory")

MB = 1 << 20

WORKLOAD = """
import os

held = []

def touched(size):
    block = bytearray(size)
    for page in range(0, size, 4096):
        block[page] = 1
    return block

def load(weights, scratch):
    held.append(touched(weights))
    return lambda: touched(scratch)[0]

def leak(size):
    def run():
        held.append(touched(size))
    return run

def fail(**_):
    raise ValueError("the engine is broken")

def refuse(**_):
    from edgekit.errors import ArtifactError
    raise ArtifactError(problem="No such bundle.", found="nothing", fix="Look again.")

def crash(**_):
    os.abort()
"""


@pytest.fixture
def workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that only the fresh process imports."""
    (tmp_path / "pretend_engine.py").write_text(WORKLOAD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "pretend_engine"


def test_what_a_model_takes_is_found(workload: str) -> None:
    memory = in_fresh_process(Call(f"{workload}:load", {"weights": 64 * MB, "scratch": 32 * MB}), runs=3)
    assert memory.runs == 3
    assert memory.loaded - memory.baseline == pytest.approx(64 * MB, abs=4 * MB)
    assert memory.model == pytest.approx(96 * MB, abs=6 * MB)
    assert memory.model == memory.peak - memory.baseline


def test_what_prepares_the_engine_counts_as_baseline(workload: str) -> None:
    load = Call(f"{workload}:load", {"weights": 1, "scratch": 1})
    bare = in_fresh_process(load)
    prepared = in_fresh_process(load, prepare=Call(f"{workload}:load", {"weights": 48 * MB, "scratch": 0}))
    assert bare.baseline - bare.interpreter < 1 * MB
    assert prepared.baseline - prepared.interpreter == pytest.approx(48 * MB, abs=4 * MB)
    assert prepared.model < 4 * MB


def test_the_process_is_fresh(workload: str) -> None:
    ballast = bytearray(b"x" * (256 * MB))
    memory = in_fresh_process(Call(f"{workload}:load", {"weights": 1, "scratch": 1}))
    assert memory.peak < len(ballast) / 2


def test_the_process_imports_nothing_that_is_not_measured() -> None:
    code = "import edgekit.profiling.memory, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"numpy", "psutil", "pydantic", "rich", "onnxruntime", "cv2"}.isdisjoint(loaded)


def test_the_highest_value_stays_when_memory_is_freed() -> None:
    code = (
        "from edgekit.process import resident; import json\n"
        "block = bytearray(b'x' * (64 << 20)); del block\n"
        "print(json.dumps(resident()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    now, highest = json.loads(done.stdout)
    assert highest - now > 32 * MB
    assert resident()[0] <= resident()[1]


def test_a_process_that_fails_says_why(workload: str) -> None:
    with pytest.raises(TargetError, match="the engine is broken") as failed:
        in_fresh_process(Call(f"{workload}:fail", {}))
    assert "exit code 1" in failed.value.found


def test_an_error_of_edgekit_is_told_in_one_line(workload: str) -> None:
    with pytest.raises(TargetError, match=r"No such bundle\. found: nothing fix: Look again\."):
        in_fresh_process(Call(f"{workload}:refuse", {}))


def test_a_process_that_crashes_says_by_which_signal(workload: str) -> None:
    with pytest.raises(TargetError, match="SIGABRT"):
        in_fresh_process(Call(f"{workload}:crash", {}))


def test_the_models_share_is_the_peak_without_the_baseline() -> None:
    assert Memory(interpreter=10, baseline=30, loaded=50, peak=75, proportional=None, runs=1).model == 45


def test_a_leak_is_found_in_the_process_that_leaks(workload: str) -> None:
    call = Call(f"{workload}:leak", {"size": 100_000})
    grown = growth(in_fresh_process(call, runs=2, soak=Soak(500, 20.0)).watched)
    assert grown is not None
    assert grown.leaks
    assert grown.runs == 500
    assert grown.bytes_per_run == pytest.approx(100_000, rel=0.05)


def test_a_process_that_frees_what_it_takes_does_not_leak(workload: str) -> None:
    call = Call(f"{workload}:load", {"weights": MB, "scratch": MB})
    memory = in_fresh_process(call, runs=2, soak=Soak(500, 20.0))
    grown = growth(memory.watched)
    assert grown is not None
    assert not grown.leaks
    assert memory.proportional is None or 0 < memory.proportional < memory.peak


def test_watching_ends_in_time(workload: str) -> None:
    memory = in_fresh_process(Call(f"{workload}:load", {"weights": MB, "scratch": 8 * MB}), soak=Soak(10**6, 0.5))
    assert len(memory.watched) > 10
    assert memory.watched[-1][0] < 10**5
