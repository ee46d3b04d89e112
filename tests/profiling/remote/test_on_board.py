from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.profiling.remote import on_board
from edgekit.profiling.remote.board import _archive
from edgekit.progress import silent

FILES = {"0/in/bundle.edge": b"bundle" * 300, "0/order.json": b"{}"}
SENT = b"".join(_archive(FILES, silent))


def folder_with(stream: bytes) -> dict[str, bytes] | None:
    """Return what a transfer leaves; none where it leaves nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "edgekit-x"
        folder.mkdir()
        try:
            on_board.receive(folder, io.BytesIO(stream))
        except Exception:
            assert not folder.exists()
            return None
        return {name: (folder / name).read_bytes() for name in FILES}


def test_what_is_sent_arrives() -> None:
    assert folder_with(SENT) == FILES


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(SENT) - 1))
def test_a_transfer_that_is_cut_off_leaves_all_or_nothing(length: int) -> None:
    assert folder_with(SENT[:length]) in (None, FILES)


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "0/../../outside"])
def test_nothing_is_written_outside(name: str) -> None:
    assert folder_with(b"".join(_archive({name: b"x"}, silent))) is None
    assert not Path("/tmp/outside").exists()


def test_wheels_are_unpacked_as_python_finds_them(tmp_path: Path) -> None:
    wheel = tmp_path / "engine-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("engine/__init__.py", "")
        archive.writestr("engine-1.0.data/platlib/engine/lib.so", "so")
        archive.writestr("engine-1.0.data/scripts/engine", "#!python")
        archive.writestr("engine-1.0.dist-info/METADATA", "Name: engine")
    on_board.unpack_wheel(wheel, tmp_path / "site")
    found = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*") if path.is_file()}
    assert found == {"engine/__init__.py", "engine/lib.so", "engine-1.0.dist-info/METADATA"}


def test_it_runs_as_text_with_nothing_installed(tmp_path: Path) -> None:
    source = Path(on_board.__file__).read_bytes()
    command = [sys.executable, "-I", "-S", "-", "probe", str(tmp_path)]
    done = subprocess.run(command, input=source, capture_output=True, check=True)
    assert b'"machine"' in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_only_folders_of_its_own_are_removed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a folder of EdgeKit"):
        on_board.remove(tmp_path)
    assert tmp_path.exists()


def test_what_nobody_asks_for_is_ended_and_removed(tmp_path: Path) -> None:
    folder, job = tmp_path / "edgekit-x", tmp_path / "edgekit-x" / "0"
    (job / "in").mkdir(parents=True)
    (folder / "seen").touch()
    os.utime(folder / "seen", (0, 0))
    on_board.supervise(folder, job, "/bin/sleep")
    assert not folder.exists()
