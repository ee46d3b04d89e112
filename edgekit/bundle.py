"""Bundles (*.edge): one file with a model that is ready to run, all that is needed to run it, and proof that it does.

A bundle is a zip of stored (uncompressed) members:

    manifest.json             what the bundle is, and the SHA-256 of every other member
    engine/<member>           what the backend built
    reference/model.onnx      the floating-point model
    scales.json               the calibration's scales
    golden/<i>.input.npy      a network input ...
    golden/<i>.outputs.npz    ... and the outputs that belong to it, in the order of the manifest's outputs
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgekit.errors import ArtifactError
from edgekit.output import new_file
from edgekit.placements import PlacementTable
from edgekit.recipes import Recipe
from edgekit.schema import Strict, parse
from edgekit.targets import BackendName, Target

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
REFERENCE = "reference/model.onnx"
SCALES = "scales.json"
ENGINE_FOLDER = "engine/"

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_ZIP_START = b"PK\x03\x04"
_NAME_OFFSET = 30
"""Where the first member's name stands in a zip."""

_DAMAGE = (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, KeyError, OverflowError)
"""What zipfile, json and numpy raise on bytes that are not what they should be."""


class Tensor(Strict):
    """An output of the model."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Input(Tensor):
    """The input of the model."""

    observed: tuple[float, float] = Field(description="least and greatest value that calibration saw")


class LayerRecord(Strict):
    """What the engine computes in one go, as `edgekit.backends.Layer` has it."""

    name: str
    kind: str
    precision: str
    device: str
    nodes: tuple[str, ...]


class PrecisionRecord(Strict):
    """What the engine computes in one precision, as `edgekit.backends.precision.PrecisionShare` has it."""

    precision: str
    kernels: int
    macs: float = Field(description="share of the model's multiply-accumulates, 0 to 1")


class FallbackRecord(Strict):
    """A node that the accelerator does not run, as `edgekit.backends.Fallback` has it."""

    node: str
    operator: str
    why: str


class EngineRecord(Strict):
    """The engine that the bundle was compiled for."""

    backend: BackendName
    version: str = Field(description="of the engine at compile time; for one built on the device, what is expected")
    built: Literal["here", "on-device"]
    options: dict[str, str | int | float | bool]
    members: tuple[str, ...] = Field(description="names under engine/")
    reproducible: bool = Field(default=True, description="whether compiling again gives the same bytes")
    built_for: dict[str, str] = Field(
        default_factory=dict, description="what the engine is bound to: GPU, versions; empty where to nothing"
    )
    layers: tuple[LayerRecord, ...] = Field(
        default=(), description="what the engine computes in which precision; empty where it does not tell"
    )
    precisions: tuple[PrecisionRecord, ...] = Field(
        default=(), description="how much of the work runs in which precision; empty where the engine does not tell"
    )
    macs: dict[str, int] = Field(
        default_factory=dict, description="multiply-accumulates of one run by node, where they are not 0"
    )
    nodes: int = Field(default=0, description="of the model that was built, without Q/DQ")
    fallback: tuple[FallbackRecord, ...] = Field(default=(), description="those that the accelerator does not run")


class SceneLimits(Strict):
    """How far a decoded scene may lie from the golden one."""

    max_lateral_px: float
    min_f1: float
    min_iou: float


class GoldenRecord(Strict):
    """One network input with the outputs that belong to it."""

    frame: str
    frame_size: tuple[int, int] = Field(description="height, width")
    input: str = Field(description="member")
    outputs: str = Field(description="member")


class Golden(Strict):
    """Inputs and outputs that `edgekit verify` replays."""

    engine: str = Field(description="engine and version that computed the outputs")
    origin: Literal["measured", "simulated"] = Field(
        default="measured", description="whether that engine is the target's own, or a simulator of it"
    )
    tolerance: dict[str, float] = Field(description="output to the largest |difference| allowed")
    rule: str = Field(description="how the tolerance was chosen")
    limits: SceneLimits
    vectors: tuple[GoldenRecord, ...]


class Agreements(Strict):
    """Task figures over the golden frames, at compile time, by what was held against what."""

    engine_to_reference: dict[str, float] | None = Field(description="absent where the engine does not run here")
    engine_to_onnxruntime: dict[str, float] | None = Field(description="the same Q/DQ model in two engines")
    onnxruntime_to_reference: dict[str, float]


class Provenance(Strict):
    """What the bundle was made from."""

    model_sha256: str = Field(description="of the model that calibration was given")
    scales_sha256: str
    calibration: dict[str, Any] = Field(description="the provenance in scales.json")


class Manifest(Strict):
    """The content of manifest.json."""

    schema_version: int = SCHEMA_VERSION
    edgekit: str = Field(description="version that wrote the bundle")
    target: Target
    recipe: Recipe
    input: Input
    outputs: tuple[Tensor, ...]
    engine: EngineRecord
    golden: Golden
    agreement: Agreements
    placement: PlacementTable
    provenance: Provenance
    members: dict[str, str] = Field(default_factory=dict, description="member to SHA-256; `write_bundle` fills it in")


@dataclass(frozen=True)
class GoldenVector:
    """A network input and the outputs that belong to it.

    Attributes:
        frame: Name of the frame that the input was made from.
        frame_size: Height and width of that frame in px.
        input: The network's input.
        outputs: The network's outputs by name.
    """

    frame: str
    frame_size: tuple[int, int]
    input: NDArray[Any]
    outputs: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Bundle:
    """A bundle that was found whole when it was opened.

    Attributes:
        path: The file.
        manifest: What it is.
    """

    path: Path
    manifest: Manifest

    def read(self, member: str) -> bytes:
        """Return a member's bytes, checked against the manifest.

        Raises:
            ArtifactError: There is no such member, or it was changed since.
        """
        if member not in self.manifest.members:
            raise _damaged(self.path, f"no member {member}")
        try:
            with zipfile.ZipFile(self.path) as archive:
                data = archive.read(member)
        except _DAMAGE as error:
            raise _damaged(self.path, f"{member}: {error}") from error
        if _sha256(data) != self.manifest.members[member]:
            raise _damaged(self.path, f"{member} is not what manifest.json says")
        return data

    def engine_members(self) -> dict[str, bytes]:
        """Return what the backend built, by member name."""
        return {name: self.read(ENGINE_FOLDER + name) for name in self.manifest.engine.members}

    def golden(self) -> Iterator[GoldenVector]:
        """Yield the golden vectors, one at a time.

        Raises:
            ArtifactError: One cannot be read.
        """
        for record in self.manifest.golden.vectors:
            source, results = self.read(record.input), self.read(record.outputs)
            try:
                values = np.load(io.BytesIO(source))
                with np.load(io.BytesIO(results)) as stored:
                    outputs = {spec.name: stored[f"arr_{index}"] for index, spec in enumerate(self.manifest.outputs)}
            except _DAMAGE as error:
                raise _damaged(self.path, f"{record.outputs}: {error}") from error
            yield GoldenVector(record.frame, record.frame_size, values, outputs)


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle and check every member against its hash.

    Raises:
        ArtifactError: The file is missing, no bundle, damaged, or of a newer schema.
    """
    path = Path(path)
    started = _require_zip(path)
    try:
        with zipfile.ZipFile(path) as archive:
            # A bundle that was cut off still ends with the table of contents of an .npz within it.
            if started and MANIFEST not in archive.namelist():
                raise _cut_off(path)
            manifest = _read_manifest(path, archive)
            _check_members(path, archive, manifest)
    except _DAMAGE as error:
        raise _damaged(path, str(error)) from error
    return Bundle(path, manifest)


