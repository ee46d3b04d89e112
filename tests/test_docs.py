"""The documentation says what is true: commands and flags that exist, links that lead somewhere, snippets that run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgekit.cli import COMMANDS, EXIT_CODES, command
from edgekit.errors import EdgekitError
from edgekit.targets import list_targets, load_target

ROOT = Path(__file__).resolve().parent.parent
BRIEF_COMMAND = """
import edgekit.api.calibrate
import edgekit.cli.profile

edgekit.api.calibrate.BUILT_IN_FRAMES = 12
edgekit.cli.profile.TUNE_SECONDS = 1.0
edgekit.cli.main()
"""
"""The command `edgekit`, which makes less of the built-in model."""

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def section(text: str, title: str) -> str:
    """Return what stands under the heading `title`, up to the next heading of its level."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^\1 |\Z)", text, re.M | re.S)
    assert found, f"there is no heading '{title}'"
    return found[2]


def leaves(name: str) -> Iterator[tuple[str, click.Command]]:
    found = command(name)
    if isinstance(found, click.Group):
        yield from ((f"{name} {inner}", each) for inner, each in found.commands.items())
    else:
        yield name, found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_with_its_flags(name: str) -> None:
    text = section((ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), f"edgekit {name}")
    everywhere = {"--json", "--quiet", "--verbose", "--config", "--help"}
    for title, leaf in leaves(name):
        assert f"edgekit {title}" in text
        for parameter in leaf.params:
            flag = max(parameter.opts, key=len)
            assert flag in everywhere or (flag if flag.startswith("-") else flag.upper()) in text, flag


@pytest.mark.parametrize("name", COMMANDS)
def test_no_flag_is_documented_that_does_not_exist(name: str) -> None:
    text = section((ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), f"edgekit {name}")
    known = {flag for _, leaf in leaves(name) for parameter in leaf.params for flag in parameter.opts}
    assert set(re.findall(r"`(--[a-z0-9-]+)", text)) <= known


def test_the_readme_names_every_target_with_its_engine() -> None:
    rows = [row for row in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if row.startswith("| `")]
    told = {name: row for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    targets = [load_target(name) for name, title in list_targets() if not title.startswith("alias")]
    assert set(told) == {target.name for target in targets}
    engines = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "tensorrt": "TensorRT", "qnn": "QNN"}
    for target in targets:
        assert engines[target.backend] in told[target.name]
        assert ("here" in told[target.name].split("|")[3]) == (target.builds == "here")


def test_every_exit_code_is_documented() -> None:
    codes = {0} | {error.exit_code for error in (EdgekitError, *EdgekitError.__subclasses__())}
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.M)} == codes | {130, 141}
    assert {int(code) for code in re.findall(r"\b(\d+) [a-z]", EXIT_CODES)} == codes | {130}
    for error in EdgekitError.__subclasses__():
        assert f"| `{error.__name__}` |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_site_builds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "cli" / "index.html").is_file()


@pytest.fixture
def workplace(tmp_path: Path) -> tuple[Path, str]:
    """A folder with the model and frames that the README speaks of, and the recipe that fits them.

    The real model is used where it is here. Elsewhere the built-in one stands in for it, with a recipe of its own.
    """
    import cv2

    from edgekit.reference import model_path
    from edgekit.reference.road import render

    frames = tmp_path / "frames"
    frames.mkdir()
    shared = ROOT.parent / "shared" / "lanes"
    if shared.is_dir():
        shutil.copy(shared / "models" / "lstr-culane" / "model.onnx", tmp_path / "lane.onnx")
        for picture in sorted((shared / "frames" / "culane").glob("*.jpg"))[:12]:
            shutil.copy(picture, frames)
        return tmp_path, "lane-curve"
    shutil.copy(model_path(), tmp_path / "lane.onnx")
    for index in range(12):
        cv2.imwrite(str(frames / f"{index:05d}.jpg"), render(7, index).pixels)
    return tmp_path, "reference-lane"


@pytest.mark.slow
def test_the_readme_runs(workplace: tuple[Path, str]) -> None:
    folder, recipe = workplace
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("lane-curve", recipe)
    # What a reader waits a minute for, tests do not: the shell's commands read this file, Python is told.
    settings = '[calibrate]\neffort = "quick"\n[compile]\ntune-seconds = 1\n[profile]\nseconds = 1.0\n'
    (folder / "edgekit.toml").write_text(settings)
    text = text.replace("--seconds 5", "--seconds 1")
    text = text.replace('target="host", ', 'target="host", effort="quick", ')
    text = text.replace("compile(calibration, ", "compile(calibration, tune_seconds=1, ")
    shell = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    python = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert shell
    assert python
    binaries = folder / "bin"
    binaries.mkdir()
    (binaries / "edgekit").write_text(f"#!{sys.executable}\n{BRIEF_COMMAND}")
    (binaries / "edgekit").chmod(0o755)
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    for snippet in shell:
        _check(["bash", "-euc", snippet], folder, environment)
    shutil.rmtree(folder / "build")
    for snippet in python:
        _check([sys.executable, "-c", snippet], folder, environment)


def test_the_ranker_page_runs(tmp_path: Path) -> None:
    import onnx

    from tests.rankers import network

    text = (ROOT / "docs" / "ranker.md").read_text(encoding="utf-8")
    # The network here has random weights, so that all scores lie near each other.
    (tmp_path / "loose.toml").write_text('extends = "ranker"\n[gates]\nmin_ndcg = 0.8\nmin_top_overlap = 0.5\n')
    text = text.replace("--recipe ranker", "--recipe loose.toml").replace('recipe="ranker"', 'recipe="loose.toml"')
    schema, *_ = re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "shop.toml").write_text(schema)
    onnx.save(network(width=14), tmp_path / "ranker.onnx")
    (tmp_path / "edgekit.toml").write_text('[calibrate]\neffort = "quick"\n[compile]\nno-tune = true\n')
    (tmp_path / "edgekit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgekit "$@"\n')
    (tmp_path / "edgekit").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    python = ""
    for language, snippet in re.findall(r"^```(bash|python)\n(.*?)^```", text, re.M | re.S):
        # Later snippets of Python go on with the names of the earlier ones.
        python += (
            snippet
            if language == "python"
            else f"import subprocess\nsubprocess.check_call(['bash', '-euc', {snippet!r}])\n"
        )
    _check([sys.executable, "-c", python], tmp_path, environment)


def _check(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
