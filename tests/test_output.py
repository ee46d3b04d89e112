from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgekit.errors import DataError, OutputError
from edgekit.output import MARKER, new_file, new_folder


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TestNewFile:
    def test_appears_only_when_the_block_ends(self, tmp_path: Path) -> None:
        with new_file(tmp_path / "a.bin") as draft:
            draft.write_bytes(b"new")
            assert not (tmp_path / "a.bin").exists()
        assert tree(tmp_path) == ["a.bin"]
        assert (tmp_path / "a.bin").read_bytes() == b"new"

    def test_keeps_the_suffix_for_writers_that_look_at_it(self, tmp_path: Path) -> None:
        with new_file(tmp_path / "overlay.mp4") as draft:
            assert draft.suffix == ".mp4"
            assert draft.parent == tmp_path

    def test_parents_are_made(self, tmp_path: Path) -> None:
        with new_file(tmp_path / "a" / "b" / "c.bin") as draft:
            draft.write_bytes(b"new")
        assert (tmp_path / "a/b/c.bin").read_bytes() == b"new"

    @pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError, SystemExit, MemoryError])
    def test_nothing_is_left_after_a_failure(self, tmp_path: Path, failure: type[BaseException]) -> None:
        with pytest.raises(failure), new_file(tmp_path / "a" / "b" / "c.bin") as draft:
            draft.write_bytes(b"half")
            raise failure
        assert tree(tmp_path) == []

    def test_parents_that_others_use_meanwhile_stay(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError), new_file(tmp_path / "a" / "b" / "c.bin"):
            (tmp_path / "a" / "other").write_bytes(b"")
            raise ValueError
        assert tree(tmp_path) == ["a", "a/other"]

    def test_existing_result_is_refused_before_any_work(self, tmp_path: Path) -> None:
        (tmp_path / "a.bin").write_bytes(b"old")
        with pytest.raises(OutputError, match="--overwrite"), new_file(tmp_path / "a.bin"):
            pytest.fail("the block ran")
        assert (tmp_path / "a.bin").read_bytes() == b"old"

    def test_result_that_appears_meanwhile_is_not_replaced(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="exists already"), new_file(tmp_path / "a.bin") as draft:
            draft.write_bytes(b"mine")
            (tmp_path / "a.bin").write_bytes(b"theirs")
        assert tree(tmp_path) == ["a.bin"]
        assert (tmp_path / "a.bin").read_bytes() == b"theirs"

    def test_overwrite_replaces_at_the_end(self, tmp_path: Path) -> None:
        (tmp_path / "a.bin").write_bytes(b"old")
        with new_file(tmp_path / "a.bin", overwrite=True) as draft:
            draft.write_bytes(b"new")
            assert (tmp_path / "a.bin").read_bytes() == b"old"
        assert tree(tmp_path) == ["a.bin"]
        assert (tmp_path / "a.bin").read_bytes() == b"new"

    def test_failed_overwrite_keeps_the_old_one(self, tmp_path: Path) -> None:
        (tmp_path / "a.bin").write_bytes(b"old")
        with pytest.raises(KeyboardInterrupt), new_file(tmp_path / "a.bin", overwrite=True) as draft:
            draft.write_bytes(b"half")
            raise KeyboardInterrupt
        assert tree(tmp_path) == ["a.bin"]
        assert (tmp_path / "a.bin").read_bytes() == b"old"

    def test_link_is_written_through(self, tmp_path: Path) -> None:
        (tmp_path / "real.bin").write_bytes(b"old")
        (tmp_path / "latest.bin").symlink_to("real.bin")
        with new_file(tmp_path / "latest.bin", overwrite=True) as draft:
            draft.write_bytes(b"new")
        assert (tmp_path / "latest.bin").is_symlink()
        assert (tmp_path / "real.bin").read_bytes() == b"new"

    @pytest.mark.parametrize("place", ["folder", "/dev/null"])
    def test_folder_or_device_is_never_replaced(self, tmp_path: Path, place: str) -> None:
        (tmp_path / "folder").mkdir()
        with pytest.raises(OutputError), new_file(tmp_path / place, overwrite=True):
            pytest.fail("the block ran")

    def test_full_disk_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="No space left") as caught, new_file(tmp_path / "a.bin") as draft:
            draft.write_bytes(b"half")
            no_space()
        assert "Free some space" in caught.value.fix
        assert tree(tmp_path) == []

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
    def test_really_full_device_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="No space left"), new_file(tmp_path / "a.bin") as draft:
            draft.unlink()
            draft.symlink_to("/dev/full")
            draft.write_bytes(b"x" * 100_000)
        assert tree(tmp_path) == []

    def test_parent_that_is_a_file_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"")
        with pytest.raises(OutputError, match="cannot be written"), new_file(tmp_path / "a" / "b.bin"):
            pytest.fail("the block ran")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
    def test_read_only_folder_says_so(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(OutputError, match="Permission denied"), new_file(tmp_path / "a.bin"):
            pytest.fail("the block ran")
        tmp_path.chmod(0o700)

    def test_place_where_the_system_forbids_files_says_so(self) -> None:
        with pytest.raises(OutputError, match="cannot be written"), new_file("/proc/edgekit/a.bin"):
            pytest.fail("the block ran")

    def test_error_of_what_the_block_reads_is_not_blamed_on_the_result(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError), new_file(tmp_path / "a.bin"):
            (tmp_path / "missing-input").read_bytes()

    def test_own_errors_pass(self, tmp_path: Path) -> None:
        with pytest.raises(DataError), new_file(tmp_path / "a.bin"):
            raise DataError(problem="no frames")


class TestNewFolder:
    def test_appears_only_when_the_block_ends(self, tmp_path: Path) -> None:
        with new_folder(tmp_path / "parent" / "result") as draft:
            (draft / "a").write_bytes(b"new")
            assert not (tmp_path / "parent" / "result").exists()
        assert tree(tmp_path) == ["parent", "parent/result", f"parent/result/{MARKER}", "parent/result/a"]

    @pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError])
    def test_nothing_is_left_after_a_failure(self, tmp_path: Path, failure: type[BaseException]) -> None:
        with pytest.raises(failure), new_folder(tmp_path / "parent" / "result") as draft:
            (draft / "deep").mkdir()
            (draft / "deep" / "a").write_bytes(b"half")
            raise failure
        assert tree(tmp_path) == []

    def test_what_a_killed_process_left_is_removed_by_the_next_and_what_a_living_one_fills_is_not(
        self, tmp_path: Path
    ) -> None:
        code = f"""
            import os, signal
            from edgekit.output import new_folder
            with new_folder({str(tmp_path / "result")!r}) as draft:
                (draft / "half.txt").write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)
        """
        killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)])
        assert killed.returncode == -signal.SIGKILL
        assert any(name.endswith("half.txt") for name in tree(tmp_path))
        with new_folder(tmp_path / "result") as one:
            assert not any(name.endswith("half.txt") for name in tree(tmp_path))
            (one / "one.txt").write_text("one")
            with pytest.raises(ValueError), new_folder(tmp_path / "result"):
                raise ValueError
            with new_folder(tmp_path / "other") as other:
                (other / "two.txt").write_text("two")
        assert tree(tmp_path) == sorted(
            ["result", f"result/{MARKER}", "result/one.txt", "other", f"other/{MARKER}", "other/two.txt"]
        )

    def test_existing_folder_is_refused_before_any_work(self, tmp_path: Path) -> None:
        (tmp_path / "result").mkdir()
        with pytest.raises(OutputError, match="--overwrite"), new_folder(tmp_path / "result"):
            pytest.fail("the block ran")

    def test_overwrite_replaces_the_whole_folder_at_the_end(self, tmp_path: Path) -> None:
        with new_folder(tmp_path / "result") as draft:
            (draft / "old").write_bytes(b"old")
        with new_folder(tmp_path / "result", overwrite=True) as draft:
            (draft / "new").write_bytes(b"new")
            assert (tmp_path / "result" / "old").read_bytes() == b"old"
        assert tree(tmp_path) == ["result", f"result/{MARKER}", "result/new"]

    def test_failed_overwrite_keeps_the_old_one(self, tmp_path: Path) -> None:
        with new_folder(tmp_path / "result") as draft:
            (draft / "old").write_bytes(b"old")
        before = tree(tmp_path)
        with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "result", overwrite=True) as draft:
            (draft / "new").write_bytes(b"half")
            raise KeyboardInterrupt
        assert tree(tmp_path) == before

    def test_old_one_comes_back_when_the_new_one_cannot_take_its_place(self, tmp_path: Path) -> None:
        with new_folder(tmp_path / "result") as draft:
            (draft / "old").write_bytes(b"old")
        before = tree(tmp_path)
        with pytest.raises(OutputError), new_folder(tmp_path / "result", overwrite=True) as draft:
            for file in draft.iterdir():
                file.unlink()
            draft.rmdir()
        assert tree(tmp_path) == before

    def test_folder_of_someone_else_is_never_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "holiday.jpg").write_bytes(b"dear")
        with pytest.raises(OutputError, match="not made by EdgeKit"), new_folder(tmp_path / "photos", overwrite=True):
            pytest.fail("the block ran")
        assert tree(tmp_path) == ["photos", "photos/holiday.jpg"]

    def test_empty_folder_may_be_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "result").mkdir()
        with new_folder(tmp_path / "result", overwrite=True) as draft:
            (draft / "a").write_bytes(b"new")
        assert (tmp_path / "result" / "a").exists()

    def test_file_is_never_replaced_by_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "result").write_bytes(b"dear")
        with pytest.raises(OutputError, match="a file"), new_folder(tmp_path / "result", overwrite=True):
            pytest.fail("the block ran")

    def test_full_disk_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="Free some space"), new_folder(tmp_path / "result"):
            no_space()
        assert tree(tmp_path) == []
