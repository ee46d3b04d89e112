"""A board whose Python is the oldest that is served, which older Jetsons have: what is carried there must suit it."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgekit.api.remote import plan_remote, profile_remote
from edgekit.errors import TargetError
from edgekit.profiling.document import Document
from edgekit.profiling.remote.facts import OLDEST
from edgekit.profiling.remote.host import Host, parse_address
from edgekit.targets import load_target
from tests.ssh_server import Server

from .test_profile import bundle_for

pytest.importorskip("asyncssh", reason="asyncssh comes with the extra 'remote'")

NAME = "python" + ".".join(map(str, OLDEST))

# The library that the copy is linked to lies where the board's user may not look.
WRAPPER = """#!/bin/sh
export LD_LIBRARY_PATH={folder}/lib
exec {folder}/bin/{name} "$@"
"""


def found_here() -> str:
    """Return the base folder of a Python of that version on this machine; empty where there is none."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    for path in (shutil.which(NAME), *sorted(home.glob(f".pyenv/versions/*/bin/{NAME}"))):
        if path:
            done = subprocess.run([path, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True)
            if not done.returncode:
                return done.stdout.strip()
    return ""


@pytest.fixture
def old_python(server: Server) -> str:
    """That Python for the board's user, without any package: itself where the user may run it, else a copy."""
    base = found_here()
    if not base:
        pytest.skip(f"no {NAME} here")
    there = ["setpriv", f"--reuid={server.user}", "--clear-groups"]
    if subprocess.run([*there, f"{base}/bin/{NAME}", "-c", "pass"], capture_output=True).returncode == 0:
        return f"{base}/bin/{NAME}"
    folder = server.folder / NAME
    left_out = shutil.ignore_patterns(
        "test", "tests", "site-packages", "idlelib", "ensurepip", "__pycache__", "config-*"
    )
    shutil.copytree(f"{base}/lib/{NAME}", folder / "lib" / NAME, ignore=left_out)
    for library in Path(base, "lib").glob("libpython*.so.*"):
        shutil.copy(library, folder / "lib")
    (folder / "bin").mkdir()
    shutil.copy(f"{base}/bin/{NAME}", folder / "bin")
    wrapper = folder / NAME
    wrapper.write_text(WRAPPER.format(folder=folder, name=NAME))
    wrapper.chmod(0o755)
    if subprocess.run([*there, str(wrapper), "-c", "pass"], capture_output=True).returncode:
        pytest.skip(f"a copy of the {NAME} in {base} does not run elsewhere")
    return str(wrapper)


@pytest.mark.slow
def test_a_bundle_is_measured_with_the_oldest_python(
    server: Server, old_python: str, wheel_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(wheel_cache))
    target = load_target("arm-cortex-a76")
    here = target.model_copy(update={"device": target.device.model_copy(update={"arch": "any", "isa": ()})})
    bundle = bundle_for(here, tmp_path / "lane.edge")
    host = Host(parse_address(server.address), python=old_python)
    try:
        plan = plan_remote(bundle, host)
    except TargetError as error:
        pytest.skip(f"this machine has no package index: {error}")
    version = re.match(r"\d+\.\d+", plan["python"])
    assert version is not None and tuple(map(int, version[0].split("."))) == OLDEST
    assert {"numpy", "onnxruntime", "tomli"} <= {each.split()[0] for each in plan["carried"]}
    assert plan["used"] == []
    result = profile_remote(bundle, host, {"seconds": 0.2})
    Document.model_validate(result)
    assert (result["origin"], result["partial"]) == ("remote", None)
    assert result["machine"]["versions"]["python"].startswith(version[0] + ".")
    carried = dict(each.split() for each in plan["carried"])
    assert result["machine"]["versions"]["onnxruntime"] == carried["onnxruntime"]
    assert all(row["memory"] for row in result["rows"])
