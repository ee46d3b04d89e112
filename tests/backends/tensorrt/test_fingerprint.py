from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.backends.tensorrt.cuda import Device, has_driver
from edgekit.backends.tensorrt.fingerprint import differences, here, l4t
from edgekit.errors import TargetError

ORIN = {"library": "tensorrt", "version": "10.3.0", "gpu": "Orin", "compute_capability": "8.7", "l4t": "36.4.3"}


def test_the_same_machine_differs_in_nothing() -> None:
    assert differences(ORIN, ORIN) == []


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("version", "10.7.0", "TensorRT was 10.3.0, and is 10.7.0 here"),
        ("gpu", "Xavier", "the GPU was Orin, and is Xavier here"),
        ("compute_capability", "7.2", "the compute capability was 8.7, and is 7.2 here"),
        ("l4t", "35.6.0", "Jetson Linux (L4T) was 36.4.3, and is 35.6.0 here"),
    ],
)
def test_another_machine_is_told_by_what_differs(key: str, value: str, told: str) -> None:
    assert differences(ORIN, {**ORIN, key: value}) == [told]


def test_what_one_side_does_not_know_is_no_difference() -> None:
    assert differences(ORIN, {"library": "tensorrt", "version": "10.3.0"}) == []


def test_the_release_of_jetson_linux_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "nv_tegra_release"
    path.write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n")
    assert l4t(path) == "36.4.3"
    path.write_text("something else")
    assert l4t(path) == ""
    assert l4t(tmp_path / "none") == ""


@pytest.mark.skipif(has_driver(), reason="there is an NVIDIA driver here")
def test_without_a_gpu_versions_are_known_and_a_device_is_refused() -> None:
    assert here("tensorrt", "10.3.0").keys() <= {"library", "version", "l4t"}
    with pytest.raises(TargetError, match="there is none here"):
        Device()
