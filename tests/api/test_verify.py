from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.api.compile import compile
from edgekit.api.verify import verify
from edgekit.bundle import Bundle, arrays_bytes, write_bundle
from edgekit.calibration.artifact import Calibration
from edgekit.errors import ArtifactError, TargetError

Outputs = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def bundle(small_calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return compile(small_calibration, out=tmp_path_factory.mktemp("verify") / "small.edge", tune=False)


@pytest.fixture(scope="module")
def lane_bundle(lane_calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return compile(lane_calibration, out=tmp_path_factory.mktemp("verify") / "lane.edge", tune=False)


def with_golden_outputs(bundle: Bundle, path: Path, change: Callable[[Outputs], object]) -> Bundle:
    """Write the bundle again, hashes and all, with other outputs for its first golden input."""
    members = {name: bundle.read(name) for name in bundle.manifest.members}
    outputs = {name: values.copy() for name, values in next(bundle.golden()).outputs.items()}
    change(outputs)
    members[bundle.manifest.golden.vectors[0].outputs] = arrays_bytes(list(outputs.values()))
    return write_bundle(path, bundle.manifest, members)


def test_bundle_passes_where_it_was_made(bundle: Bundle) -> None:
    found = verify(bundle.path)
    assert found.passed
    assert found.members == len(bundle.manifest.members)
    assert found.engine == found.golden_engine
    assert [vector.frame for vector in found.vectors] == [one.frame for one in bundle.manifest.golden.vectors]
    for vector in found.vectors:
        assert set(vector.differences) == {"scores", "features"}
        assert max(vector.differences.values()) == 0.0


def test_real_lanes_agree_with_the_golden_ones(lane_bundle: Bundle) -> None:
    found = verify(lane_bundle, threads=2)
    assert found.passed
    for vector in found.vectors:
        assert vector.agreement.f1 == 1.0
        assert vector.agreement.reference_lanes >= 3


@pytest.mark.parametrize("share, passes", [(0.9, True), (1.1, False)])
def test_tolerance_is_what_decides(bundle: Bundle, tmp_path: Path, share: float, passes: bool) -> None:
    step = share * bundle.manifest.golden.tolerance["scores"]

    def shift(outputs: Outputs) -> None:
        outputs["scores"][0, 0, 3, 5] += step

    found = verify(with_golden_outputs(bundle, tmp_path / "a.edge", shift))
    assert found.passed is passes
    assert [vector.passed for vector in found.vectors] == [passes, True]
    assert found.vectors[0].differences["scores"] == pytest.approx(step, rel=1e-3)


def test_lanes_that_moved_fail_even_within_the_tolerance(lane_bundle: Bundle, tmp_path: Path) -> None:
    loose = lane_bundle.manifest.golden.model_copy(
        update={"tolerance": dict.fromkeys(lane_bundle.manifest.golden.tolerance, 1e9)}
    )
    manifest = lane_bundle.manifest.model_copy(update={"golden": loose})

    def move(outputs: Outputs) -> None:
        outputs["offset"] += 1.0

    changed = with_golden_outputs(Bundle(lane_bundle.path, manifest), tmp_path / "a.edge", move)
    found = verify(changed)
    assert not found.passed
    lateral = found.vectors[0].agreement.lateral_px
    # A whole cell of 8 px of the input, 512 px wide, in a frame of 1280.
    assert lateral == pytest.approx(20.0, abs=0.5)


def test_outputs_that_are_no_numbers_fail(bundle: Bundle, tmp_path: Path) -> None:
    def spoil(outputs: Outputs) -> None:
        outputs["features"][0, 0, 0, 0] = np.nan

    found = verify(with_golden_outputs(bundle, tmp_path / "a.edge", spoil))
    assert not found.passed
    assert found.vectors[0].differences["features"] == float("inf")


def test_outputs_of_another_shape_fail(bundle: Bundle, tmp_path: Path) -> None:
    def cut(outputs: Outputs) -> None:
        outputs["features"] = outputs["features"][:, :4]

    assert not verify(with_golden_outputs(bundle, tmp_path / "a.edge", cut)).passed


def test_bundle_without_golden_vectors_proves_nothing(bundle: Bundle, tmp_path: Path) -> None:
    empty = bundle.manifest.golden.model_copy(update={"vectors": ()})
    manifest = bundle.manifest.model_copy(update={"golden": empty})
    members = {name: bundle.read(name) for name in bundle.manifest.members}
    assert not verify(write_bundle(tmp_path / "a.edge", manifest, members)).passed


def test_file_that_changed_since_it_was_opened_is_found(bundle: Bundle, tmp_path: Path) -> None:
    members = {name: bundle.read(name) for name in bundle.manifest.members}
    opened = write_bundle(tmp_path / "a.edge", bundle.manifest, members)
    data = bytearray(opened.path.read_bytes())
    data[len(data) // 2] ^= 1
    opened.path.write_bytes(data)
    with pytest.raises(ArtifactError, match="damaged"):
        verify(opened)


def test_engine_that_is_built_on_the_device_is_not_pretended_to_run(
    small_calibration: Calibration, tmp_path: Path
) -> None:
    bundle = compile(small_calibration, target="jetson-orin", out=tmp_path / "a.edge", tune=False)
    with pytest.raises(TargetError, match="built on the device"):
        verify(bundle)
