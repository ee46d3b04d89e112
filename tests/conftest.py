from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ssh_server import Server, serving

ROOT = Path(__file__).resolve().parent.parent


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


@pytest.fixture
def server(running_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server, with a home here that holds the key and the known host; nothing may be left on its side."""
    monkeypatch.setenv("HOME", str(running_server.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    yield running_server
    running_server.assert_clean()
