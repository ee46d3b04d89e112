from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import edgekit
from edgekit.schema import read_toml


@pytest.mark.parametrize("name", edgekit.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(edgekit, name) is not None
    assert name in dir(edgekit)


@pytest.mark.parametrize("name", [name for name in edgekit.__all__ if name != "__version__"])
def test_every_public_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(edgekit, name))


def test_the_lazy_names_are_public_and_none_is_there_twice() -> None:
    assert len(set(edgekit.__all__)) == len(edgekit.__all__)
    assert set(edgekit._LAZY) < set(edgekit.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'calibrat'"):
        edgekit.calibrat  # noqa: B018


def test_the_version_is_the_one_of_the_project(root: Path) -> None:
    assert read_toml(root / "pyproject.toml")["project"]["version"] == edgekit.__version__


def test_every_error_is_an_edgekit_error_with_an_exit_code() -> None:
    errors = [getattr(edgekit, name) for name in edgekit.__all__ if name.endswith("Error")]
    assert all(issubclass(error, edgekit.EdgekitError) for error in errors)
    assert {error.exit_code for error in errors} == {1, 2, 3, 4, 5}