def write_bundle(path: str | Path, manifest: Manifest, members: Mapping[str, bytes], overwrite: bool = False) -> Bundle:
    """Write a bundle; the same content gives the same bytes.

    Args:
        path: The file to write.
        manifest: What the bundle is; the hashes of the members are filled in here.
        members: Everything else in it.
        overwrite: Whether an older file may be replaced.

    Raises:
        OutputError: The file exists, or cannot be written.
    """
    with new_file(path, overwrite) as draft:
        filled = fill_bundle(draft, manifest, members)
    return Bundle(Path(path), filled)


def fill_bundle(draft: Path, manifest: Manifest, members: Mapping[str, bytes]) -> Manifest:
    """Write a bundle's content over a file that `new_file` gave, and return the manifest with all hashes."""
    hashes = {name: _sha256(data) for name, data in sorted(members.items())}
    manifest = manifest.model_copy(update={"members": hashes})
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, allow_nan=False)
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        for name, data in [(MANIFEST, text.encode()), *sorted(members.items())]:
            entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, data)
    return manifest


def array_bytes(values: NDArray[Any]) -> bytes:
    """Return an array as the bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def arrays_bytes(values: list[NDArray[Any]]) -> bytes:
    """Return arrays as the bytes of an .npz file, in their order: names of outputs need not be names of files."""
    buffer = io.BytesIO()
    np.savez(buffer, *values)
    return buffer.getvalue()


def _require_zip(path: Path) -> bool:
    """Say what the file is, where it is no zip at all; else return whether it starts as a bundle does."""
    if not path.exists():
        raise ArtifactError(
            problem=f"There is no bundle {path}.",
            fix="Check the path, or make one: edgekit compile CALIBRATION -o FILE",
        )
    if path.is_dir():
        raise ArtifactError(
            problem=f"{path} is a folder and no bundle.",
            fix=f"If it is a calibration, compile it: edgekit compile {path} -o FILE.edge",
        )
    try:
        with path.open("rb") as stream:
            start = stream.read(_NAME_OFFSET + len(MANIFEST))
    except OSError as error:
        raise ArtifactError(problem=f"{path} cannot be read.", found=str(error.strerror)) from error
    if not start.startswith(_ZIP_START):
        raise ArtifactError(
            problem=f"{path} is not a bundle.",
            found=f"a file that starts with {start[:8]!r}" if start else "an empty file",
            fix="Give the .edge file that `edgekit compile` wrote.",
        )
    if not zipfile.is_zipfile(path):
        raise _cut_off(path)
    return start[_NAME_OFFSET:] == MANIFEST.encode()


def _read_manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    infos = archive.infolist()
    if MANIFEST not in archive.namelist():
        raise ArtifactError(
            problem=f"{path} is not a bundle.",
            found=f"a zip without {MANIFEST}",
            fix="Give the .edge file that `edgekit compile` wrote.",
        )
    # Stored members within the file's own size: nothing in a bundle unfolds to more than what was copied here.
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise _damaged(path, "a compressed member; bundles are stored, so another tool has packed it")
    if sum(info.file_size for info in infos) > path.stat().st_size:
        raise _damaged(path, "members that overlap")
    data = json.loads(archive.read(MANIFEST))
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ArtifactError(
            problem=f"{path} was written by a newer EdgeKit.",
            found=f"schema version {version}; this one reads {SCHEMA_VERSION}",
            fix="Update EdgeKit, or compile again with this version.",
        )
    return parse(Manifest, data, f"{path}: {MANIFEST}", ArtifactError)


def _check_members(path: Path, archive: zipfile.ZipFile, manifest: Manifest) -> None:
    names = archive.namelist()
    expected = {MANIFEST, *manifest.members}
    needed = {REFERENCE, SCALES, *(ENGINE_FOLDER + name for name in manifest.engine.members)}
    needed |= {name for vector in manifest.golden.vectors for name in (vector.input, vector.outputs)}
    if missing := sorted((expected | needed) - set(names)):
        raise _damaged(path, f"{missing[0]} is missing")
    if foreign := sorted(set(names) - expected):
        raise _damaged(path, f"{foreign[0]} does not belong to it")
    if len(names) != len(set(names)):
        raise _damaged(path, "a member that is there twice")
    for name, digest in manifest.members.items():
        if _sha256(archive.read(name)) != digest:
            raise _damaged(path, f"{name} is not what manifest.json says")


def _cut_off(path: Path) -> ArtifactError:
    return _damaged(path, "it ends before its table of contents: it was cut off")


def _damaged(path: Path, found: str) -> ArtifactError:
    return ArtifactError(
        problem=f"The bundle {path} is damaged.",
        found=found,
        fix="Copy it here again, or compile it again; do not use it as it is.",
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
