from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import TargetError
from edgekit.profiling.remote.facts import Facts
from edgekit.profiling.remote.plan import check_room, make_plan
from edgekit.profiling.remote.wheels import is_met, light_requirements, platform_tags, resolve, room_needed

FACTS = Facts(
    executable="/usr/bin/python3",
    python=(3, 10, 12),
    implementation="cpython",
    machine="aarch64",
    libc=("glibc", "2.35"),
    packages={"numpy": "1.26.4", "pydantic": "1.10.2", "opencv-python-headless": "4.9.0"},
    folder="/tmp",
    free_bytes=1 << 30,
    board="NVIDIA Jetson Orin Nano Developer Kit",
    cpu="Cortex-A78AE",
    flags=frozenset({"asimddp"}),
    cores=6,
    emulated=False,
)


def wheel(folder: Path, name: str, tag: str, requires: str = "", code: str = "#" * 1000) -> Path:
    package, version = name.split("-")
    path = folder / f"{name}-{tag}.whl"
    about = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{package}.py", code)
        archive.writestr(f"{name}.dist-info/METADATA", about + (f"Requires-Dist: {requires}\n" if requires else ""))
        archive.writestr(f"{name}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{name}.dist-info/RECORD", "")
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_platforms_reach_from_the_boards_libc_down_to_the_oldest_one() -> None:
    tags = platform_tags(FACTS)
    assert tags[0] == "manylinux_2_35_aarch64"
    assert tags[-2:] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64"]
    assert "manylinux1_x86_64" in platform_tags(replace(FACTS, machine="x86_64"))
    assert platform_tags(replace(FACTS, libc=("musl", "1.2")))[0] == "musllinux_1_2_aarch64"
    assert platform_tags(replace(FACTS, libc=("", ""))) == ["linux_aarch64"]


def test_the_runtime_needs_neither_torch_nor_onnx() -> None:
    names = [each.rstrip("0123456789.,<>=!") for each in light_requirements(FACTS, "onnxruntime")]
    assert {"numpy", "pydantic", "click", "rich", "psutil", "onnxruntime", "opencv-python-headless"} <= set(names)
    assert not {"torch", "onnx", "scipy", "asyncssh", "openvino"} & set(names)
    # A marker is read for the board's Python, not for this one.
    assert "tomli" in names
    assert "tomli" not in [each[:5] for each in light_requirements(replace(FACTS, python=(3, 12, 1)))]


def test_a_package_that_will_do_is_not_carried(tmp_path: Path) -> None:
    assert is_met("numpy>=1.26", FACTS)
    assert not is_met("pydantic>=2.7", FACTS)
    assert not is_met("psutil>=5.9", FACTS)
    wheel(tmp_path, "pydantic-2.8", "py3-none-any")
    plan = make_plan(FACTS, tmp_path / "edgekit-1-py3-none-any.whl", ["numpy>=1.26", "pydantic>=2.7"], tmp_path)
    assert plan.used == ("numpy 1.26.4",)
    assert [path.name.split("-")[0] for path in plan.wheels] == ["edgekit", "pydantic"]


def test_wheels_are_those_of_the_boards_python_and_architecture(tmp_path: Path, own_cache: Path) -> None:
    fits = wheel(tmp_path, "engine-1.0", "cp310-cp310-manylinux_2_28_aarch64", requires="helper")
    helper = wheel(tmp_path, "helper-1.0", "py3-none-any")
    for tag in ("cp311-cp311-manylinux_2_28_aarch64", "cp310-cp310-manylinux_2_28_x86_64"):
        wheel(tmp_path, "engine-2.0", tag)
    wheel(tmp_path, "engine-3.0", "cp310-cp310-manylinux_2_39_aarch64")
    found = resolve(["engine>=1"], FACTS, tmp_path)
    assert [path.name for path in found] == [fits.name, helper.name]
    assert all(path.is_relative_to(own_cache) for path in found)
    stamps = [path.stat().st_mtime_ns for path in found]
    assert [path.stat().st_mtime_ns for path in resolve(["engine>=1"], FACTS, tmp_path)] == stamps


def test_an_exact_version_is_preferred_and_not_insisted_on(tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        wheel(tmp_path, f"engine-{version}", "py3-none-any")
    own = tmp_path / "edgekit-1-py3-none-any.whl"
    chosen = [make_plan(FACTS, own, ["engine>=1"], tmp_path, [f"engine=={it}"]).wheels[1] for it in ("1.0", "9.0")]
    assert [path.name.split("-")[1] for path in chosen] == ["1.0", "2.0"]


def test_no_fitting_wheel_is_an_error_that_says_for_what(tmp_path: Path) -> None:
    wheel(tmp_path, "engine-1.0", "cp311-cp311-manylinux_2_28_x86_64")
    with pytest.raises(TargetError, match=r"Python 3.10 on aarch64 with glibc 2.35") as missing:
        resolve(["engine>=1"], FACTS, tmp_path)
    assert "engine" in missing.value.found
    assert "--wheels" in missing.value.fix


def test_room_is_asked_for_before_anything_is_sent(tmp_path: Path) -> None:
    own = wheel(tmp_path, "edgekit-1", "py3-none-any")
    assert room_needed([own]) > own.stat().st_size + 1000
    plan = make_plan(FACTS, own, [], None)
    check_room(plan, "ssh://board", 0)
    with pytest.raises(TargetError, match="too full") as full:
        check_room(plan, "ssh://board", FACTS.free_bytes)
    assert "--host-folder" in full.value.fix
