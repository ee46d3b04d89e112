"""What runs on the board around the job; needs nothing but Python, and is sent there as text.

    python - probe [FOLDER]              what the board is, as JSON; writes nothing
    python on_board.py receive FOLDER    unpack a tar from standard input; wheels become FOLDER/site
    python on_board.py start FOLDER JOB PYTHON
    python on_board.py follow FOLDER JOB OFFSET
    python on_board.py fetch FOLDER JOB
    python on_board.py stop FOLDER JOB
    python on_board.py remove FOLDER

A job does not hang on the connection: it runs in a session of its own, and writes down what it tells. Nothing outside
of FOLDER is written. What nobody asked about for `ABANDONED_S` is ended and removed.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import site
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

ABANDONED_S = 3600.0
GRACE_S = 60.0
START_S = 30.0
POLL_S = 0.25
HEARTBEAT_S = 2.0
LOG_BYTES = 8000

END = "end-of-transfer"
"""The last file of a transfer: a tar that is cut off between two files looks whole."""

_SEEN, _PID, _EXIT, _DRAFT, _LOG, _EVENTS = "seen", "pid", "exit", "exit.draft", "log.txt", "events.jsonl"


def probe(folder: str = "") -> dict[str, Any]:
    """Say what this machine is, as far as it matters for what is sent to it."""
    folder = folder or tempfile.gettempdir()
    return {
        "python": list(sys.version_info[:3]),
        "implementation": sys.implementation.name,
        "machine": platform.machine(),
        "bits": 8 * struct.calcsize("P"),
        "libc": list(_libc()),
        "packages": {_normal(each.metadata["Name"]): each.version for each in _distributions()},
        "folder": folder,
        "free_bytes": shutil.disk_usage(folder).free if os.path.isdir(folder) else None,  # noqa: PTH112
        "writable": os.access(folder, os.W_OK | os.X_OK),
        "board": _text(Path("/proc/device-tree/model")).strip("\0 \n"),
        "processor": platform.processor() or platform.machine(),
        "cpuinfo": _text(Path("/proc/cpuinfo")),
        "cores": os.cpu_count(),
    }


def _distributions() -> list[importlib.metadata.Distribution]:
    # A broken installation has metadata without a name.
    return [each for each in importlib.metadata.distributions() if each.metadata and each.metadata["Name"]]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _libc() -> tuple[str, str]:
    with suppress(ValueError, OSError, AttributeError):
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        if version:
            return name, version
    for loader in Path("/lib").glob("ld-musl-*.so.1"):
        said = subprocess.run([str(loader)], capture_output=True, text=True).stderr
        found = re.search(r"Version (\d+\.\d+)", said)
        if found:
            return "musl", found[1]
    return "", ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def receive(folder: Path, stream: BinaryIO) -> None:
    """Unpack a tar: files as they are named, and wheels into `site`. One that is cut off takes the folder with it."""
    ended = False
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member)
                path = folder / member.name
                ended = member.name == END
                if content is None or ".." in path.parts or member.name.startswith("/"):
                    message = f"not a plain file: {member.name}"
                    raise ValueError(message)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as out:
                    shutil.copyfileobj(content, out, 1 << 20)
                if path.suffix == ".whl":
                    unpack_wheel(path, folder / "site")
                    path.unlink()
        if not ended:
            message = "the transfer ended early"
            raise ValueError(message)
    except (tarfile.TarError, EOFError, ValueError):
        shutil.rmtree(folder, ignore_errors=True)
        raise


def unpack_wheel(wheel: Path, folder: Path) -> None:
    """Put what a wheel installs where Python finds it; scripts, headers and other data stay away."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            head, _, rest = info.filename.partition("/")
            name = info.filename
            if head.endswith(".data"):
                kind, _, name = rest.partition("/")
                if kind not in ("purelib", "platlib"):
                    continue
            if info.is_dir():
                continue
            path = folder / name
            if ".." in path.parts or name.startswith("/"):
                message = f"{wheel.name} holds {info.filename}"
                raise ValueError(message)
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, path.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)


