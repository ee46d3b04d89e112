"""OpenVINO: the engine for Intel CPUs, GPUs and NPUs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.backends.attribution import onnx_nodes
from edgekit.backends.base import Availability, Build, Layer, Tensors, TimedLayer
from edgekit.backends.deferred import RECIPE, build_on_device
from edgekit.backends.openvino_build import BLOB, IR, RECORD, WEIGHTS, blob_record
from edgekit.backends.openvino_core import compiled, import_openvino, read, reason, require_as_asked
from edgekit.backends.openvino_layers import layers_of, timed_layers
from edgekit.backends.openvino_options import Settings, settings
from edgekit.backends.sealed import unsealed
from edgekit.backends.signature import TensorSpec, check_inputs, only_model
from edgekit.errors import ArtifactError, HostMismatchWarning, UsageError
from edgekit.isolation import call_isolated
from edgekit.progress import Progress, silent
from edgekit.targets import Target, load_target

BUILD_TIMEOUT_S = 1800.0
"""For OpenVINO's compiler: the largest of four lane networks took it under one second."""

_BUILDER = "edgekit.backends.openvino_build"


class OpenVinoBackend:
    """Compiles the Q/DQ model: for a CPU here, for a GPU or NPU where it is.

    A bundle for a CPU holds the model, and the compiled model beside it where the target stands for this CPU. That is
    used by the same OpenVINO on the same instruction sets only; elsewhere the model is compiled when it is loaded.
    A bundle for a GPU or NPU holds OpenVINO's IR beside the model, and it is compiled when it is loaded on the device.

    Options are those of `openvino_options.settings`.
    """

    name = "openvino"

    def available(self) -> Availability:
        """Say whether OpenVINO can run on this machine, without loading it."""
        if importlib.util.find_spec("openvino") is None:
            return Availability("", "OpenVINO is not installed: pip install 'edgekit[openvino]'")
        return Availability(importlib.metadata.version("openvino"))

    def build(self, model: bytes, target: Target, progress: Progress = silent) -> Build:
        """Compile the model in a process of its own, or write its IR where it is built on the device.

        Raises:
            ModelError: OpenVINO does not accept the model.
            TargetError: OpenVINO is not installed, or computes in another precision than asked for.
            UsageError: An option is not known.
        """
        asked = settings(target.options)
        if target.builds == "on-device":
            return _write_ir(model, target, asked)
        done = call_isolated(
            f"{_BUILDER}:compile_here",
            {"options": dict(target.options), "keep": _stands_for_this_cpu(target)},
            {"model.onnx": model},
            what="OpenVINO compiles the model",
            timeout_s=BUILD_TIMEOUT_S,
        )
        layers = tuple(Layer(**{**one, "nodes": tuple(one["nodes"])}) for one in done.result)
        return Build(
            {"model.onnx": model, **done.files},
            layers,
            log=done.log,
            seconds=done.seconds,
            peak_bytes=done.peak_bytes,
        )

    def load(self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> _CompiledModel:
        """Load the compiled model where it fits this machine, else compile the model for the device.

        Raises:
            TargetError: OpenVINO is not installed, the device is not here or computes in another precision.
            ArtifactError: The members are damaged or foreign.
            UsageError: An option is not known.
        """
        asked = settings(options, threads)
        model, core = _checked_model(members), import_openvino().Core()
        if RECORD in members and BLOB in members:
            made, why_not = _imported(core, members, model, asked)
            if made is not None:
                return _CompiledModel(made, model)
            warnings.warn(
                f"The compiled model of this bundle does not fit this machine and is not used: {why_not}. The model "
                "beside it is compiled instead, which gives the same results within rounding and takes longer to load.",
                HostMismatchWarning,
                stacklevel=2,
            )
        return _CompiledModel(compiled(core, _network(core, members), asked, ArtifactError), model)

    def time_layers(
        self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int, inputs: Tensors, runs: int
    ) -> tuple[TimedLayer, ...]:
        """Compile the model with OpenVINO's profiler and return the time of every kernel, as `timed_layers` says.

        Raises:
            TargetError: As for `load`.
            ArtifactError: The members are damaged or foreign.
            UsageError: An option is not known, or the inputs are not the model's.
        """
        asked = settings(options, threads)
        model, core = _checked_model(members), import_openvino().Core()
        engine = _CompiledModel(compiled(core, _network(core, members), asked, ArtifactError, profile=True), model)
        return timed_layers(engine.layers(), engine.profiles(inputs, runs))


class _CompiledModel:
    """A model in OpenVINO; threads that run it at once wait for each other.

    OpenVINO reads the caller's arrays where they lie: its own way of taking them copies a whole frame, which evicts the
    caches, and looks up types in Python for longer than a small kernel takes.
    """

    def __init__(self, made: Any, model: bytes) -> None:
        self.inputs = tuple(_spec(port) for port in made.inputs)
        self.outputs = tuple(_spec(port) for port in made.outputs)
        self._made: Any = made
        self._model = model
        self._request: Any = made.create_infer_request()
        self._new_tensor = import_openvino().Tensor
        self._shared: list[NDArray[Any]] = []
        self._lock = Lock()

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run once; every array returned is a new one.

        Raises:
            UsageError: The inputs are not the model's, or the engine is closed.
        """
        check_inputs(self.inputs, inputs)
        with self._lock:
            if self._request is None:
                raise _closed()
            # Kept until the next run: the request holds their addresses and not the arrays.
            self._shared = [np.require(inputs[spec.name], requirements=("C", "W")) for spec in self.inputs]
            for index, values in enumerate(self._shared):
                self._request.set_input_tensor(index, self._new_tensor(values, shared_memory=True))
            self._request.infer(share_outputs=True)
            return {
                spec.name: self._request.get_output_tensor(index).data.copy() for index, spec in enumerate(self.outputs)
            }

    def profiles(self, inputs: Tensors, runs: int) -> list[Any]:
        """Return OpenVINO's profile after each run, and before them after one that does not count."""
        found = []
        for _ in range(1 + runs):
            self.run(inputs)
            found.append(self._request.profiling_info)
        return found

    def layers(self) -> tuple[Layer, ...]:
        """Return the kernels in the order that they run.

        Raises:
            UsageError: The engine is closed.
        """
        with self._lock:
            if self._made is None:
                raise _closed()
            return layers_of(self._made, onnx_nodes(self._model))

    def close(self) -> None:
        """Free the model."""
        with self._lock:
            self._request = self._made = None
            self._shared = []


def _write_ir(model: bytes, target: Target, asked: Settings) -> Build:
    done = call_isolated(
        f"{_BUILDER}:write_ir",
        {},
        {"model.onnx": model},
        what="OpenVINO writes the model",
        timeout_s=BUILD_TIMEOUT_S,
    )
    must_match = (
        f"OpenVINO {done.result} wrote the IR: a device needs that version or a later one",
        "the device's own compiler and driver make the engine: its results are checked there, with edgekit verify",
        "the SHA-256 of model.xml and model.bin are those under sha256",
    )
    converted = {name: done.files[name] for name in (IR, WEIGHTS)}
    built = build_on_device(
        OpenVinoBackend.name,
        model,
        target,
        must_match,
        converted,
        settings={"device": asked.device, **asked.properties},
    )
    return replace(built, log=done.log, seconds=done.seconds, peak_bytes=done.peak_bytes)


def _stands_for_this_cpu(target: Target) -> bool:
    """Whether compiling here is compiling for the target: what is compiled fits one kind of CPU only."""
    return target.device.arch == "x86_64" and target.device.isa == load_target("host").device.isa


def _checked_model(members: Mapping[str, bytes]) -> bytes:
    """Return the ONNX model.

    Raises:
        ArtifactError: The members are damaged, or those of another engine.
    """
    if IR in members:
        unsealed(OpenVinoBackend.name, RECIPE, members)
        return members["model.onnx"]
    return only_model({name: data for name, data in members.items() if name not in (BLOB, RECORD)}, "OpenVINO")


def _network(core: Any, members: Mapping[str, bytes]) -> Any:
    ir = IR in members
    return read(core, members[IR if ir else "model.onnx"], members[WEIGHTS] if ir else b"", ArtifactError)


def _imported(core: Any, members: Mapping[str, bytes], model: bytes, asked: Settings) -> tuple[Any, str]:
    """Return the compiled model, or none and why it does not fit."""
    try:
        record = json.loads(members[RECORD])
        here = blob_record(import_openvino(), model, asked, str(record["runs_on"]))
        fits = record["model_sha256"] == here["model_sha256"]
    except (ValueError, TypeError, KeyError):
        fits = False
    if not fits:
        raise ArtifactError(
            problem=f"{RECORD} of the bundle does not belong to its model.",
            found="one of them is damaged, or from another bundle",
            fix="Compile again.",
        )
    if differing := [name for name, value in here.items() if record.get(name) != value]:
        name = differing[0]
        return None, f"its {name} is {record.get(name)}, here {here[name]}"
    try:
        made = core.import_model(members[BLOB], asked.device, asked.properties)
    except RuntimeError as refusal:
        return None, reason(refusal)
    require_as_asked(made, asked)
    return made, ""


def _closed() -> UsageError:
    return UsageError(problem="The model is closed and cannot run.", fix="Load it again.")


def _spec(port: Any) -> TensorSpec:
    # A tensor may have several names; the parameter's or result's node has the model's own.
    name = str(port.node.friendly_name).removesuffix("/sink_port_0")
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
    return TensorSpec(name, shape, np.dtype(port.get_element_type().to_dtype()))
