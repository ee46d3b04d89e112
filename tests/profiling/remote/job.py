"""Functions that the tests let a board call; they travel there as a wheel of their own."""

from __future__ import annotations

import getpass
import os
import signal
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

from edgekit.errors import HostMismatchWarning, ModelError
from edgekit.profiling.remote import telling


def about(folder: Path) -> dict[str, Any]:
    """Say where this runs."""
    return {
        "user": getpass.getuser(),
        "folder": str(folder),
        "home": os.environ["HOME"],
        "temporary": os.environ["TMPDIR"],
        "sent": {path.name: path.read_text() for path in sorted((folder / "in").iterdir())},
    }


def count(folder: Path, steps: int, pause: float) -> int:
    """Count slowly, tell of it, and keep how far it came where it is interrupted."""
    done = 0
    with telling.telling(folder) as progress:
        warnings.warn("this takes a while", HostMismatchWarning, stacklevel=1)
        try:
            while done < steps:
                time.sleep(pause)
                done += 1
                progress(f"step {done}", 1, 1)
        except KeyboardInterrupt:
            telling.keep(folder, {"done": done})
            raise
    return done


def crash(folder: Path) -> None:
    """End as a bug in a native library does."""
    print("libengine: null pointer", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def refuse(folder: Path) -> None:
    """Raise what EdgeKit raises, and keep something before."""
    telling.keep(folder, "half")
    raise ModelError(problem="This is not a model.", found="a picture", fix="Give a model.")


def fill_the_disk(folder: Path) -> None:
    """Write until there is no room left."""
    with (folder / "out" / "big").open("wb") as stream:
        while True:
            stream.write(bytes(1 << 20))


def wheel(folder: Path) -> Path:
    """Pack this module, as `job`, into a wheel."""
    path = folder / "job-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(__file__, "job.py")
        archive.writestr("job-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: job\nVersion: 1.0\n")
        archive.writestr("job-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("job-1.0.dist-info/RECORD", "job.py,,\n")
    return path