def start(folder: Path, job: Path, python: str) -> None:
    """Start a job that outlives the connection; one that was started already is left to run."""
    (folder / _SEEN).touch()
    for name in ("in", "out", "home", "tmp"):
        (job / name).mkdir(parents=True, exist_ok=True)
    if (job / _EVENTS).exists():
        return
    (job / _EVENTS).touch()
    subprocess.Popen(
        [python, __file__, "supervise", str(folder), job.name, python],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def supervise(folder: Path, job: Path, python: str) -> None:
    """Run a job to its end, write down how it ended, and remove everything where nobody asks for that."""
    # Room for how it ends is taken now: the disk may be full by then.
    _reserve(job)
    with (job / _LOG).open("wb") as log:
        try:
            process = subprocess.Popen(
                [python, "-m", "edgekit.isolation", str(job)],
                cwd=job,
                env=_environment(folder, job),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        except OSError as error:
            log.write(f"{python}: {error}\n".encode())
            _end(job, 127)
            return
        (job / _PID).write_text(str(process.pid), encoding="ascii")
        while process.poll() is None:
            time.sleep(POLL_S)
            if _abandoned(folder):
                _kill_all(folder)
    if folder.exists():
        _end(job, process.returncode)
    while folder.exists() and not (folder / str(int(job.name) + 1)).exists():
        if _abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
        time.sleep(POLL_S)


def _environment(folder: Path, job: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(folder / "site"),
        # Another HOME hides what the user installed with `pip install --user`, which is to be found all the same.
        "PYTHONUSERBASE": site.getuserbase(),
        "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
        "PYTHONUNBUFFERED": "1",
        "HOME": str(job / "home"),
        "XDG_CACHE_HOME": str(job / "home"),
        "TMPDIR": str(job / "tmp"),
        "ORT_DISABLE_TELEMETRY": "1",
    }


def _abandoned(folder: Path) -> bool:
    with suppress(OSError):
        return time.time() - (folder / _SEEN).stat().st_mtime > ABANDONED_S
    return True


def _reserve(job: Path) -> None:
    (job / _DRAFT).write_text(" " * 64, encoding="ascii")


def _end(job: Path, code: int) -> None:
    """Write down how a job ended, and what room there was on the disk."""
    draft = job / _DRAFT
    with draft.open("r+", encoding="ascii") as stream:
        stream.write(f"{code} {shutil.disk_usage(job).free} ")
    draft.rename(job / _EXIT)


def follow(folder: Path, job: Path, offset: int) -> int:
    """Print what the job tells from an offset on, until it ends; an empty line now and then finds out who listens."""
    begun = told = time.monotonic()
    with (job / _EVENTS).open("rb") as events:
        events.seek(offset)
        while True:
            ended = (job / _EXIT).exists()
            (folder / _SEEN).touch()
            fresh = events.read()
            if fresh or time.monotonic() - told > HEARTBEAT_S:
                sys.stdout.buffer.write(fresh or b"\n")
                sys.stdout.buffer.flush()
                told = time.monotonic()
            if ended:
                return 0
            if not _alive(job) and time.monotonic() - begun > START_S and not (job / _EXIT).exists():
                return 5
            time.sleep(POLL_S)


def _alive(job: Path) -> bool:
    pid = _text(job / _PID)
    return bool(pid) and Path(f"/proc/{pid}").exists()


def fetch(job: Path) -> dict[str, Any]:
    """Return how a job ended, with the files that it left for that."""
    left = {name: _text(job / f"{name}.json") for name in ("result", "error", "kept")}
    code, free, *_ = [*map(int, _text(job / _EXIT).split()), None, None]
    return {**left, "exit": code, "free_bytes": free, "log": _text(job / _LOG)[-LOG_BYTES:]}


def stop(job: Path) -> None:
    """End a job as Ctrl-C does, which lets it write down what it has, and kill it where that takes too long."""
    _wait(job, START_S, (_PID, _EXIT))
    for number, seconds in ((signal.SIGINT, GRACE_S), (signal.SIGKILL, GRACE_S)):
        _signal(job, number)
        if _wait(job, seconds, (_EXIT,)):
            return


def _wait(job: Path, seconds: float, names: tuple[str, ...]) -> bool:
    """Wait until one of these files is there, and return whether it is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if any((job / name).exists() for name in names):
            return True
        time.sleep(POLL_S)
    return False


def remove(folder: Path) -> None:
    """Kill what still runs, and remove everything."""
    if not folder.name.startswith("edgekit-"):
        message = f"not a folder of EdgeKit: {folder}"
        raise ValueError(message)
    _kill_all(folder)
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
    shutil.rmtree(folder)


def _kill_all(folder: Path) -> None:
    """Kill every process but this that works below a folder, whatever started it."""
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            pid = int(link.parent.name)
            if pid != os.getpid() and link.readlink().is_relative_to(folder.resolve()):
                os.kill(pid, signal.SIGKILL)


def _signal(job: Path, number: signal.Signals) -> None:
    with suppress(OSError, ValueError):
        pid = int(_text(job / _PID))
        # The number may have been given to another process since.
        if Path(f"/proc/{pid}/cwd").resolve() == job.resolve():
            os.killpg(pid, number)


def main(arguments: list[str]) -> int:
    """Do one of the above."""
    command, place, *rest = [*arguments, ""]
    if command == "probe":
        print(json.dumps(probe(place)))
        return 0
    folder = Path(place)
    try:
        if command == "receive":
            receive(folder, sys.stdin.buffer)
        elif command == "remove":
            remove(folder)
        else:
            return _job(command, folder, folder / rest[0], rest[1])
    except OSError as error:
        print(f"{error.strerror}: {error.filename or folder}", file=sys.stderr)
        return 3
    except ValueError as error:
        print(error, file=sys.stderr)
        return 4
    return 0


def _job(command: str, folder: Path, job: Path, argument: str) -> int:
    if command == "start":
        start(folder, job, argument)
    elif command == "supervise":
        supervise(folder, job, argument)
    elif command == "follow":
        return follow(folder, job, int(argument))
    elif command == "fetch":
        print(json.dumps(fetch(job)))
    elif command == "stop":
        stop(job)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
