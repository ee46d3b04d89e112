from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.bundle import MANIFEST, REFERENCE, SCALES, Bundle, array_bytes, arrays_bytes, open_bundle, write_bundle
from edgekit.errors import ArtifactError, OutputError
from edgekit.manifest import (
    SCHEMA_VERSION,
    Agreements,
    EngineRecord,
    Golden,
    GoldenRecord,
    Input,
    Manifest,
    Provenance,
    SceneLimits,
    Tensor,
)
from edgekit.placements import PlacementTable
from edgekit.recipes import load_recipe
from edgekit.targets import load_target

SOURCE = np.linspace(-1, 1, 6, dtype=np.float32).reshape(1, 2, 3)
# np.savez would take these for its own parameters, or for folders.
RESULTS = {"file": np.arange(4, dtype=np.float32), "head/0": np.arange(3, dtype=np.int64)}

MEMBERS = {
    "engine/model.onnx": b"engine",
    REFERENCE: b"reference",
    SCALES: b"{}",
    "golden/0.input.npy": array_bytes(SOURCE),
    "golden/0.outputs.npz": arrays_bytes(list(RESULTS.values())),
}
MANIFEST_VALUE = Manifest(
    edgekit="0.1.0",
    target=load_target("arm-cortex-a76"),
    recipe=load_recipe("lane-row-anchor"),
    input=Input(name="image", shape=SOURCE.shape, dtype="float32", observed=(-1.0, 1.0)),
    outputs=tuple(Tensor(name=name, shape=value.shape, dtype=str(value.dtype)) for name, value in RESULTS.items()),
    engine=EngineRecord(
        backend="onnxruntime", version="1.0", built="here", options={"a": 1, "b": "x"}, members=("model.onnx",)
    ),
    golden=Golden(
        engine="onnxruntime 1.0",
        tolerance={"file": 0.1, "head/0": 0.0},
        rule="by hand",
        limits=SceneLimits(max_lateral_px=1.0, min_f1=1.0, min_iou=0.98),
        vectors=(
            GoldenRecord(
                frame="a.jpg", frame_size=(20, 30), input="golden/0.input.npy", outputs="golden/0.outputs.npz"
            ),
        ),
    ),
    agreement=Agreements(engine_to_reference={"f1": 1.0}, engine_to_onnxruntime=None, onnxruntime_to_reference={}),
    placement=PlacementTable(origin="estimated", macs_share=1.0, rows=()),
    provenance=Provenance(model_sha256="0" * 64, scales_sha256="1" * 64, calibration={"seed": 0, "versions": {}}),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "lane.edge", MANIFEST_VALUE, MEMBERS)


