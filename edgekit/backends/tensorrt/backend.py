"""TensorRT behind the interface that every engine has."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.backends.base import Availability, Build, Engine, Tensors, TimedLayer
from edgekit.backends.deferred import checked_model
from edgekit.backends.signature import check_options
from edgekit.backends.tensorrt import fingerprint, record, rules
from edgekit.backends.tensorrt.adapter import EXTRAS, Api, api_of, installed_version, require
from edgekit.backends.tensorrt.build import make_engine
from edgekit.backends.tensorrt.cache import scales_of, write_cache
from edgekit.backends.tensorrt.cuda import Device, has_driver
from edgekit.backends.tensorrt.floating import floating_engine
from edgekit.backends.tensorrt.layers import layers_of, timed_layers
from edgekit.errors import ModelError, TargetError
from edgekit.progress import Progress, silent
from edgekit.targets import Target

if TYPE_CHECKING:
    import onnx

    from edgekit.backends.tensorrt.runner import TensorRtEngine

_ARCHITECTURES = {"AMD64": "x86_64", "arm64": "aarch64"}


class TensorRtBackend:
    """Builds engines where TensorRT can, and gives what goes to the device where it cannot."""

    name = "tensorrt"

    def available(self) -> Availability:
        """Say what of TensorRT is on this machine, without loading it."""
        versions = {library: installed_version(library) for library in EXTRAS}
        told = ", ".join(f"{library} {version}" for library, version in versions.items() if version)
        if not told:
            extras = " or ".join(f"'edgekit[{extra}]'" for extra in EXTRAS.values())
            return Availability("", f"Neither tensorrt nor tensorrt_rtx is installed: pip install {extras}")
        if not has_driver():
            return Availability(told, "There is no NVIDIA GPU here: engines can be built for one, not run.")
        return Availability(told)

    def build(self, model: bytes, target: Target, progress: Progress = silent) -> Build:
        """Build the engine where that works without the device, else return what it is built from there.

        Raises:
            ModelError: The model is damaged, breaks TensorRT's rules for Q/DQ, or is not accepted.
            TargetError: TensorRT is not installed, or failed.
            UsageError: The target does not say how the engine is built, or has an option that is not known.
        """
        check_options("TensorRT", target.options, record.OPTIONS)
        parsed = checked_model(model)
        found = rules.check(parsed)
        if broken := [violation for violation in found if violation.refused]:
            raise ModelError(
                problem="TensorRT does not accept how the model is quantized.",
                found="\n".join(map(str, broken[:5])) + (f"\n... {len(broken)} in all" if len(broken) > 5 else ""),
                fix="Calibrate for a target whose scheme is symmetric int8 with a floating-point bias.",
            )
        settings = record.settings_of(target.options, _is_half(target))
        api = api_of(settings.library, settings.version)
        members, float_nodes = _sources(parsed, model, target, api)
        told = record.new_record(target, members, [str(violation) for violation in found], float_nodes)
        members = record.with_record(told, members)
        return self.rebuild(members, target, progress) if target.builds == "here" else Build(members)

    def rebuild(self, members: Mapping[str, bytes], target: Target, progress: Progress = silent) -> Build:
        """Build the engine here from the members that `build` returned.

        Raises:
            TargetError: TensorRT is not here, is another version than the target's, or this is another kind of machine.
            ArtifactError: The members are damaged or foreign.
            ModelError: TensorRT does not accept the model.
        """
        told = record.read_record(members)
        settings = record.settings_of(target.options, _is_half(target), told["float_nodes"])
        version = require(settings.library)
        api = _same_api(settings, version, target)
        if api.times_kernels:
            _require_device(target)
        before = fingerprint.differences(told.get("built_for", {}), fingerprint.here(settings.library, version))
        made = make_engine(
            settings.library,
            members.get(record.PLAIN_MODEL, members[record.MODEL]),
            settings.order,
            timeout_s=settings.timeout_s,
            cache=members.get(record.CACHE, b""),
            # A timing cache of another GPU or version is refused with an error: NVIDIA/TensorRT issue 2144.
            timings=b"" if before else members.get(record.TIMINGS, b""),
            progress=progress,
        )
        capability = {"compute_capability": settings.order.compute_capability} if api.compute_capability else {}
        # An engine for another GPU than the one that is here is not bound to the latter.
        own = {"library", "version"} if api.compute_capability else made.machine.keys()
        built_for = {key: value for key, value in made.machine.items() if key in own} | capability
        kept = {name: data for name, data in members.items() if name in _SOURCES}
        files = {
            **kept,
            record.ENGINE: made.engine,
            record.LAYERS: json.dumps(made.layers, indent=1).encode(),
            **({record.TIMINGS: made.timings} if made.timings else {}),
        }
        return Build(
            members=record.with_record({**told, "built_for": built_for}, files),
            layers=layers_of(made.layers),
            reproducible=not api.times_kernels,
            log=made.log,
            seconds=made.seconds,
            peak_bytes=made.peak_bytes,
            version=f"{settings.library} {made.machine['version']}",
            built_for=built_for,
        )

    def load(self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> Engine:
        """Load the engine, where it was built for this GPU and these versions.

        A floating-point model alone is built for this GPU, in half precision, and kept for the next time.

        Raises:
            TargetError: It is not built yet, was built for something else than this machine, or there is no GPU here.
            ArtifactError: The members are damaged or foreign.
        """
        return self._loaded(members, options)

    def time_layers(
        self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int, inputs: Tensors, runs: int
    ) -> tuple[TimedLayer, ...]:
        """Load the engine and return the median time of every layer by TensorRT's profiler.

        Raises:
            TargetError: As for `load`.
            ArtifactError: As for `load`.
        """
        engine = self._loaded(members, options)
        try:
            return timed_layers(engine.layers(), engine.profiles(inputs, runs))
        finally:
            engine.close()

    def _loaded(self, members: Mapping[str, bytes], options: Mapping[str, Any]) -> TensorRtEngine:
        from edgekit.backends.tensorrt.runner import TensorRtEngine

        if set(members) == {record.MODEL}:
            library = str(record.settings_of(options, half=True).library)
            # Building takes minutes: whether there is a GPU is asked first.
            Device()
            return TensorRtEngine(library, *floating_engine(members[record.MODEL], options))
        told = record.read_record(members)
        if record.ENGINE not in members:
            raise _not_built(told)
        library = str(told["built_for"]["library"])
        found = fingerprint.here(library, require(library))
        if different := fingerprint.differences(told["built_for"], found):
            raise TargetError(
                problem="The TensorRT engine of this bundle was built for another machine and does not run here.",
                found="\n".join(different),
                fix="Build it anew on this machine: edgekit compile BUNDLE.edge --overwrite",
            )
        return TensorRtEngine(library, members[record.ENGINE], layers_of(json.loads(members[record.LAYERS])))


_SOURCES = (record.MODEL, record.PLAIN_MODEL, record.CACHE)


def _is_half(target: Target) -> bool:
    return target.scheme.higher_precision == "fp16"


def _sources(
    parsed: onnx.ModelProto, model: bytes, target: Target, api: Api
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return what the engine is built from, and the nodes that have to be told to stay in half precision."""
    if target.device.unit == "dla":
        return _sources_for_dla(parsed, model, target, api)
    if api.strongly_typed and _is_half(target):
        from edgekit.graph.half import to_half

        return {record.MODEL: to_half(parsed).SerializeToString()}, ()
    return {record.MODEL: model}, ()


