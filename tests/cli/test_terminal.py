from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from edgekit.cli import progress as bars
from edgekit.cli.terminal import Terminal, outline, table


def test_json_is_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(json=True)
    terminal.show("for people")
    terminal.note("a note")
    terminal.warn("a warning")
    terminal.result({"path": Path("a/b"), "sqnr_db": float("inf"), "rows": ({"f1": 0.5},)})
    told = capsys.readouterr()
    assert json.loads(told.out) == {"schema_version": 1, "path": "a/b", "sqnr_db": None, "rows": [{"f1": 0.5}]}
    assert told.err == "a note\nwarning: a warning\n"


def test_people_get_text_and_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.show("for people")
    terminal.result({"a": 1})
    assert capsys.readouterr().out == "for people\n"


def test_quiet_keeps_results_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(quiet=True)
    terminal.show("result")
    terminal.note("a note")
    terminal.warn("a warning")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("result\n", "warning: a warning\n")


def test_a_payload_keeps_the_schema_version_that_it_brings(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(json=True).result({"schema_version": 7})
    assert json.loads(capsys.readouterr().out) == {"schema_version": 7}


def test_a_table_aligns_words_left_and_numbers_right() -> None:
    assert table([("a", 1.5, "x"), ("bcd", 10.25)], right=[1]) == "a      1.5  x\nbcd  10.25"
    assert table([]) == ""


def test_an_outline_shows_nested_data() -> None:
    assert outline({"a": 1, "b": {"c": [1, 2], "d": []}, "e": ""}) == "a: 1\nb:\n  c: 1, 2"
    assert outline({"note": "one\n  two\n"}) == "note:\n  one\n    two"
    assert outline({"step": [{"step": "observe"}, {"step": "scale"}]}) == "step:\n  step: observe\nstep:\n  step: scale"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_without_a_terminal_a_stage_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(), io.StringIO()
    monkeypatch.setattr(bars, "time", clock)
    with bars.shown(stream, quiet=False) as progress:
        for done in range(0, 101):
            clock.now = float(done)
            progress("observe", done, 100)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "observe: 21 of 100, about 79 s left"
    assert lines[-1] == "observe: 100 done in 100.0 s"
    assert len(lines) == 5


def test_quiet_progress_says_nothing() -> None:
    stream = io.StringIO()
    with bars.shown(stream, quiet=True) as progress:
        progress("observe", 100, 100)
    assert stream.getvalue() == ""


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_stage_is_a_bar() -> None:
    stream = Tty()
    with bars.shown(stream, quiet=False) as progress:
        progress("observe", 3, 10)
        progress("observe", 10, 10)
    assert "observe" in stream.getvalue()
    assert "10/10" in stream.getvalue()