def repacked(bundle: Bundle, change: Callable[[dict[str, bytes]], object], compression: int = 0) -> Path:
    """Write the bundle's zip again with changed members, as a tool that knows nothing of it would."""
    with zipfile.ZipFile(bundle.path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(bundle.path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return bundle.path


def edited_manifest(bundle: Bundle, **values: object) -> Path:
    def edit(members: dict[str, bytes]) -> None:
        members[MANIFEST] = json.dumps({**json.loads(members[MANIFEST]), **values}).encode()

    return repacked(bundle, edit)


class TestRoundTrip:
    def test_what_was_written_is_read(self, bundle: Bundle) -> None:
        opened = open_bundle(bundle.path)
        assert opened == bundle
        assert opened.manifest.members == {
            name: hashlib.sha256(data).hexdigest() for name, data in sorted(MEMBERS.items())
        }
        assert {name: opened.read(name) for name in MEMBERS} == MEMBERS
        assert opened.engine_members() == {"model.onnx": b"engine"}

    def test_heads_keep_their_order(self, bundle: Bundle) -> None:
        assert list(open_bundle(bundle.path).manifest.recipe.heads) == ["cls", "vertical", "offset"]

    @pytest.mark.parametrize(
        "name", ["lane-curve", "lane-keypoint", "lane-segmentation", "lane-line-anchor", "generic"]
    )
    def test_every_family_of_recipe_survives(self, tmp_path: Path, name: str) -> None:
        recipe = load_recipe(name)
        write_bundle(tmp_path / "a.edge", MANIFEST_VALUE.model_copy(update={"recipe": recipe}), MEMBERS)
        assert open_bundle(tmp_path / "a.edge").manifest.recipe == recipe

    def test_golden_vectors_come_back_by_the_models_names(self, bundle: Bundle) -> None:
        (vector,) = bundle.golden()
        assert (vector.frame, vector.frame_size) == ("a.jpg", (20, 30))
        np.testing.assert_array_equal(vector.input, SOURCE)
        assert list(vector.outputs) == list(RESULTS)
        for name, values in RESULTS.items():
            np.testing.assert_array_equal(vector.outputs[name], values)
            assert vector.outputs[name].dtype == values.dtype

    def test_same_content_gives_the_same_bytes_whatever_the_order(self, bundle: Bundle, tmp_path: Path) -> None:
        again = write_bundle(tmp_path / "again.edge", MANIFEST_VALUE, dict(reversed(MEMBERS.items())))
        assert again.path.read_bytes() == bundle.path.read_bytes()

    def test_members_are_stored_so_that_any_tool_reads_them(self, bundle: Bundle) -> None:
        with zipfile.ZipFile(bundle.path) as archive:
            assert archive.namelist() == [MANIFEST, *sorted(MEMBERS)]
            assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
            assert archive.testzip() is None

    def test_existing_bundle_is_not_replaced_unasked(self, bundle: Bundle) -> None:
        before = bundle.path.read_bytes()
        with pytest.raises(OutputError, match="--overwrite"):
            write_bundle(bundle.path, MANIFEST_VALUE, {**MEMBERS, SCALES: b"[]"})
        assert bundle.path.read_bytes() == before
        write_bundle(bundle.path, MANIFEST_VALUE, {**MEMBERS, SCALES: b"[]"}, overwrite=True)
        assert open_bundle(bundle.path).read(SCALES) == b"[]"


class TestRefusal:
    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match="There is no bundle"):
            open_bundle(tmp_path / "lane.edge")

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match="edgekit compile"):
            open_bundle(tmp_path)

    @pytest.mark.parametrize("content, found", [(b"", "empty file"), (b"hello world", "starts with b'hello wo'")])
    def test_file_that_is_no_zip(self, tmp_path: Path, content: bytes, found: str) -> None:
        (tmp_path / "lane.edge").write_bytes(content)
        with pytest.raises(ArtifactError, match="not a bundle") as refusal:
            open_bundle(tmp_path / "lane.edge")
        assert found in refusal.value.found

    def test_zip_of_something_else(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "lane.edge", "w") as archive:
            archive.writestr("holiday.jpg", b"...")
        with pytest.raises(ArtifactError, match=MANIFEST):
            open_bundle(tmp_path / "lane.edge")

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.97, 0.99, 0.999])
    def test_file_that_was_cut_off(self, bundle: Bundle, share: float) -> None:
        data = bundle.path.read_bytes()
        bundle.path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(ArtifactError, match="cut off"):
            open_bundle(bundle.path)

    @pytest.mark.parametrize("member", sorted(MEMBERS))
    def test_member_that_was_changed(self, bundle: Bundle, member: str) -> None:
        repacked(bundle, lambda members: members.update({member: members[member] + b"x"}))
        with pytest.raises(ArtifactError, match=f"{member} is not what manifest.json says"):
            open_bundle(bundle.path)

    @pytest.mark.parametrize("member", sorted(MEMBERS))
    def test_member_that_is_missing(self, bundle: Bundle, member: str) -> None:
        repacked(bundle, lambda members: members.pop(member))
        with pytest.raises(ArtifactError, match=f"{member} is missing"):
            open_bundle(bundle.path)

    @pytest.mark.parametrize("member", sorted(MEMBERS))
    def test_member_that_was_taken_out_of_the_manifest_too(self, bundle: Bundle, member: str) -> None:
        hashes = {name: digest for name, digest in bundle.manifest.members.items() if name != member}
        edited_manifest(bundle, members=hashes)
        repacked(bundle, lambda members: members.pop(member))
        with pytest.raises(ArtifactError, match=f"{member} is missing"):
            open_bundle(bundle.path)

    def test_member_that_nobody_vouches_for(self, bundle: Bundle) -> None:
        repacked(bundle, lambda members: members.update({"engine/extra": b"x"}))
        with pytest.raises(ArtifactError, match="engine/extra does not belong"):
            open_bundle(bundle.path)

    @pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
    def test_member_that_is_there_twice(self, bundle: Bundle) -> None:
        with zipfile.ZipFile(bundle.path, "a") as archive:
            archive.writestr(SCALES, MEMBERS[SCALES])
        with pytest.raises(ArtifactError, match="twice"):
            open_bundle(bundle.path)

    def test_compressed_members(self, bundle: Bundle) -> None:
        repacked(bundle, lambda members: None, zipfile.ZIP_DEFLATED)
        with pytest.raises(ArtifactError, match="compressed"):
            open_bundle(bundle.path)

    def test_newer_schema(self, bundle: Bundle) -> None:
        edited_manifest(bundle, schema_version=SCHEMA_VERSION + 1, hologram={"depth": 3})
        with pytest.raises(ArtifactError, match="newer EdgeKit") as refusal:
            open_bundle(bundle.path)
        assert "Update EdgeKit" in refusal.value.fix

    def test_manifest_with_an_unknown_key(self, bundle: Bundle) -> None:
        edited_manifest(bundle, hologram={"depth": 3})
        with pytest.raises(ArtifactError, match="hologram"):
            open_bundle(bundle.path)

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe"])
    def test_manifest_that_is_none(self, bundle: Bundle, text: bytes) -> None:
        repacked(bundle, lambda members: members.update({MANIFEST: text}))
        with pytest.raises(ArtifactError):
            open_bundle(bundle.path)

    def test_member_that_was_changed_after_opening(self, bundle: Bundle) -> None:
        opened = open_bundle(bundle.path)
        repacked(bundle, lambda members: members.update({SCALES: b"[]"}))
        with pytest.raises(ArtifactError, match=SCALES):
            opened.read(SCALES)

    def test_bundle_that_was_removed_after_opening(self, bundle: Bundle) -> None:
        opened = open_bundle(bundle.path)
        bundle.path.unlink()
        with pytest.raises(ArtifactError):
            opened.read(SCALES)

    def test_unknown_member(self, bundle: Bundle) -> None:
        with pytest.raises(ArtifactError, match="no member"):
            bundle.read("../../etc/passwd")

    def test_golden_outputs_that_are_no_arrays(self, tmp_path: Path) -> None:
        broken = write_bundle(tmp_path / "a.edge", MANIFEST_VALUE, {**MEMBERS, "golden/0.outputs.npz": b"x"})
        with pytest.raises(ArtifactError, match=r"golden/0\.outputs\.npz"):
            list(broken.golden())

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_no_changed_byte_goes_unnoticed(self, tmp_path: Path, data: st.DataObject) -> None:
        """A changed byte is refused, or lies where a zip holds nothing that is used, as in its time stamps."""
        whole = write_bundle(tmp_path / "whole.edge", MANIFEST_VALUE, MEMBERS, overwrite=True)
        content = bytearray(whole.path.read_bytes())
        index = data.draw(st.integers(0, len(content) - 1))
        content[index] ^= data.draw(st.integers(1, 255))
        (tmp_path / "flipped.edge").write_bytes(content)
        try:
            opened = open_bundle(tmp_path / "flipped.edge")
            members = {name: opened.read(name) for name in MEMBERS}
        except ArtifactError:
            return
        assert opened.manifest == whole.manifest
        assert members == MEMBERS
