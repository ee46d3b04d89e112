"""Which tools are measured on which engines, and what a run of the accuracy benchmark is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.judging import ROOT, THREADS

PTQ = ("quantize_static", "quantize_static-entropy", "nncf", "nncf-mixed", "modelopt", "modelopt-max", "aimet")
EDGEKIT = ("edgekit-quick", "edgekit-standard")
CLEANED = "edgekit-float32"


@dataclass(frozen=True)
class Block:
    """Rows that are measured together.

    Attributes:
        name: As the rows have it.
        engine: What runs the models.
        target: What EdgeKit calibrates for.
        tools: The rows, float32 first.
        timed: Whether this engine's speed means anything here.
    """

    name: str
    engine: str
    target: str
    tools: tuple[str, ...]
    timed: bool = True


BLOCKS = (
    Block("openvino", "openvino", "intel-cpu-vnni", ("float32", "bf16", *PTQ, "aimet-adaround", CLEANED, *EDGEKIT)),
    Block("onnxruntime", "onnxruntime", "arm-cortex-a76", ("float32", *PTQ, "aimet-adaround", CLEANED, *EDGEKIT)),
    Block("jetson-orin", "onnxruntime", "jetson-orin", ("float32", "modelopt", "modelopt-max", *EDGEKIT), timed=False),
)


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    out: Path
    halves: int
    pythons: dict[str, Path | None]
    adaround_steps: int
    tools: tuple[str, ...]

    @property
    def json(self) -> Path:
        return self.out.with_suffix(".json")

    @property
    def work(self) -> Path:
        """Where quantized models are kept until the run is complete."""
        return ROOT / "build" / "benchmark" / self.out.stem

    def settings(self) -> dict[str, Any]:
        return {"halves": self.halves, "threads": THREADS, "adaround_steps": self.adaround_steps}

    def wants(self, tool: str) -> bool:
        if tool == "aimet-adaround" and not self.adaround_steps:
            return False
        return tool == "float32" or not self.tools or tool in self.tools
