"""The shape of the source, read from the source: who may import whom, and how long a module may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "edgekit").rglob("*.py"))
MAX_LINES = 400

BASE = {
    "archives",
    "companion",
    "config",
    "extras",
    "frames",
    "output",
    "emulation",
    "placements",
    "engines",
    "isolation",
    "process",
    "progress",
    "recipes",
    "resources",
    "schema",
    "targets",
    "bundle",
    "manifest",
    "errors",
}
MIDDLE = {"features", "graph", "runtime", "tasks"}
ALLOWED: dict[str, set[str]] = {
    **{name: BASE for name in BASE},
    "reference": BASE | {"tasks"},
    "tasks": BASE,
    "features": BASE,
    "graph": BASE,
    "runtime": BASE | {"features", "tasks"},
    "backends": BASE | MIDDLE,
    "report": BASE | MIDDLE,
    "calibration": BASE | MIDDLE | {"backends", "reference", "report"},
    "profiling": BASE | MIDDLE | {"backends"},
    "tuning": BASE | MIDDLE | {"backends", "calibration", "profiling", "report"},
    "api": BASE | MIDDLE | {"backends", "calibration", "profiling", "reference", "report", "tuning"},
    "cli": BASE | MIDDLE | {"api", "backends", "calibration", "profiling", "reference", "report", "tuning"},
}
"""Part of the package to the parts that it may import; its own part always."""


def part_of(module: str) -> str:
    return [*module.split("."), ""][1]


def imported_by(source: Path) -> list[str]:
    """Return the edgekit modules that a file imports anywhere, inside functions and for type checking too."""
    found = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: relative import in line {node.lineno}"
            name = str(node.module)
            found += [f"edgekit.{alias.name}" for alias in node.names] if name == "edgekit" else [name]
    return [name for name in found if name.split(".")[0] == "edgekit"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(source: Path) -> None:
    part = source.relative_to(ROOT / "edgekit").with_suffix("").parts[0]
    if part in ("__init__", "__main__"):
        return
    assert part in ALLOWED, f"{source} lies in a part that has no place in the import order"
    # The package itself holds the version and the lazy public names: whoever imports it loads nothing else.
    wrong = {name for name in imported_by(source) if part_of(name) not in ALLOWED[part] | {part, "", "__version__"}}
    assert not wrong, f"edgekit.{part} may not import {', '.join(sorted(wrong))}"


def test_the_import_order_has_no_circle() -> None:
    def below(part: str, path: tuple[str, ...]) -> None:
        assert part not in path, " -> ".join((*path, part))
        for other in ALLOWED[part] - {part} - (BASE if part in BASE else set()):
            below(other, (*path, part))

    for part in ALLOWED:
        below(part, ())


def test_the_order_names_only_parts_that_exist() -> None:
    there = {path.stem for path in (ROOT / "edgekit").iterdir()}
    assert set(ALLOWED) <= there


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_short(source: Path) -> None:
    assert len(source.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
