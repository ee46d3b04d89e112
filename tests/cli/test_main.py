from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from edgekit.cli import BROKEN_PIPE, COMMANDS, INTERRUPTED, cli, command, execute
from edgekit.cli.terminal import Terminal
from edgekit.errors import ModelError

from .conftest import Edgekit


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_help_is_the_first_sentence_of_the_command(name: str) -> None:
    assert command(name).get_short_help_str(200).rstrip(".") == COMMANDS[name][1].rstrip(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    options = [parameter for parameter in command(name).params if isinstance(parameter, click.Option)]
    assert all(option.help for option in options)


def test_help_lists_every_command(edgekit: Edgekit) -> None:
    done = edgekit("--help")
    assert done.returncode == 0
    section = done.stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in section.splitlines()] == list(COMMANDS)


def test_an_unknown_command_is_answered_with_the_nearest(edgekit: Edgekit) -> None:
    done = edgekit("calibrat")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'calibrate'?" in done.stderr


def test_an_unknown_option_is_a_usage_error_in_json_too(edgekit: Edgekit) -> None:
    done = edgekit("targets", "list", "--json", "--colour")
    assert done.returncode == 2
    assert "--colour" in done.stderr
    told = json.loads(done.stdout)
    assert told["schema_version"] == 1
    assert told["error"]["type"] == "UsageError"
    assert "--colour" in told["error"]["problem"]


def test_an_error_is_told_on_stderr_and_in_json(edgekit: Edgekit) -> None:
    done = edgekit("targets", "show", "jetson-orn", "--json")
    assert done.returncode == 2
    assert "Did you mean 'jetson-orin'?" in done.stderr
    assert "Traceback" not in done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == 2
    assert "jetson-orn" in error["problem"]
    assert "Did you mean 'jetson-orin'?" in error["fix"]


def test_verbose_shows_where_an_error_comes_from(edgekit: Edgekit) -> None:
    done = edgekit("targets", "show", "jetson-orn", "-v")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stdout == ""


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Make a command that raises what the list holds."""
    raised: list[BaseException] = []

    @click.command()
    def broken() -> None:
        """Break."""
        raise raised[0]

    monkeypatch.setattr("edgekit.cli.command", lambda name: broken)
    return raised


def test_an_exception_that_nobody_foresaw_is_called_a_bug(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(ZeroDivisionError("division by zero"))
    assert execute(["doctor"], Terminal()) == 1
    told = capsys.readouterr().err
    assert "This is a bug in EdgeKit" in told
    assert "ZeroDivisionError: division by zero" in told
    assert "Traceback" not in told


def test_the_traceback_of_a_bug_is_shown_when_asked_for(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(ZeroDivisionError("division by zero"))
    assert execute(["doctor"], Terminal(verbose=True)) == 1
    assert "Traceback" in capsys.readouterr().err


def test_every_edgekit_error_ends_with_its_own_code(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(ModelError(problem="The model is not supported.", fix="Use another."))
    assert execute(["doctor"], Terminal(json=True)) == ModelError.exit_code
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "ModelError"


def test_an_interrupt_says_that_nothing_is_left(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(KeyboardInterrupt())
    assert execute(["doctor"], Terminal()) == INTERRUPTED
    assert "Nothing was left half-written." in capsys.readouterr().err


def test_a_reader_that_goes_away_ends_the_command_without_a_word() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "recipes", "list"], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, "")


def test_a_closed_standard_output_is_no_bug() -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m edgekit recipes list >&-'], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_libraries_print_stays_out_of_the_results(tmp_path: Path) -> None:
    """Native code writes to file descriptor 1 behind Python's back."""
    code = (
        "import os, sys; from edgekit.cli import _own_stdout; "
        "results = _own_stdout(); os.write(1, b'litter\\n'); print('result'); results.flush()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("result\n", "litter\n")


def test_completion_answers_the_shell() -> None:
    environment = os.environ | {"_EDGEKIT_COMPLETE": "bash_complete", "COMP_WORDS": "edgekit cal", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "edgekit"], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split() == ["plain,calibrate"]


def test_the_group_knows_its_commands() -> None:
    assert cli.list_commands(click.Context(cli)) == list(COMMANDS)
