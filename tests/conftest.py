from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.emulation import DEFAULT_ROOT, emulated_python
from edgekit.errors import TargetError
from tests.ssh_server import Server, serving

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that take long: workers that share the files out then end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_lanes() -> Path:
    """The folder with real lane models and frames that lies beside the checkout."""
    folder = ROOT.parent / "shared" / "lanes"
    if not folder.is_dir():
        pytest.skip("the real lane models and frames (../shared/lanes) are not here")
    return folder


@pytest.fixture(scope="session")
def running_server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="session")
def wheel_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that downloaded wheels are kept in, so that each is downloaded once, whichever worker asks first."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "wheels"


@pytest.fixture
def server(running_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server, with a home here that holds the key and the known host; nothing may be left on its side."""
    # What pip has downloaded before lies in the real home.
    monkeypatch.setenv("PIP_CACHE_DIR", os.environ.get("PIP_CACHE_DIR", str(Path.home() / ".cache" / "pip")))
    monkeypatch.setenv("HOME", str(running_server.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    yield running_server
    running_server.assert_clean()


@pytest.fixture(scope="session")
def arm_root(root: Path) -> Path:
    """The root folder with an aarch64 Python."""
    folder = root / DEFAULT_ROOT
    try:
        emulated_python("cortex-a72", folder)
    except TargetError as missing:
        pytest.skip(f"{missing.problem} `make test-arm` sets it up on Debian.")
    return folder
