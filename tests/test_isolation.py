from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ModelError, TargetError
from edgekit.isolation import Outcome, call_isolated


def joined(folder: Path, word: str) -> dict[str, Any]:
    text = (folder / "in" / "text.txt").read_text()
    (folder / "out" / "joined.txt").write_text(text + word)
    print("joined it")
    return {"home": os.environ["HOME"], "path": os.environ["PATH"], "cwd": str(Path.cwd())}


def refuse(folder: Path) -> None:
    raise ModelError(problem="It is too large.", found="9 GB", fix="Make it smaller.")


def fail(folder: Path) -> None:
    message = "nobody foresaw this"
    raise RuntimeError(message)


def crash(folder: Path) -> None:
    print("about to read address 0", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(folder: Path) -> None:
    print("waiting", flush=True)
    time.sleep(60)


def leave(folder: Path) -> None:
    sys.exit(7)


def call(name: str, timeout_s: float = 60, **options: Any) -> Outcome:
    arguments = options.pop("arguments", {})
    return call_isolated(f"{__name__}:{name}", arguments, what="The test", timeout_s=timeout_s, **options)


def hang_and_tell(folder: Path, told: str) -> None:
    Path(told).write_text(str(os.getpid()))
    time.sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends a process with its parent")
def test_it_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    code = "import sys\nfrom tests.test_isolation import call\ncall('hang_and_tell', arguments={'told': sys.argv[1]})"
    with subprocess.Popen([sys.executable, "-c", code, str(told)]) as parent:
        while not (told.exists() and told.read_text()):
            assert parent.poll() is None
            time.sleep(0.02)
        parent.kill()
    process = Path("/proc", told.read_text(), "stat")
    deadline = time.monotonic() + 30
    while process.exists() and process.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_files_go_in_and_come_out_and_the_result_and_the_log_with_them() -> None:
    found = call("joined", arguments={"word": " world"}, files={"text.txt": b"hello"})
    assert found.files == {"joined.txt": b"hello world"}
    assert "joined it" in found.log
    assert found.peak_bytes > 1_000_000


def test_home_path_and_folder_are_its_own_and_are_gone_afterwards() -> None:
    found = call("joined", arguments={"word": ""}, files={"text.txt": b""}).result
    assert found["home"].startswith(found["cwd"])
    assert found["home"] != os.environ.get("HOME")
    assert str(Path(sys.executable).parent) not in found["path"].split(os.pathsep)
    assert not Path(found["cwd"]).exists()


def test_an_error_of_edgekits_own_is_raised_here_as_it_is() -> None:
    with pytest.raises(ModelError) as error:
        call("refuse")
    assert (error.value.problem, error.value.found, error.value.fix) == ("It is too large.", "9 GB", "Make it smaller.")


def test_another_exception_is_told_with_the_end_of_its_traceback() -> None:
    with pytest.raises(TargetError, match=r"exit code 1(.|\n)*nobody foresaw this"):
        call("fail")


def test_a_segmentation_fault_is_an_error_with_the_last_lines_of_the_log() -> None:
    with pytest.raises(TargetError, match=r"crashed with SIGSEGV(.|\n)*about to read address 0"):
        call("crash")


def test_what_hangs_is_killed_and_told_of() -> None:
    told: list[tuple[str, int, int]] = []
    with pytest.raises(TargetError, match=r"did not end within 2 s(.|\n)*"):
        call("hang", timeout_s=2, progress=lambda *step: told.append(step))
    assert told[0] == ("The test", 0, 2)


def test_a_process_that_leaves_without_a_result_is_an_error() -> None:
    with pytest.raises(TargetError, match="exit code 7"):
        call("leave")
