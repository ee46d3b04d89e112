"""Bundles (*.edge): one file with a model that is ready to run, all that is needed to run it, and proof that it does.

A bundle is a zip of stored (uncompressed) members:

    manifest.json             what the bundle is, and the SHA-256 of every other member
    engine/<member>           what the backend built
    reference/model.onnx      the floating-point model
    scales.json               the calibration's scales
    golden/<i>.input.npy      a network input ...
    golden/<i>.outputs.npz    ... and the outputs that belong to it, in the order of the manifest's outputs
    features/<file>           of a ranker: the schema and the tables that its input is made of

A slim bundle lacks the reference, the scales and the golden vectors: what proves that it runs right, and not what runs.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ArtifactError
from edgekit.manifest import SCHEMA_VERSION, Manifest
from edgekit.output import new_file
from edgekit.schema import parse

MANIFEST = "manifest.json"
REFERENCE = "reference/model.onnx"
SCALES = "scales.json"
ENGINE_FOLDER = "engine/"
FEATURES_FOLDER = "features/"

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_ZIP_START = b"PK\x03\x04"
_NAME_OFFSET = 30
"""Where the first member's name stands in a zip."""

_DAMAGE = (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, KeyError, OverflowError)
"""What zipfile, json and numpy raise on bytes that are not what they should be."""


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
        if member not in self.manifest.members and self.manifest.slim:
            raise ArtifactError(
                problem=f"The bundle {self.path} is slim: it has what runs, and not what that is held against.",
                found=f"no {member}",
                fix="Take the whole bundle, compiled from the same calibration without --slim.",
            )
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

    def features_members(self) -> dict[str, bytes]:
        """Return the files of a ranker's features by name; none of other networks."""
        names = [name for name in self.manifest.members if name.startswith(FEATURES_FOLDER)]
        return {name.removeprefix(FEATURES_FOLDER): self.read(name) for name in names}

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
    text = _manifest_text(manifest)
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        for name, data in [(MANIFEST, text.encode()), *sorted(members.items())]:
            entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, data)
    return manifest


def _manifest_text(manifest: Manifest) -> str:
    if not manifest.slim:
        return json.dumps(manifest.model_dump(mode="json"), indent=1, allow_nan=False)
    # What a reader fills in by itself need not be shipped.
    said = {"schema_version": SCHEMA_VERSION} | manifest.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(said, separators=(",", ":"), allow_nan=False)


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
    proof = set() if manifest.slim else {REFERENCE, SCALES}
    needed = {*proof, *(ENGINE_FOLDER + name for name in manifest.engine.members)}
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
