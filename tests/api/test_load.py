from __future__ import annotations

import platform
import warnings
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.api.compile import compile
from edgekit.api.load import host_mismatch, load
from edgekit.bundle import Bundle
from edgekit.calibration.artifact import Calibration
from edgekit.errors import ArtifactError, HostMismatchWarning, TargetError, UsageError
from edgekit.frames import Frames
from edgekit.targets import load_target
from tests.api.conftest import INPUT

ARM, VNNI = load_target("arm-cortex-a76").device, load_target("intel-cpu-vnni").device


@pytest.fixture(scope="module")
def bundle(small_calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return compile(small_calibration, out=tmp_path_factory.mktemp("load") / "small.edge", tune=False)


def foreign_bundle(calibration: Calibration, path: Path) -> Bundle:
    other = "intel-cpu-avx2" if platform.machine() in ("aarch64", "arm64") else "arm-cortex-a76"
    return compile(calibration, target=other, out=path, tune=False)


class TestSession:
    def test_real_lanes_are_found_by_the_quantized_model(
        self, lane_calibration: Calibration, shared_lanes: Path, tmp_path: Path
    ) -> None:
        frame = next(iter(Frames.open(shared_lanes / "frames/tusimple-clip"))).values
        bundle = compile(lane_calibration, out=tmp_path / "lane.edge", tune=False)
        with load(bundle.path) as lane, load(bundle, reference=True) as reference:
            agreement = lane.task.compare(reference.scene(frame), lane.scene(frame))
            assert len(lane(frame)) == agreement.candidate_lanes
        assert agreement.reference_lanes >= 3
        assert agreement.f1 is not None and agreement.f1 > 0.7

    def test_threads_change_no_result(self, bundle: Bundle) -> None:
        frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        tensors = []
        for threads in (0, 1, 2):
            with load(bundle, threads=threads) as session:
                tensors.append(session.scene(frame).tensors)
        for name in tensors[0]:
            np.testing.assert_array_equal(tensors[0][name], tensors[1][name])
            np.testing.assert_array_equal(tensors[0][name], tensors[2][name])

    def test_reference_is_the_floating_point_model_in_the_same_engine(self, bundle: Bundle) -> None:
        values = next(bundle.golden()).input
        with load(bundle) as quantized, load(bundle, reference=True) as reference:
            one, two = quantized.infer(values), reference.infer(values)
        for name in one:
            assert 0 < np.abs(one[name] - two[name]).max() < 0.1 * np.ptp(two[name])

    def test_input_of_another_shape_is_refused(self, bundle: Bundle) -> None:
        with load(bundle) as session, pytest.raises(UsageError, match="1 x 3 x 24 x 32"):
            session.infer(np.zeros((1, 3, 24, 33), np.float32))

    def test_public_name_is_the_same(self, bundle: Bundle) -> None:
        with edgekit.load(bundle.path, threads=1) as session:
            assert session.preprocessor.input_shape == INPUT


class TestRefusal:
    def test_negative_threads(self, bundle: Bundle) -> None:
        with pytest.raises(UsageError, match="threads"):
            load(bundle, threads=-1)

    def test_damaged_file(self, bundle: Bundle, tmp_path: Path) -> None:
        (tmp_path / "a.edge").write_bytes(bundle.path.read_bytes()[:-200])
        with pytest.raises(ArtifactError):
            load(tmp_path / "a.edge")

    @pytest.mark.parametrize("reference", [False, True])
    @pytest.mark.parametrize("target", ["jetson-orin", "jetson-agx-orin-jp7"])
    def test_engine_that_is_built_on_the_device(
        self, small_calibration: Calibration, tmp_path: Path, target: str, reference: bool
    ) -> None:
        bundle = compile(small_calibration, target=target, out=tmp_path / "a.edge", tune=False)
        with pytest.raises(TargetError, match="built on the device"):
            load(bundle, reference=reference)


class TestHostMismatch:
    def test_own_target_is_loaded_without_a_word(self, bundle: Bundle) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load(bundle).close()

    def test_bundle_for_another_architecture_runs_with_a_warning(
        self, small_calibration: Calibration, tmp_path: Path
    ) -> None:
        bundle = foreign_bundle(small_calibration, tmp_path / "a.edge")
        with pytest.warns(HostMismatchWarning, match="latency and memory here say nothing of the board") as caught:
            session = load(bundle)
        assert caught[0].filename == __file__
        with session:
            assert session.scene(np.zeros((48, 64, 3), np.uint8)).tensors

    @pytest.mark.parametrize(
        "device, machine, flags, found",
        [
            (ARM, "aarch64", {"asimd", "asimddp"}, ""),
            (ARM, "arm64", {"asimddp"}, ""),
            (ARM, "x86_64", {"vnni"}, "runs on x86_64"),
            (ARM, "aarch64", {"asimd"}, "lacks asimddp"),
            (VNNI, "x86_64", {"avx2", "vnni"}, ""),
            (VNNI, "AMD64", {"avx2", "vnni"}, ""),
            (VNNI, "x86_64", {"avx2"}, "lacks vnni"),
        ],
    )
    def test_says_what_differs(self, device: object, machine: str, flags: set[str], found: str) -> None:
        text = host_mismatch("board", device, machine, frozenset(flags))  # type: ignore[arg-type]
        assert bool(text) == bool(found)
        assert found in text
