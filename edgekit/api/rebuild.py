"""`edgekit.compile_in_place`: the engine of a bundle, built from the bundle itself on the device."""

from __future__ import annotations

from pathlib import Path

from edgekit.api.built import facts_of
from edgekit.api.verify import Verification, verify
from edgekit.backends import Build, backend_for
from edgekit.backends.base import BuildsInPlace
from edgekit.backends.precision import precision_shares, require_precision
from edgekit.bundle import ENGINE_FOLDER, Bundle, fill_bundle, open_bundle
from edgekit.errors import ModelError, OutputError, UsageError
from edgekit.manifest import EngineRecord, Manifest
from edgekit.output import new_file
from edgekit.progress import Progress, silent


def compile_in_place(bundle: Bundle | str | Path, *, overwrite: bool = False, progress: Progress = silent) -> Bundle:
    """Build the engine of a bundle on this machine, from the model and recipe that the bundle holds.

    The new bundle is written beside the old one and takes its place only when it is whole. Where the engine runs here,
    it is held against the golden vectors before that.

    Args:
        bundle: A bundle, or its path.
        overwrite: Replace an engine that the bundle holds already.
        progress: Told how far the engine's compiler is.

    Raises:
        ArtifactError: The bundle is damaged.
        UsageError: Its engine is not one that is built in place.
        OutputError: It holds an engine already and `overwrite` is false, or it cannot be written.
        TargetError: The engine's compiler is not here, this is not the machine that the target stands for, or what is
            built computes in another precision than the target asks for.
        ModelError: The engine does not accept the model, or miscomputes it.
    """
    opened = open_bundle(bundle.path if isinstance(bundle, Bundle) else bundle)
    manifest, engine = opened.manifest, opened.manifest.engine
    backend = backend_for(engine.backend)
    if not isinstance(backend, BuildsInPlace):
        raise UsageError(
            problem=f"The engine of {opened.path} is not built from the bundle.",
            found=f"{engine.backend}, built {engine.built}",
            fix="Compile the calibration again: edgekit compile CALIBRATION -o FILE.edge",
        )
    if engine.built_for and not overwrite:
        told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in engine.built_for.items())
        raise OutputError(
            problem=f"{opened.path} holds an engine already.",
            found=f"built for {told}",
            fix="Build it anew for this machine with --overwrite.",
        )
    with new_file(opened.path, overwrite=True) as draft:
        built = backend.rebuild(opened.engine_members(), manifest.target, progress)
        others = {name: opened.read(name) for name in manifest.members if not name.startswith(ENGINE_FOLDER)}
        members = others | {ENGINE_FOLDER + name: data for name, data in built.members.items()}
        filled = fill_bundle(draft, manifest.model_copy(update={"engine": _engine(manifest, built)}), members)
        if not backend_for(engine.backend).available().reason:
            _require_passed(verify(Bundle(draft, filled)))
    return Bundle(opened.path, filled)


def _engine(manifest: Manifest, built: Build) -> EngineRecord:
    engine = manifest.engine
    require_precision(engine.backend, manifest.target, precision_shares(built.layers, engine.macs))
    return engine.model_copy(update={"version": built.version, "built": "here", **facts_of(built, engine.macs)})


def _require_passed(verification: Verification) -> None:
    failed = [vector for vector in verification.vectors if not vector.passed]
    if not failed:
        return
    told = [
        f"{vector.frame}: {name} differs by {value:.3g}, allowed is {verification.tolerance[name]:.3g}"
        for vector in failed
        for name, value in vector.differences.items()
    ]
    raise ModelError(
        problem=f"{verification.engine} does not compute what the bundle's golden vectors say.",
        found="\n".join(told[:6]),
        fix="The bundle is left as it was. Report this with the bundle; a wider tolerance would only hide it.",
    )