def _sources_for_dla(
    parsed: onnx.ModelProto, model: bytes, target: Target, api: Api
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Under TensorRT 10 the DLA takes no Q/DQ: it gets the model without, and the scales as a calibration cache."""
    from edgekit.graph.fold import without_qdq

    if not api.calibration_cache:
        raise TargetError(
            problem=f"EdgeKit builds for the DLA with TensorRT 10 only; '{target.name}' has {api.title}.",
            fix="Take a target with TensorRT 10, or one for the GPU.",
        )
    dequantized = {node.output[0] for node in parsed.graph.node if node.op_type == "DequantizeLinear"}
    float_nodes = tuple(
        node.name
        for node in parsed.graph.node
        if node.op_type in target.scheme.operators and node.input[0] not in dequantized
    )
    version = record.settings_of(target.options, half=True).version
    members = {
        record.MODEL: model,
        record.PLAIN_MODEL: without_qdq(parsed).SerializeToString(),
        record.CACHE: write_cache(scales_of(parsed), version),
    }
    return members, float_nodes


def _same_api(settings: record.Settings, version: str, target: Target) -> Api:
    expected, found = api_of(settings.library, settings.version), api_of(settings.library, version)
    if expected != found:
        raise TargetError(
            problem=f"'{target.name}' stands for {expected.title}, and here is {found.title}.",
            found=f"{settings.library} {version}",
            fix=f"Compile the calibration for a target with {found.title}; `edgekit targets list` shows them.",
        )
    return found


def _require_device(target: Target) -> None:
    """Building for a GPU by trying kernels needs that GPU."""
    machine = _ARCHITECTURES.get(platform.machine(), platform.machine())
    if machine == target.device.arch and has_driver():
        return
    gpu = "with an NVIDIA GPU" if has_driver() else "without an NVIDIA GPU"
    raise TargetError(
        problem=f"The engine for '{target.name}' is built on the {target.device.soc}, which this machine is not.",
        found=f"{machine} {gpu}",
        fix="Copy the bundle to the board and run there: edgekit compile BUNDLE.edge",
    )


def _not_built(told: Mapping[str, Any]) -> TargetError:
    where = " with ".join(part for part in (told["soc"], told["software"]) if part)
    return TargetError(
        problem=f"The TensorRT engine of this bundle is built on the device ({where}), and is not built yet.",
        found="a model and how its engine is built from it",
        fix="\n".join(["Build it there, from this bundle:", *told["commands"], "or by hand:", *told["by_hand"]]),
    )
