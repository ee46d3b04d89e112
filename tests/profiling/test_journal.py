from __future__ import annotations

from pathlib import Path

from edgekit.profiling.journal import forget, journal_in, read_journal


def test_entries_are_read_in_their_order(tmp_path: Path) -> None:
    journal = journal_in(tmp_path / "journal")
    journal("course", {"calls": 3})
    for number in range(3):
        journal("round", number)
    assert read_journal(tmp_path / "journal") == {"course": [{"calls": 3}], "round": [0, 1, 2]}


def test_an_entry_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for number in range(2):
        journal_in(path)("round", [number] * 100)
    path.write_bytes(path.read_bytes()[:-10])
    assert read_journal(path) == {"round": [[0] * 100]}


def test_a_journal_that_was_never_begun_is_empty(tmp_path: Path) -> None:
    forget("round", 1)
    assert read_journal(tmp_path / "journal") == {}
