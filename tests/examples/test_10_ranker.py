from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ranker.__main__ import main

SMALL = {
    "planted -o build/data": "planted -o build/data --rows 4000 --users 40 --items 60",
    "train build/data": "train build/data --size tokens=2 width=16 block=16 blocks=1 expansion=1 head=[16] "
    "--batch 256 --rate 0.003 --embedding-l2 0.03 --epochs 4 --annealing 1",
    "train --network finalmlp build/data": "train --network finalmlp build/data --size hidden=[16] second=[16] gate=16 "
    "heads=2 --batch 256 --rate 0.003 --embedding-l2 0.03 --epochs 2",
    "--size dropout=0.1 feature_dropout=0": "",
    "export build/model": "export build/model --candidates 40 --requests 48",
}
"""What the README's commands are run with here: what its readers wait for, a test does not."""


@pytest.fixture(scope="module")
def example(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example, with EdgeKit's commands and settings that spare time."""
    folder = tmp_path_factory.mktemp("example") / "10_ranker"
    shutil.copytree(root / "examples" / "10_ranker", folder, ignore=shutil.ignore_patterns("node_modules", "build"))
    (folder / "edgekit.toml").write_text('[calibrate]\neffort = "quick"\n[compile]\ntune-seconds = 3\n')
    binaries = folder / "bin"
    binaries.mkdir()
    (binaries / "edgekit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgekit "$@"\n')
    (binaries / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -W ignore "$@"\n')
    for tool in binaries.iterdir():
        tool.chmod(0o755)
    return folder


def run(example: Path, root: Path, script: str) -> str:
    path = f"{example / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-euc", script], cwd=example, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_readme_of_the_example_runs(example: Path, root: Path) -> None:
    text = (example / "README.md").read_text(encoding="utf-8")
    for told, small in SMALL.items():
        assert told in text
        text = text.replace(told, small)
    first, update, distilled = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    printed = run(example, root, first)
    assert "with the true chances, the test AUC of 'clicked' is 0.8" in printed
    results = json.loads((example / "build" / "model" / "results.json").read_text())
    best = json.loads((example / "build" / "data" / "best.json").read_text())["test.clicked"]
    assert 0.6 < results["test"]["clicked"]["auc"] < best
    assert "With articles that it has never seen" in printed
    secret = example / "build" / "key" / "private.hex"
    assert secret.stat().st_mode & 0o077 == 0
    printed = run(example, root, update)
    assert "3 rows of 'item_id'" in printed
    assert "After the update, with the 3 articles" in printed
    assert "taught by build/teacher" in run(example, root, distilled)
    taught = json.loads((example / "build" / "taught" / "results.json").read_text())
    assert taught["teachers"] == ["build/teacher"]
    assert taught["rows"] == results["rows"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["ranker", *map(str, arguments)])
    main()


def few(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Generate a few rows."""
    call(monkeypatch, "planted", "-o", folder, "--rows", "600", "--users", "20", "--items", "30")
    return folder


def test_a_training_resumes_and_answers_several_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = few(monkeypatch, tmp_path / "few"), tmp_path / "two"
    training = ("train", data, "-o", out, "--network", "infnet", "--tasks", "clicked,bought", "--epochs", "2")
    call(monkeypatch, *training, "--size", "width=8", "blocks=1")
    assert "epoch 2:" in capsys.readouterr().out
    call(monkeypatch, *training, "--size", "width=8", "blocks=1")
    printed = capsys.readouterr().out
    assert "epoch" not in printed
    assert "test, bought: auc" in printed
    assert json.loads((out / "results.json").read_text())["test"].keys() == {"clicked", "bought"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("train nowhere -o out", r"nowhere.schema\.toml cannot be read"),
        ("train . -o out --schema SCHEMAS/frappe.toml", r"\. holds neither train\.csv nor train\.parquet"),
        ("train few -o out --size tokes=2", "unimixing-lite has no 'tokes'; its size has: basis, block"),
        ("train few -o out --size block=7", "2 tokens of 80 do not cut into blocks of 7"),
        ("train few -o out --teachers few", r"few.model\.pt"),
        ("train few -o out --tasks liked", "no column 'liked' for the label"),
        ("update few few/later.csv -o delta --features f --key k --field item_id", r"few.model\.pt"),
    ],
)
def test_errors_say_what_is_wrong(
    arguments: str, told: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few(monkeypatch, Path("few"))
    schemas = root / "examples" / "10_ranker" / "schemas"
    with pytest.raises(SystemExit, match=told):
        call(monkeypatch, *arguments.replace("SCHEMAS", str(schemas)).split())


def test_the_demo_makes_what_the_readme_makes(root: Path) -> None:
    folder = root / "examples" / "10_ranker"
    told = subprocess.run(
        ["make", "-n", "-C", str(folder), "demo", "OUT=build"], capture_output=True, text=True, check=True
    ).stdout.replace("\\\n", " ")
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for command in re.findall(r"^(?:python -m ranker \w+|edgekit \w+|python app\.py)", readme, re.M):
        assert command.removeprefix("python ") in told
