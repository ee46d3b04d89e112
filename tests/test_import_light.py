"""What `import edgekit` and `edgekit --help` load, seen from outside: in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.cli import COMMANDS

ENGINES = {"torch", "onnx", "onnxruntime", "openvino", "cv2", "nncf", "scipy"}
HEAVY = ENGINES | {"numpy", "pydantic", "rich"}

ALL_MODULES = sorted(
    ".".join(path.relative_to(Path(__file__).parent.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in (Path(__file__).parent.parent / "edgekit").rglob("*.py")
    # The generator of road frames draws with OpenCV throughout, and is itself imported only where frames are drawn.
    if path.name != "__main__.py" and path.parent.name != "reference"
)


def _lines(module: str) -> list[str]:
    base = Path(__file__).parent.parent / Path(*module.split("."))
    return (base / "__init__.py" if base.is_dir() else base.with_suffix(".py")).read_text().splitlines()


def _need_torch() -> set[str]:
    """Modules that import torch at their top, those that import one of them there, and the modules inside of them."""
    heavy = {"torch"}
    while True:
        starts = tuple(f"{word} {name}" for name in heavy for word in ("import", "from"))
        more = {module for module in ALL_MODULES if any(line.startswith(starts) for line in _lines(module))}
        more |= {module for module in ALL_MODULES if any(module.startswith(f"{name}.") for name in heavy)}
        if more <= heavy:
            return heavy
        heavy |= more


# Only what learns needs torch, at its top: it is imported where a recipe asks for it.
MODULES = [module for module in ALL_MODULES if module not in _need_torch()]


def loaded_by(code: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has after running `code`."""
    probe = f"{code}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}}, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_edgekit_loads_nothing_heavy() -> None:
    assert loaded_by("import edgekit") & HEAVY == set()


def test_importtime_shows_no_engine() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import edgekit"], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "edgekit" in imported
    assert imported & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["calibrate", "--help"], ["profile", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        f"from edgekit.cli import execute; from edgekit.cli.terminal import Terminal; execute({arguments}, Terminal())"
    )
    assert loaded_by(code) & HEAVY == set()


def test_help_imports_no_command() -> None:
    code = "from edgekit.cli import execute; from edgekit.cli.terminal import Terminal; execute(['--help'], Terminal())"
    probe = f"{code}\nimport sys; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert {"edgekit.cli", "edgekit.cli.terminal"} <= set(done.stdout.split())
    assert not {where.partition(":")[0] for where, _ in COMMANDS.values()} & set(done.stdout.split())


def test_no_module_imports_an_engine_at_its_top() -> None:
    imports = "\n".join(f"import {module}" for module in MODULES)
    assert loaded_by(imports) & {"torch", "onnxruntime", "openvino", "cv2", "nncf"} == set()


@pytest.mark.parametrize("module", ["edgekit.api.calibrate", "edgekit.calibration.pipeline", "edgekit.api.load"])
def test_plain_calibration_does_without_torch(module: str) -> None:
    assert module in MODULES
