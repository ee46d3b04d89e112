from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgekit.api.remote import plan_remote, profile_remote
from edgekit.emulation import EMULATED
from edgekit.errors import TargetError
from edgekit.profiling.document import Document
from edgekit.profiling.remote.host import Host, parse_address
from edgekit.report.table import profile_text
from edgekit.targets import load_target
from tests.ssh_server import Server

from .test_profile import bundle_for

pytest.importorskip("asyncssh", reason="asyncssh comes with the extra 'remote'")

WRAPPER = """#!/bin/sh
export QEMU_CPU=cortex-a76 OMP_NUM_THREADS=1
# Python takes the name it is called by for its own path, and starts its children by it.
exec {root}/qemu/qemu-aarch64-static -0 "$0" -L {root}/cortex-a76 {root}/debian/usr/bin/python3 "$@"
"""


@pytest.fixture
def arm_python(root: Path, server: Server) -> str:
    """An aarch64 Python that qemu-user runs, for the board's user."""
    folder = (root / "build" / "arm-root").resolve()
    if not (folder / "cortex-a76").is_dir():
        pytest.skip("no aarch64 Python under build/arm-root; `make test-arm` sets it up on Debian")
    path = server.folder / "python3-arm"
    path.write_text(WRAPPER.format(root=folder))
    path.chmod(0o755)
    there = ["setpriv", f"--reuid={server.user}", "--clear-groups", str(path), "-c", "pass"]
    if subprocess.run(there, capture_output=True).returncode:
        pytest.skip(f"the board's user may not read {folder}")
    return str(path)


@pytest.mark.slow
def test_a_bundle_for_arm_runs_on_an_emulated_board_and_is_labelled_so(
    server: Server, arm_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = bundle_for(load_target("arm-cortex-a76"), tmp_path / "lane.edge", vectors=1)
    host = Host(parse_address(server.address), python=arm_python)
    try:
        plan = plan_remote(bundle, host)
    except TargetError as error:
        pytest.skip(f"this machine has no package index: {error}")
    assert plan["architecture"] == "aarch64, emulated"
    # Under a camera the engine is not timed on its own as well, which saves an emulator's warm-up.
    result = profile_remote(bundle, host, {"seconds": 0.5, "fps": 20.0})
    Document.model_validate(result)
    assert result["origin"] == "emulated"
    assert result["machine"]["arch"] == "aarch64"
    assert result["warnings"].count(EMULATED) == 1
    text = profile_text(result)
    assert "Latency in ms, emulated" in text
    assert "measured" not in text
