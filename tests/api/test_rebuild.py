"""A bundle's engine built in place, with TensorRT-RTX, which needs no GPU for it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgekit.api.compile import compile
from edgekit.api.load import load
from edgekit.api.rebuild import compile_in_place
from edgekit.backends.tensorrt.adapter import installed_version
from edgekit.bundle import ENGINE_FOLDER, Bundle, fill_bundle, open_bundle
from edgekit.calibration.artifact import Calibration
from edgekit.errors import ArtifactError, OutputError, TargetError, UsageError

RTX = pytest.mark.skipif(not installed_version("tensorrt_rtx"), reason="tensorrt_rtx is not installed")


@pytest.fixture(scope="module")
def built(small_calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return compile(small_calibration, target="nvidia-rtx-sm86", out=tmp_path_factory.mktemp("rtx") / "net.edge")


@pytest.fixture
def bundle(built: Bundle, tmp_path: Path) -> Bundle:
    (tmp_path / "net.edge").write_bytes(built.path.read_bytes())
    return open_bundle(tmp_path / "net.edge")


def changed(bundle: Bundle, **engine: Any) -> Bundle:
    """The bundle as if its engine were another one."""
    members = {name: bundle.read(name) for name in bundle.manifest.members}
    record = json.loads(members[f"{ENGINE_FOLDER}build.json"])
    record["built_for"] |= engine
    members[f"{ENGINE_FOLDER}build.json"] = json.dumps(record).encode()
    fill_bundle(bundle.path, bundle.manifest, members)
    return open_bundle(bundle.path)


@RTX
class TestRtx:
    def test_the_bundle_holds_the_engine_and_says_what_it_is_for(self, built: Bundle) -> None:
        engine = built.manifest.engine
        assert set(engine.members) == {"build.json", "layers.json", "model.engine", "model.onnx"}
        assert engine.built_for["compute_capability"] == "8.6"
        assert engine.version.startswith("tensorrt_rtx 1.")
        assert (engine.built, engine.reproducible) == ("here", True)
        assert "int8" in {layer.precision for layer in engine.layers}
        assert built.manifest.agreement.engine_to_reference is None

    def test_an_engine_that_is_there_is_replaced_only_when_told_to(self, bundle: Bundle) -> None:
        before = bundle.path.read_bytes()
        with pytest.raises(OutputError, match=r"holds an engine already(.|\n)*--overwrite"):
            compile_in_place(bundle)
        told: list[str] = []
        again = compile_in_place(bundle, overwrite=True, progress=lambda stage, done, total: told.append(stage))
        assert again == open_bundle(bundle.path)
        assert bundle.path.read_bytes() == before
        assert told
        assert all(stage.startswith("TensorRT builds") for stage in told)

    def test_an_engine_for_another_version_is_refused_and_rebuilt_on_request(self, bundle: Bundle) -> None:
        before = bundle.read(f"{ENGINE_FOLDER}build.json")
        other = changed(bundle, version="1.6.0.1")
        with pytest.raises(TargetError, match=r"TensorRT was 1\.6\.0\.1, and is (.|\n)*--overwrite"):
            load(other)
        assert compile_in_place(other, overwrite=True).read(f"{ENGINE_FOLDER}build.json") == before

    def test_shares_of_precisions_are_those_of_the_new_engine(self, bundle: Bundle) -> None:
        told = bundle.manifest.engine
        assert told.precisions
        members = {name: bundle.read(name) for name in bundle.manifest.members}
        forgotten = told.model_copy(update={"precisions": (), "layers": ()})
        fill_bundle(bundle.path, bundle.manifest.model_copy(update={"engine": forgotten}), members)
        again = compile_in_place(bundle.path, overwrite=True).manifest.engine
        assert (again.precisions, again.layers) == (told.precisions, told.layers)

    def test_a_damaged_bundle_is_refused(self, bundle: Bundle) -> None:
        data = bytearray(bundle.path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        bundle.path.write_bytes(data)
        with pytest.raises(ArtifactError, match="damaged"):
            compile_in_place(bundle.path, overwrite=True)

    def test_a_full_disk_leaves_the_bundle_as_it_was(self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        before = bundle.path.read_bytes()

        def full(draft: Path, *rest: Any) -> None:
            draft.write_bytes(before[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(draft))

        monkeypatch.setattr("edgekit.api.rebuild.fill_bundle", full)
        with pytest.raises(OutputError, match="No space left"):
            compile_in_place(bundle, overwrite=True)
        assert bundle.path.read_bytes() == before
        assert list(bundle.path.parent.iterdir()) == [bundle.path]

    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
    def test_a_build_that_is_broken_off_leaves_the_bundle_as_it_was(self, bundle: Bundle, sent: signal.Signals) -> None:
        before = bundle.path.read_bytes()
        # A shell starts its background jobs with SIGINT ignored, and these tests may be one.
        code = (
            "import signal, sys, edgekit\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "edgekit.compile_in_place(sys.argv[1], overwrite=True)"
        )
        process = subprocess.Popen([sys.executable, "-c", code, str(bundle.path)], stderr=subprocess.DEVNULL)
        # The draft beside the bundle shows that the build has begun.
        while len(list(bundle.path.parent.iterdir())) == 1 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(sent)
        assert process.wait(60) != 0
        assert bundle.path.read_bytes() == before
        assert sent == signal.SIGKILL or list(bundle.path.parent.iterdir()) == [bundle.path]


def test_a_jetsons_bundle_is_not_built_on_another_machine(small_calibration: Calibration, tmp_path: Path) -> None:
    for target in ("jetson-orin", "jetson-agx-orin-jp7", "jetson-agx-orin-dla-jp6"):
        bundle = compile(small_calibration, target=target, out=tmp_path / f"{target}.edge")
        assert (bundle.manifest.engine.built, bundle.manifest.engine.built_for) == ("on-device", {})
        before = bundle.path.read_bytes()
        with pytest.raises(TargetError, match="tensorrt"):
            compile_in_place(bundle)
        assert bundle.path.read_bytes() == before
        with pytest.raises(TargetError, match=r"is not built yet(.|\n)*edgekit compile BUNDLE.edge"):
            load(bundle)


def test_an_engine_that_is_not_built_in_place_is_refused(small_calibration: Calibration, tmp_path: Path) -> None:
    bundle = compile(small_calibration, target="arm-cortex-a76", out=tmp_path / "net.edge")
    with pytest.raises(UsageError, match="not built from the bundle"):
        compile_in_place(bundle)
