from __future__ import annotations

import base64
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import edgekit
from edgekit.profiling.remote.own_wheel import pack
from edgekit.resources import shipped_names


def test_the_record_holds_every_file_with_its_hash(tmp_path: Path) -> None:
    with zipfile.ZipFile(pack(tmp_path)) as wheel:
        record = wheel.read(f"edgekit-{edgekit.__version__}.dist-info/RECORD").decode()
        rows = {name: (digest, size) for name, digest, size in csv.reader(io.StringIO(record))}
        assert set(rows) == set(wheel.namelist())
        for name, (digest, size) in rows.items():
            if digest:
                data = wheel.read(name)
                wanted = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                assert (digest, int(size)) == (f"sha256={wanted}", len(data))


def test_the_same_code_gives_the_same_bytes(tmp_path: Path) -> None:
    first = pack(tmp_path).read_bytes()
    assert pack(tmp_path).read_bytes() == first


def test_pip_takes_it_and_it_runs_on_its_own(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    done = subprocess.run([*command, str(pack(tmp_path))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = f"import sys; sys.path.insert(0, {str(site)!r}); import edgekit.resources as r; " + (
        "print(r.__file__); print(*r.shipped_names('targets'))"
    )
    said = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [str(site / "edgekit" / "resources.py"), " ".join(shipped_names("targets"))]
