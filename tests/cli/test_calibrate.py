from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekit.cli import INTERRUPTED

from .conftest import Edgekit, start


def fingerprint(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def arguments(model: Path, frames: Path) -> list[str]:
    return [
        "calibrate",
        str(model),
        "--data",
        str(frames),
        "--recipe",
        "generic",
        "--target",
        "arm-cortex-a76",
        "--effort",
        "quick",
    ]


def test_it_writes_a_calibration_and_says_what_came_of_it(
    in_process: Edgekit, arguments: list[str], tmp_path: Path
) -> None:
    done = in_process(*arguments, "-o", "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "scales.json").is_file()
    assert "1 of 2 layers" in done.stdout
    assert "18 to calibrate, 6 to check (held out)" in done.stdout
    assert "SQNR" in done.stdout
    assert "next: edgekit compile out -o out.edge" in done.stderr


def test_json_is_the_report_and_nothing_else(edgekit: Edgekit, arguments: list[str]) -> None:
    done = edgekit(*arguments, "-o", "out", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["schema_version"], told["calibration"], told["recipe"]) == (1, "out", "generic")
    assert told["report"]["agreement"]["origin"] == "measured"


@pytest.mark.parametrize("target", ["arm-cortex-a76", "jetson-orin"], ids=["built here", "built on the device"])
def test_four_bits_are_simulated_and_say_so(
    in_process: Edgekit, arguments: list[str], tmp_path: Path, target: str
) -> None:
    arguments[arguments.index("--target") + 1] = target
    done = in_process(*arguments, "-o", "out", "--bits", "w4a4")
    assert done.returncode == 0, done.stderr
    assert "w4a4, simulated" in done.stdout
    assert "edgekit compile" not in done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["quantized"]["bits"], report["quantized"]["simulated"]) == ("w4a4", True)
    assert json.loads((tmp_path / "out" / "scales.json").read_text())["provenance"]["bits"] == "w4a4"
    refused = in_process("compile", "out", "-o", "out.edge")
    assert refused.returncode == 2
    assert "no shipped target runs" in refused.stderr and "--bits w8a8" in refused.stderr
    assert not (tmp_path / "out.edge").exists()


def test_the_default_folder_is_named_after_model_and_target(
    in_process: Edgekit, arguments: list[str], tmp_path: Path
) -> None:
    assert in_process(*arguments, "-q").returncode == 0
    assert (tmp_path / "build" / "net-arm-cortex-a76" / "scales.json").is_file()


def test_for_a_jetson_it_says_where_the_engine_is_built(in_process: Edgekit, arguments: list[str]) -> None:
    arguments[arguments.index("--target") + 1] = "jetson-orin"
    done = in_process(*arguments, "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "The tensorrt engine is built on the Jetson" in done.stderr
    assert "not here" in done.stderr


def test_a_dry_run_shows_the_plan_and_writes_nothing(in_process: Edgekit, arguments: list[str], tmp_path: Path) -> None:
    before = fingerprint(tmp_path)
    done = in_process(*arguments, "-o", "out", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)["plan"]
    assert (plan["frames"], plan["target"], plan["exists_already"]) == (24, "arm-cortex-a76", False)
    assert [step["step"] for step in plan["step"]] == ["observe", "scale", "check"]
    assert fingerprint(tmp_path) == before


def test_what_the_plan_says_is_written_is_what_is_written(
    in_process: Edgekit, arguments: list[str], tmp_path: Path
) -> None:
    plan = json.loads(in_process(*arguments, "-o", "out", "--dry-run", "--json").stdout)["plan"]
    assert in_process(*arguments, "-o", "out").returncode == 0
    written = {
        str(path.relative_to(tmp_path)) for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")
    }
    assert set(plan["writes"]) == written


def test_a_dry_run_says_that_the_folder_is_there_already(
    in_process: Edgekit, arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    done = in_process(*arguments, "-o", "out", "--dry-run")
    assert "out exists already" in done.stderr


def test_settings_come_from_edgekit_toml(in_process: Edgekit, model: Path, frames: Path, tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text(
        f'model = "{model}"\ndata = "{frames}"\nrecipe = "generic"\n\n'
        '[calibrate]\ntarget = "arm-cortex-a76"\nout = "from-file"\neffort = "quick"\n\n[profile]\nseconds = 3.0\n'
    )
    done = in_process("calibrate")
    assert done.returncode == 0, done.stderr
    assert "settings from edgekit.toml: model, data, recipe, target, out, effort" in done.stderr
    assert (tmp_path / "from-file" / "scales.json").is_file()
    assert in_process("calibrate", "--out", "typed").returncode == 0
    assert (tmp_path / "typed" / "scales.json").is_file()


def test_settings_come_from_the_file_that_is_named(in_process: Edgekit, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('[calibrate]\nout = "named"\n')
    assert in_process(*arguments, "-c", "other.toml").returncode == 0
    assert (tmp_path / "named").is_dir()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("max_lateral = 1.0", "Did you mean 'max-lateral'?"),
        ('seed = "one"', "key 'seed' is not valid"),
        ("overwrite = 1", "key 'overwrite' is not valid"),
        ("target = true", "key 'target' is not valid"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(
    in_process: Edgekit, arguments: list[str], tmp_path: Path, setting: str, told: str
) -> None:
    (tmp_path / "edgekit.toml").write_text(f"[calibrate]\n{setting}\n")
    done = in_process(*arguments, "-o", "out")
    assert done.returncode == 2
    assert "edgekit.toml" in done.stderr
    assert told in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_model(in_process: Edgekit, arguments: list[str], tmp_path: Path) -> None:
    arguments[1] = "nowhere.onnx"
    refused(in_process(*arguments, "-o", "out"), 2, "There is no model at nowhere.onnx", tmp_path)


def test_a_text_file_named_onnx(in_process: Edgekit, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("This is a lane network.\n" * 40)
    arguments[1] = "text.onnx"
    refused(in_process(*arguments, "-o", "out"), 5, "text.onnx is not an ONNX model, or is cut off", tmp_path)


def test_a_model_cut_in_half(in_process: Edgekit, arguments: list[str], model: Path, tmp_path: Path) -> None:
    whole = model.read_bytes()
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    arguments[1] = "half.onnx"
    refused(in_process(*arguments, "-o", "out"), 5, "half.onnx", tmp_path)


def test_nan_in_the_weights(in_process: Edgekit, arguments: list[str], nan_model: Path, tmp_path: Path) -> None:
    arguments[1] = str(nan_model)
    done = refused(in_process(*arguments, "-o", "out"), 5, "weights that are not finite", tmp_path)
    assert "'w1'" in done.stderr


def test_a_model_with_another_channel_count(
    in_process: Edgekit, arguments: list[str], one_channel_model: Path, tmp_path: Path
) -> None:
    arguments[1] = str(one_channel_model)
    refused(in_process(*arguments, "-o", "out"), 2, "input 1 x 1 x 24 x 32", tmp_path)


def test_frames_with_another_channel_count(in_process: Edgekit, arguments: list[str], tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "grey.npz", frames=np.zeros((9, 24, 32, 1), np.uint8))
    arguments[3] = "grey.npz"
    refused(in_process(*arguments, "-o", "out"), 2, "(9, 24, 32, 1)", tmp_path)


def test_an_empty_folder(in_process: Edgekit, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    arguments[3] = "empty"
    refused(in_process(*arguments, "-o", "out"), 2, "There are no images in empty", tmp_path)


def test_a_model_of_ones_own_needs_data(in_process: Edgekit, arguments: list[str], tmp_path: Path) -> None:
    refused(in_process(*arguments[:2], *arguments[4:], "-o", "out"), 2, "no --data", tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"text" * 200])
@pytest.mark.parametrize("name", ["003.jpg", "004.jpg"], ids=["held out", "calibrated on"])
def test_a_broken_jpeg_is_named_and_left_out(
    in_process: Edgekit, arguments: list[str], frames: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    (frames / name).write_bytes(damage((frames / name).read_bytes()))
    done = in_process(*arguments, "-o", "out")
    assert done.returncode == 0, done.stderr
    assert f"warning: {name} cannot be read" in done.stderr
    assert done.stderr.count("warning:") == 1


def test_too_many_broken_jpegs(in_process: Edgekit, arguments: list[str], frames: Path, tmp_path: Path) -> None:
    for index in range(4, 12):
        (frames / f"{index:03d}.jpg").write_bytes(b"no picture")
    done = refused(in_process(*arguments, "-o", "out"), 2, "frames cannot be read", tmp_path)
    assert "004.jpg" in done.stderr


@pytest.mark.parametrize(
    ("flag", "wrong", "right"),
    [("--target", "jetson-orn", "jetson-orin"), ("--recipe", "lane-curv", "lane-curve")],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    in_process: Edgekit, arguments: list[str], tmp_path: Path, flag: str, wrong: str, right: str
) -> None:
    done = refused(in_process(*arguments, flag, wrong, "-o", "out"), 2, f"named '{wrong}'", tmp_path)
    assert f"Did you mean '{right}'?" in done.stderr


def test_a_recipe_that_does_not_fit_the_model(in_process: Edgekit, arguments: list[str], tmp_path: Path) -> None:
    done = refused(in_process(*arguments, "--recipe", "lane-curve", "-o", "out"), 2, "'lane-curve'", tmp_path)
    assert "curves" in done.stderr


def test_a_dry_run_tells_of_a_head_that_the_model_lacks(
    in_process: Edgekit, arguments: list[str], tmp_path: Path
) -> None:
    done = refused(in_process(*arguments, "--recipe", "lane-curve", "--dry-run"), 2, "'lane-curve'", tmp_path)
    assert "outputs: out" in done.stderr


def test_a_model_that_no_recipe_is_known_for(in_process: Edgekit, arguments: list[str], tmp_path: Path) -> None:
    del arguments[4:6]
    done = refused(in_process(*arguments, "-o", "out"), 2, "The recipe cannot be told", tmp_path)
    assert "--recipe" in done.stderr


def test_an_output_folder_that_exists(in_process: Edgekit, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    before = fingerprint(tmp_path)
    done = in_process(*arguments, "-o", "out")
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert "--overwrite" in done.stderr
    assert fingerprint(tmp_path) == before


def test_overwrite_replaces_a_calibration_and_nothing_else(
    in_process: Edgekit, arguments: list[str], tmp_path: Path
) -> None:
    assert in_process(*arguments, "-o", "out").returncode == 0
    assert in_process(*arguments, "-o", "out", "--overwrite", "--seed", "1").returncode == 0
    assert json.loads((tmp_path / "out" / "scales.json").read_text())["provenance"]["seed"] == 1
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mine.txt").write_text("mine")
    done = in_process(*arguments, "-o", "home", "--overwrite")
    assert done.returncode == 2
    assert fingerprint(tmp_path / "home") == {"mine.txt": b"mine"}


def test_an_output_folder_below_a_file(in_process: Edgekit, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    refused(in_process(*arguments, "-o", "file/out"), 2, "cannot be written", tmp_path)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written to. Permissions do not bind root, a file system mounted read-only does."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1M", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("root may write everywhere, and may not mount a read-only file system here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_read_only_output_folder(in_process: Edgekit, arguments: list[str], read_only: Path) -> None:
    done = in_process(*arguments, "-o", read_only / "out")
    assert done.returncode == 2
    assert f"{read_only / 'out'} cannot be written" in done.stderr
    assert "fix:" in done.stderr
    assert list(read_only.iterdir()) == []


def test_a_disk_that_is_full(arguments: list[str], tmp_path: Path) -> None:
    """The system refuses to let a file grow, as it does on a full disk, after some of the result was written."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    command = [sys.executable, "-m", "edgekit", *arguments, "-o", "results/out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, preexec_fn=limit)
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_ctrl_c_in_the_middle(arguments: list[str], frames: Path, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "many.txt").write_text("frames/000.jpg\n" * 200_000)
    (tmp_path / "recipe.toml").write_text('extends = "generic"\n[[step]]\nstep = "observe"\nframes = 200000\n')
    arguments[3], arguments[5] = "many.txt", "recipe.toml"
    running = start(tmp_path, *arguments, "-o", "results/out", "--json")
    results = tmp_path / "results"
    while running.poll() is None and not (results.is_dir() and list(results.iterdir())):
        time.sleep(0.01)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    # Python itself reports a process that SIGINT met inside of a native module's import as ended by that signal.
    assert running.returncode in (INTERRUPTED, -signal.SIGINT), err
    assert "Nothing was left half-written." in err
    assert "Traceback" not in err
    assert not results.exists()
    assert json.loads(out)["error"]["type"] == "Interrupted"


def test_a_gate_that_is_not_kept_ends_with_3_and_keeps_the_report(
    in_process: Edgekit, arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "strict.toml").write_text('extends = "generic"\n[gates]\nmin_sqnr_db = 200.0\n')
    arguments[5] = "strict.toml"
    done = in_process(*arguments, "-o", "out")
    assert done.returncode == 3
    assert "sqnr_db 200 FAILED" in done.stdout
    assert "worse than a gate allows" in done.stderr
    assert (tmp_path / "out" / "report.json").is_file()


def refused(
    done: subprocess.CompletedProcess[str], code: int, told: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Check that a command failed as it should, said why, and left nothing."""
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    left = [path for path in folder.iterdir() if path.name == "out" or path.name.startswith(".")]
    assert left == []
    return done
