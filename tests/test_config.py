from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.config import settings_for
from edgekit.errors import UsageError

KNOWN = {"calibrate": ["model", "target", "max-lateral"], "profile": ["seconds", "threads"]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "edgekit.toml"


def test_a_commands_table_wins_over_the_keys_for_all(file: Path) -> None:
    file.write_text('model = "a.onnx"\nthreads = 1\n[calibrate]\nmodel = "b.onnx"\nmax-lateral = 1.5\n')
    assert settings_for("calibrate", file, KNOWN) == {"model": "b.onnx", "max-lateral": 1.5}
    assert settings_for("profile", file, KNOWN) == {"threads": 1}


@pytest.mark.parametrize(
    ("text", "asked", "suggested"),
    [
        ('modle = "a"', "unknown key 'modle'", "Did you mean 'model'?"),
        ("[calibrat]\n", "unknown table 'calibrat'", "Did you mean 'calibrate'?"),
        ("[profile]\nsecond = 3\n", "unknown [profile] key 'second'", "Did you mean 'seconds'?"),
        ('[profile]\nmodel = "a"\n', "unknown [profile] key 'model'", "Known here: seconds, threads."),
    ],
)
def test_an_unknown_key_names_file_key_and_the_known_ones(file: Path, text: str, asked: str, suggested: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        settings_for("calibrate", file, KNOWN)
    assert str(file) in str(error.value)
    assert asked in str(error.value)
    assert suggested in str(error.value)


def test_a_file_that_is_no_toml_says_where(file: Path) -> None:
    file.write_text("model = \n")
    with pytest.raises(UsageError, match="line 1"):
        settings_for("calibrate", file, KNOWN)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        settings_for("calibrate", tmp_path / "nowhere.toml", KNOWN)
