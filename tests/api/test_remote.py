from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest

from edgekit.api.remote import plan_remote, profile_remote
from edgekit.bundle import Bundle
from edgekit.errors import ModelError, TargetError
from edgekit.profiling.document import Document
from edgekit.profiling.remote.host import Host, parse_address
from edgekit.profiling.remote.wheels import cache_folder
from edgekit.targets import load_target
from tests.ssh_server import Server

from .test_profile import bundle_for

pytest.importorskip("asyncssh", reason="asyncssh comes with the extra 'remote'")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle for ONNX Runtime on whatever CPU the board has."""
    target = load_target("arm-cortex-a76")
    here = target.model_copy(update={"device": target.device.model_copy(update={"arch": "any", "isa": ()})})
    return bundle_for(here, tmp_path_factory.mktemp("bundle") / "lane.edge")


@pytest.fixture
def host(server: Server, bundle: Bundle, wheel_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The board, for which everything was downloaded once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(wheel_cache))
    host = Host(parse_address(server.address))
    try:
        plan_remote(bundle, host)
    except TargetError as error:
        pytest.skip(f"the board has no Python, or this machine no package index: {error}")
    return host


def test_the_plan_says_what_the_board_is_and_what_would_be_copied(host: Host, bundle: Bundle) -> None:
    plan = plan_remote(bundle, host)
    assert plan["host"] == str(host.address)
    names = [each.split()[0] for each in [*plan["carried"], *plan["used"]]]
    assert {"edgekit", "numpy", "onnxruntime", "pydantic"} <= set(names)
    assert not {"torch", "onnx", "scipy", "asyncssh"} & set(names)
    assert plan["carried_bytes"] > 1_000_000


@pytest.mark.slow
def test_a_bundle_is_measured_there_though_the_connection_drops(host: Host, bundle: Bundle, server: Server) -> None:
    dropped: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "measure" and not dropped and server.drop_connections():
            dropped.append(stage)

    result = profile_remote(bundle, host, {"seconds": 3.0, "threads": 1}, progress)
    assert dropped
    Document.model_validate(result)
    assert (result["origin"], result["partial"], result["bundle"]) == ("remote", None, str(bundle.path))
    assert result["remote"]["host"] == str(host.address)
    assert result["remote"]["host_key"].startswith("ssh-ed25519 SHA256:")
    assert result["machine"]["versions"]["python"] == result["remote"]["python"].split()[0]
    assert [row["model"] for row in result["rows"]] == ["fp", "int8"]
    assert all(row["memory"] for row in result["rows"])


@pytest.mark.slow
def test_an_engine_that_crashes_there(host: Host, bundle: Bundle, tmp_path: Path) -> None:
    from tests.profiling.remote.test_wheels import wheel

    for path in cache_folder().glob("*/*.whl"):
        if not path.name.startswith("onnxruntime"):
            shutil.copy(path, tmp_path)
    version = bundle.manifest.engine.version
    code = "import os, signal; print('engine: bad instruction', flush=True); os.kill(os.getpid(), signal.SIGILL)"
    wheel(tmp_path, f"onnxruntime-{version}", "py3-none-any", code=code)
    there = Host(host.address, wheels=tmp_path)
    with pytest.raises(TargetError, match="SIGILL") as crashed:
        profile_remote(bundle, there, {"seconds": 0.2})
    assert "engine: bad instruction" in crashed.value.found
    assert str(host.address) in crashed.value.found


def test_a_bundle_for_another_architecture_is_refused(server: Server, tmp_path: Path) -> None:
    name = "arm-cortex-a76" if platform.machine() == "x86_64" else "intel-cpu-vnni"
    try:
        foreign = bundle_for(load_target(name), tmp_path / "foreign.edge")
    except (TargetError, ModelError) as error:
        pytest.skip(str(error))
    with pytest.raises(TargetError, match="and that board is"):
        profile_remote(foreign, server.address, {})
