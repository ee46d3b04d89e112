"""Let a tool quantize a model, once, in a process of its own, and load what it wrote into an engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.graph.read import input_of, read_model
from edgekit.targets import cpu_flags
from tests.benchmarks import foreign
from tests.benchmarks.judging import ROOT, Case, Run, engine_run, int8_macs_share
from tests.benchmarks.plan import EDGEKIT, Block, Options

NOT_INSTALLED = "not installed"
LATE = f"not done after {foreign.TIMEOUT_S / 3600:g} h"
NO_BF16 = "this CPU has no bf16"
MAX_REASON = 160
LOCAL = re.compile("|".join(re.escape(str(root)) + r"[^\s'\"]*/" for root in (ROOT, tempfile.gettempdir(), sys.prefix)))
FOREIGN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "modelopt": ("modelopt", "foreign_modelopt.py", {"method": "entropy"}),
    "modelopt-max": ("modelopt", "foreign_modelopt.py", {"method": "max"}),
    "aimet": ("aimet", "foreign_aimet.py", {"adaround_steps": 0}),
    "aimet-adaround": ("aimet", "foreign_aimet.py", {}),
}
"""Tool to the environment that it lives in, its script there, and what that is told."""
PACKAGES = {"modelopt": "nvidia-modelopt", "aimet": "aimet-onnx"}


class Refused(Exception):
    """A tool or an engine that does not take a model.

    Args:
        who: What refuses; empty where the reason says it all.
        why: The reason, of which the last line is kept, without this machine's folders.
    """

    def __init__(self, why: str, who: str = "") -> None:
        line = LOCAL.sub("", (why.strip().splitlines() or ["no reason given"])[-1])[:MAX_REASON]
        super().__init__(f"{who}: {line}" if who else line)


def runs_of(case: Case, block: Block, tool: str, options: Options, halves: list[tuple[Path, Path]]) -> list[Run]:
    """Return one run of the tool's model per turn, quantized where it is not yet.

    Raises:
        Refused: The tool or the engine does not take the model.
    """
    if tool == "float32":
        return [engine_run(block.engine, case.path)] * len(halves)
    if tool == "bf16":
        if not cpu_flags() & {"avx512_bf16", "amx_bf16"}:
            raise Refused(NO_BF16)
        return [engine_run(block.engine, case.path, "bf16")] * len(halves)
    paths = [quantized_path(case, block, tool, options, half) for half in range(len(halves))]
    for path, (calibrate, _) in zip(paths, halves, strict=True):
        if not path.with_suffix(".cost").exists():
            cost = _quantize(case, block, tool, options, calibrate, path)
            path.with_suffix(".cost").write_text(json.dumps(cost))
    try:
        return [_tried(engine_run(block.engine, path), case) for path in paths]
    except Exception as error:  # what engines raise shares no base
        raise Refused(getattr(error, "found", "") or str(error), block.engine) from error


def _tried(run: Run, case: Case) -> Run:
    """Return the run once it has run: some engines find only then what they do not support."""
    shape = input_of(read_model(case.path))[1]
    run(np.zeros(tuple(extent or 1 for extent in shape), np.float32))
    return run


def quantized_path(case: Case, block: Block, tool: str, options: Options, half: int) -> Path:
    """Return where a tool's model lies. One that does not know of engines quantizes once for all of them."""
    kind = f"{tool}-{block.target}" if tool in EDGEKIT else tool
    suffix = ".onnx"
    if tool.startswith("nncf"):
        kind, suffix = f"{tool}-{block.engine}", ".xml" if block.engine == "openvino" else ".onnx"
    return options.work / case.model / f"{kind}-{half}{suffix}"


def costs_of(case: Case, block: Block, tool: str, options: Options) -> dict[str, float]:
    """Return what the first turn's quantization cost, and the smallest share of MACs in INT8 of all turns."""
    paths = [quantized_path(case, block, tool, options, half) for half in range(options.halves)]
    told: list[dict[str, float]] = [json.loads(path.with_suffix(".cost").read_text()) for path in paths]
    if paths[0].suffix != ".onnx":
        return told[0]
    shares = [cost.get("macs_share", int8_macs_share(path)) for cost, path in zip(told, paths, strict=True)]
    return told[0] | {"macs_share": min(shares)}


def _quantize(case: Case, block: Block, tool: str, options: Options, frames: Path, out: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        # A copy: Model Optimizer writes inferred shapes back into the file that it is given.
        model = Path(name) / "model.onnx"
        model.write_bytes(case.path.read_bytes())
        order: dict[str, Any] = {"tool": tool, "model": str(model), "frames": str(frames), "out": str(out)}
        try:
            if tool in FOREIGN:
                home, script, told = FOREIGN[tool]
                python = options.pythons[home]
                if python is None:
                    raise Refused(NOT_INSTALLED)
                order |= {"adaround_steps": options.adaround_steps} | told
                return foreign.quantize(python, script, case.preprocessor(), order, Path(name))
            return _in_own_process(order | {"recipe": case.recipe, "target": block.target})
        except subprocess.CalledProcessError as error:
            killed = f"killed by signal {-error.returncode}" if error.returncode < 0 else ""
            raise Refused(killed or error.stderr or str(error), "the tool") from error
        except subprocess.TimeoutExpired as error:
            raise Refused(LATE, "the tool") from error


def _in_own_process(order: dict[str, Any]) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.tools", json.dumps(order)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    answer: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer
