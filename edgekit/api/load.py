"""`edgekit.load`: a bundle that runs."""

from __future__ import annotations

import platform
import warnings
from pathlib import Path
from typing import Any

from edgekit.backends import backend_for
from edgekit.backends.base import BuildsInPlace
from edgekit.bundle import REFERENCE, Bundle, open_bundle
from edgekit.errors import HostMismatchWarning, UsageError
from edgekit.features.folder import unpack_features
from edgekit.runtime.prepare import preprocessor_for
from edgekit.runtime.ranker import Ranker
from edgekit.runtime.session import Session, heads_of
from edgekit.targets import BackendName, Device, cpu_flags, origin_of
from edgekit.tasks import task_for
from edgekit.tasks.heads import head_with

_ARCHITECTURES = {"AMD64": "x86_64", "arm64": "aarch64"}


def load(
    bundle: Bundle | str | Path, *, threads: int = 0, reference: bool = False, engine: BackendName | None = None
) -> Session:
    """Load a bundle into its engine.

    On a machine of another kind than the bundle's target it still runs where the engine does, with a
    `HostMismatchWarning` that says what does not hold for the target.

    Returns:
        A `Session`; of a ranker's bundle a `Ranker`, which is one.

    Args:
        bundle: A bundle, or its path.
        threads: Threads of the engine; 0 lets it choose.
        reference: Load the floating-point model in the same engine instead.
        engine: Load it in this engine, with that engine's own settings, instead of the one it was compiled for. Models
            are calibrated for their target's engine: another one may compute other values. None: the bundle's own.

    Raises:
        ArtifactError: The bundle is damaged.
        UsageError: `threads` is negative.
        TargetError: The engine is not installed, or is built on the device only.
    """
    if threads < 0:
        raise UsageError(
            problem="An engine cannot have fewer threads than none.",
            found=f"threads = {threads}",
            fix="Give 1 or more, or 0 to let the engine choose.",
        )
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    manifest = opened.manifest
    name, options = engine_of(opened, engine)
    backend = backend_for(name)
    members = members_for(opened, reference, foreign=name != manifest.engine.backend)
    preprocessor = preprocessor_for(manifest.recipe.preprocessing, manifest.input.shape)
    heads = heads_of(manifest.recipe, [output.name for output in manifest.outputs])
    task = task_for(manifest.recipe)
    loaded = backend.load(members, options, threads)
    mismatch = host_mismatch(manifest.target.name, manifest.target.device, platform.machine(), cpu_flags())
    if name == manifest.engine.backend and origin_of(manifest.target) == "simulated":
        mismatch = (
            f"{manifest.target.name} is simulated on this machine: what it computes counts, and its latency and memory "
            "here say nothing of the device."
        )
    if mismatch:
        warnings.warn(mismatch, HostMismatchWarning, stacklevel=2)
    if manifest.recipe.preprocessing.kind == "image":
        return Session(loaded, manifest.input.name, preprocessor, heads, task)
    features = unpack_features(opened.features_members(), f"in {opened.path}")
    return Ranker(loaded, manifest.input.name, preprocessor, heads, task, head_with(manifest.recipe, "score"), features)


def members_for(bundle: Bundle, reference: bool, foreign: bool) -> dict[str, bytes]:
    """Return what the engine loads; one that the bundle was not compiled for takes the ONNX model."""
    record = bundle.manifest.engine
    # A backend that has still to build its engine says so from its own members, whichever model is asked for.
    unbuilt = record.built == "on-device" and isinstance(backend_for(record.backend), BuildsInPlace)
    if reference and (foreign or not unbuilt):
        return {"model.onnx": bundle.read(REFERENCE)}
    members = bundle.engine_members()
    return {"model.onnx": members["model.onnx"]} if foreign else members


def engine_of(bundle: Bundle, engine: BackendName | None) -> tuple[BackendName, dict[str, Any]]:
    """Return the engine that runs a bundle, and its options: its own ones only suit the bundle's own engine."""
    record = bundle.manifest.engine
    if engine is None or engine == record.backend:
        return record.backend, dict(record.options)
    return engine, {}


def host_mismatch(target: str, device: Device, machine: str, flags: frozenset[str]) -> str:
    """Say how a machine differs from a target's device and what does not hold here; nothing where it does not differ.

    Args:
        target: The target's name.
        device: Its device.
        machine: The machine's architecture.
        flags: The instruction sets of the machine's CPU, as in `cpu_flags()`.
    """
    if device.arch not in ("any", _ARCHITECTURES.get(machine, machine)):
        return (
            f"This bundle is for {target} ({device.arch}) and runs on {machine}. What it computes may differ by steps "
            "of quantization; its latency and memory here say nothing of the board."
        )
    if missing := [flag for flag in device.isa if flag not in flags]:
        return (
            f"This bundle is for {target}, and this CPU lacks {', '.join(missing)}. 8-bit products may saturate: "
            "neither its outputs nor its latency here hold for the target. `edgekit verify` shows how far they are "
            "off; compile for --target host to run it here."
        )
    return ""
