"""The built wheel, installed in a venv that holds nothing but what the wheel declares, and run outside the checkout.

Downloading torch and the engines again for every test run would take minutes. So the venv is made empty, pip installs
the wheel in it without dependencies, and what the wheel's own metadata asks for is linked in from the environment that
runs the tests. A dependency that is used and not declared is missing there, as it would be at a user's.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement


@dataclass(frozen=True)
class Install:
    """A venv with the wheel: `core` has its dependencies alone, `extra` those of the extra [calibrate] as well."""

    python: Path
    work: Path
    extra: Path

    def run(self, *arguments: str, extras: bool = False) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        if extras:
            environment["PYTHONPATH"] = str(self.extra)
        return subprocess.run(
            [str(self.python.parent / arguments[0]), *arguments[1:]],
            capture_output=True,
            text=True,
            cwd=self.work,
            env=environment,
        )


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(root)],
        capture_output=True,
        check=True,
    )
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Install:
    folder = tmp_path_factory.mktemp("install")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    site = next((folder / "venv" / "lib").glob("python3*")) / "site-packages"
    requirements = importlib.metadata.PathDistribution(next(site.glob("edgekit-*.dist-info"))).requires or []
    core = set(closure([Requirement(line) for line in requirements], ""))
    extra = set(closure([Requirement(line) for line in requirements], "calibrate"))
    link(core, site)
    link(extra - core, folder / "extra")
    (folder / "work").mkdir()
    return Install(python, folder / "work", folder / "extra")


def closure(requirements: list[Requirement], extra: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """Return the names of all distributions that the requirements ask for, and what those ask for."""
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for inner in sorted(requirement.extras) if requirement.name == "edgekit" else ["", *requirement.extras]:
            key = f"{requirement.name}[{inner}]"
            if key in seen:
                continue
            below = metadata_of(requirement.name)
            if requirement.name != "edgekit":
                yield requirement.name
            yield from closure(below, inner, seen | {key})


def metadata_of(name: str) -> list[Requirement]:
    return [Requirement(line) for line in importlib.metadata.requires(name) or []]


def link(distributions: set[str], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in distributions:
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
        for top in tops:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution.locate_file(top))))


def test_the_wheel_holds_what_the_commands_read_and_no_tests(wheel: Path, root: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for kind in ("calib", "targets"):
        shipped = {f"edgekit/_data/{kind}/{path.name}" for path in (root / kind).glob("*.toml")}
        assert shipped
        assert shipped <= names
    assert {"edgekit/py.typed", "edgekit/reference/model.onnx"} <= names
    assert any(name.endswith("LICENSE") for name in names)
    assert not [name for name in names if not name.startswith(("edgekit/", "edgekit-"))]


def test_the_command_runs_on_the_core_dependencies_alone(install: Install) -> None:
    done = install.run("edgekit", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "calibrate" in done.stdout


def test_it_is_the_installed_package_that_runs(install: Install) -> None:
    done = install.run("python", "-c", "import edgekit; print(edgekit.__file__)")
    assert Path(done.stdout.strip()).is_relative_to(install.python.parent.parent)


@pytest.mark.parametrize("kind", ["targets", "recipes"])
def test_the_shipped_files_are_found(install: Install, root: Path, kind: str) -> None:
    done = install.run("edgekit", kind, "list", "--json")
    assert done.returncode == 0, done.stderr
    folder = {"targets": "targets", "recipes": "calib"}[kind]
    assert {each["name"] for each in json.loads(done.stdout)[kind]} >= {
        path.stem for path in (root / folder).glob("*.toml")
    }


def test_the_doctor_names_the_engine_that_is_missing(install: Install) -> None:
    done = install.run("edgekit", "doctor", "--json")
    assert done.returncode == 4, done.stderr
    found = json.loads(done.stdout)
    assert not any(engine["runs_here"] for engine in found["engines"].values())
    assert any("pip install" in problem or "edgekit[" in problem for problem in found["problems"])


def test_without_the_extra_calibrate_says_what_to_install(install: Install) -> None:
    done = install.run("edgekit", "calibrate", "--target", "jetson-orin")
    assert done.returncode == 4, done.stderr
    assert "edgekit[calibrate]" in done.stderr
    assert list(install.work.iterdir()) == []


@pytest.mark.slow
def test_calibrate_works_outside_of_the_checkout(install: Install) -> None:
    done = install.run(
        "edgekit", "calibrate", "--target", "jetson-orin", "--effort", "quick", "-o", "lane", extras=True
    )
    assert done.returncode == 0, done.stderr
    assert (install.work / "lane" / "scales.json").is_file()
