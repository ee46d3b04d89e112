"""ONNX Runtime on the CPU: the engine for ARM boards, and the reference that every other engine is held against."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.backends.base import Availability, Build, Layer, Tensors, TimedLayer
from edgekit.backends.onnxruntime_layers import layers_of, timed_layers
from edgekit.backends.signature import TensorSpec, check_inputs, check_options, only_model
from edgekit.engines import import_onnxruntime, in_ort_format, new_session
from edgekit.errors import ArtifactError, EdgekitError, ModelError, TargetError, UsageError
from edgekit.progress import Progress, silent
from edgekit.targets import Target

_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-qnn")
_FORMATS = ("onnx", "ort")
_ORT_MEMBER = "model.ort"
_DTYPES = {"float": "float32", "double": "float64"}


class OnnxRuntimeBackend:
    """Loads the Q/DQ model itself; ONNX Runtime fuses Q/DQ pairs into 8-bit kernels when it loads.

    Option: `format`. With "ort" the build holds the model in ONNX Runtime's own format as well, for its small builds
    that cannot read ONNX, and that is what is loaded; with "onnx", or without the option, the Q/DQ model alone.
    """

    name = "onnxruntime"

    def available(self) -> Availability:
        """Say whether ONNX Runtime can run on this machine, without loading it."""
        if importlib.util.find_spec("onnxruntime") is None:
            return Availability("", "ONNX Runtime is not installed: pip install 'edgekit[onnxruntime]'")
        return Availability(_installed_version())

    def build(self, model: bytes, target: Target, progress: Progress = silent) -> Build:
        """Return the model, once ONNX Runtime has accepted it.

        Raises:
            ModelError: It does not accept the model.
            TargetError: It is not installed.
        """
        session = _Session(model, target.options, threads=1, error=ModelError)
        members, layers = {"model.onnx": model}, session.layers()
        session.close()
        small = target.options.get("format") == "ort"
        if small:
            members[_ORT_MEMBER] = in_ort_format(import_onnxruntime(), model)
            _Session(members[_ORT_MEMBER], target.options, threads=1, error=ModelError).close()
        # ONNX Runtime writes the tables of its own format in another order each time.
        return Build(members, layers, reproducible=not small)

    def load(self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> _Session:
        """Load the model.

        Raises:
            TargetError: ONNX Runtime is not installed.
            ArtifactError: The members are damaged or foreign.
            UsageError: An option is not known.
        """
        return _Session(_loaded(members), options, threads, error=ArtifactError)

    def time_layers(
        self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int, inputs: Tensors, runs: int
    ) -> tuple[TimedLayer, ...]:
        """Return the median time of every node of the optimized graph, from ONNX Runtime's profiler.

        Nothing is told of a model in ONNX Runtime's own format, as by `layers`.

        Raises:
            TargetError: ONNX Runtime is not installed.
            ArtifactError: The members are damaged or foreign.
            UsageError: An option is not known, or the inputs are not the model's.
        """
        session = self.load(members, options, threads)
        check_inputs(session.inputs, inputs)
        session.close()
        model = _loaded(members)
        return () if _in_ort_format(model) else timed_layers(import_onnxruntime(), model, threads, inputs, runs)


class _Session:
    """A model in ONNX Runtime; several threads may run it at once."""

    def __init__(self, model: bytes, options: Mapping[str, Any], threads: int, error: type[EdgekitError]) -> None:
        _check_format(options)
        ort = import_onnxruntime()
        try:
            self._session: Any = new_session(ort, model, threads)
        # What it raises shares no base but Exception: InvalidProtobuf, InvalidGraph, NotImplemented, Fail ...
        except Exception as refusal:
            raise error(
                problem="ONNX Runtime does not accept the model.",
                found=str(refusal),
                fix="Compile again; if it still refuses, check the model with `edgekit inspect`.",
            ) from refusal
        _require_cpu(self._session.get_providers())
        # ONNX Runtime's session keeps these bytes too.
        self._model, self._threads = model, threads
        self.inputs = tuple(_spec(value) for value in self._session.get_inputs())
        self.outputs = tuple(_spec(value) for value in self._session.get_outputs())
        self._names = [spec.name for spec in self.outputs]

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run once; every array returned is a new one.

        Raises:
            UsageError: The inputs are not the model's, or the engine is closed.
        """
        if self._session is None:
            raise _closed()
        check_inputs(self.inputs, inputs)
        return dict(zip(self._names, self._session.run(self._names, dict(inputs)), strict=True))

    def layers(self) -> tuple[Layer, ...]:
        """Return the nodes of the optimized graph; Q/DQ pairs that were fused into an 8-bit node are among its nodes.

        Nothing is told of a model in ONNX Runtime's own format, which holds no nodes of ONNX any more.

        Raises:
            UsageError: The engine is closed.
        """
        if self._session is None:
            raise _closed()
        return () if _in_ort_format(self._model) else layers_of(import_onnxruntime(), self._model, self._threads)

    def close(self) -> None:
        """Free the model."""
        self._session = None


def _closed() -> UsageError:
    return UsageError(problem="The model is closed and cannot run.", fix="Load it again.")


def _require_cpu(providers: Sequence[str]) -> None:
    """Refuse a session that another execution provider has taken a part of."""
    if list(providers) != ["CPUExecutionProvider"]:
        raise TargetError(
            problem="ONNX Runtime does not run the model on the CPU alone.",
            found=f"execution providers {', '.join(providers)}",
            fix="Install the package onnxruntime, and no other build of it beside it.",
        )


def _loaded(members: Mapping[str, bytes]) -> bytes:
    """Return the one of the members that is loaded."""
    both = set(members) == {"model.onnx", _ORT_MEMBER}
    return members[_ORT_MEMBER] if both else only_model(members, "ONNX Runtime")


def _in_ort_format(model: bytes) -> bool:
    return model[4:8] == b"ORTM"


def _check_format(options: Mapping[str, Any]) -> None:
    check_options("ONNX Runtime", options, known=("format",))
    if options.get("format", "onnx") not in _FORMATS:
        raise UsageError(
            problem=f"ONNX Runtime has no model format '{options['format']}'.",
            found=f"Known: {', '.join(_FORMATS)}.",
            fix="Correct options.format in the target's file.",
        )


def _spec(value: Any) -> TensorSpec:
    word = str(value.type).removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorSpec(value.name, shape, np.dtype(_DTYPES.get(word, word)))


def _installed_version() -> str:
    for name in _DISTRIBUTIONS:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"
