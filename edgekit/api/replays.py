"""Replay golden inputs in every engine that can, for the agreement matrix."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.api.evidence import name_of
from edgekit.api.sources import Outputs, Source
from edgekit.backends import Backend, Engine, backend_for
from edgekit.backends.emulated import EmulatedBackend
from edgekit.emulation import CORES, emulated_python
from edgekit.errors import EdgekitError, TargetError
from edgekit.progress import Progress
from edgekit.targets import Target, load_target, origin_of

Origin = Literal["measured", "simulated", "emulated"]

FLOAT = "floating point"

_BOARDS = {
    "onnxruntime": "arm-cortex-a76",
    "openvino": "intel-cpu-vnni",
    "tensorrt": "jetson-orin",
    "qnn": "qualcomm-htp-v75",
}
"""The target that stands for a backend where the source is for another one."""


@dataclass(frozen=True)
class Replay:
    """What a model gave in an engine.

    Attributes:
        engine: The engine with its version, and the processor where it is ONNX Runtime.
        model: `FLOAT`, or the target by whose rules the model is quantized.
        origin: Where the outputs come from.
        outputs: By name, for each golden input.
        precision: What the engine computes in where nothing is quantized, as targets name it.
        is_reference: Whether it is ONNX Runtime on this machine's processor, which others of the same model are held
            against.
    """

    engine: str
    model: str
    origin: Origin
    outputs: Sequence[Outputs]
    precision: str = "f32"
    is_reference: bool = False


@dataclass(frozen=True)
class Absent:
    """An engine that gave nothing, and why."""

    engine: str
    reason: str


@dataclass(frozen=True)
class Replays:
    """Replays the golden inputs of a source in every engine that can.

    Attributes:
        source: A calibration or a bundle.
        arm_root: Where the emulated Arm cores are (`edgekit.emulation`).
        progress: Told what runs.
    """

    source: Source
    arm_root: Path
    progress: Progress

    def __iter__(self) -> Iterator[Replay | Absent]:
        """Yield floating point first, then the quantized models, each in ONNX Runtime here before it runs elsewhere.

        Raises:
            EdgekitError: ONNX Runtime does not run the source's own models, so there is nothing to hold others against.
        """
        own = self.source.target
        boards = [own, *_other_boards(own)]
        yield self._in_onnxruntime(self.source.reference(), FLOAT)
        for index, board in enumerate(boards):
            self.progress("replay", index, len(boards))
            try:
                model = self.source.quantized(board)
            except EdgekitError as error:
                if board is own:
                    raise
                yield _absent(board.backend, error)
                continue
            replays = list(self._in_its_engine(board, model))
            if board is own or any(isinstance(one, Replay) for one in replays):
                yield self._in_onnxruntime(model, board.name)
            yield from replays
            if board is own:
                yield self._in_torch()
        self.progress("replay", len(boards), len(boards))

    def _in_onnxruntime(self, model: bytes, name: str) -> Replay:
        backend = backend_for("onnxruntime")
        outputs = self._run(backend.load({"model.onnx": model}, {}, threads=1))
        return Replay(f"{name_of(backend)}, {platform.machine()}", name, "measured", outputs, is_reference=True)

    def _in_its_engine(self, board: Target, model: bytes) -> Iterator[Replay | Absent]:
        backend = backend_for(board.backend)
        try:
            _require_runnable(backend, board)
            members = self.source.built(board, model, self.progress)
            if board.backend == "onnxruntime":
                yield from (self._emulated(board, members, core) for core in CORES)
                return
            outputs = self._run(backend.load(members, board.options, threads=1))
        except EdgekitError as error:
            yield _absent(name_of(backend), error)
            return
        yield Replay(
            name_of(backend), board.name, origin_of(board), outputs, str(board.options.get("precision", "f32"))
        )

    def _emulated(self, board: Target, members: Mapping[str, bytes], core: str) -> Replay | Absent:
        try:
            backend = EmulatedBackend(emulated_python(core, self.arm_root))
            outputs = self._run(backend.load(members, board.options, threads=1))
        except EdgekitError as error:
            return _absent(f"onnxruntime, {core}", error)
        return Replay(f"{name_of(backend)}, {core}", board.name, "emulated", outputs)

    def _in_torch(self) -> Replay | Absent:
        try:
            outputs = self.source.simulated()
        except EdgekitError as error:
            return _absent("torch", error)
        engine = f"torch {importlib.metadata.version('torch')}, simulation"
        return Replay(engine, self.source.target.name, "simulated", outputs)

    def _run(self, engine: Engine) -> list[Outputs]:
        try:
            (spec,) = engine.inputs
            return [engine.run({spec.name: one.input}) for one in self.source.golden]
        finally:
            engine.close()


def _other_boards(own: Target) -> list[Target]:
    """Return a target for every backend that the source's own does not already stand for."""
    boards = {name: load_target(board) for name, board in _BOARDS.items()}
    host = load_target("host")
    boards[host.backend] = host
    return [board for name, board in boards.items() if name != own.backend or own.runs == "on-device" != board.runs]


def _require_runnable(backend: Backend, board: Target) -> None:
    found = backend.available()
    if not found.version or (found.reason and board.runs != "simulated"):
        raise TargetError(problem=found.reason)
    if board.runs == "on-device":
        raise TargetError(problem=f"{board.name} runs on the device only: {board.device.soc}.")


def _absent(engine: str, error: EdgekitError) -> Absent:
    return Absent(engine.strip(), " ".join(part for part in (error.problem, error.found) if part).replace("\n", " "))
