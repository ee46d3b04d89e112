"""Writing results so that a reader sees the old one or the whole new one, and a failure leaves nothing behind."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgekit.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MARKER = ".edgekit"
"""A file in every folder made here. Only a folder that has it is ever replaced: `-o ~ --overwrite` costs no home."""

_STORAGE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""Errors of the place that is written to, whatever file they name."""

_FIX = {
    errno.ENOSPC: "Free some space, or write to another disk.",
    errno.EDQUOT: "Free some of your quota, or write to another disk.",
    errno.EROFS: "Write to a folder on another disk: this one is mounted read-only.",
    errno.EACCES: "Write to a folder that you may change, or change its permissions.",
    errno.EPERM: "Write to a folder that you may change, or change its permissions.",
    errno.ENOTDIR: "A part of the path is a file: choose another path.",
    errno.EEXIST: "A part of the path is a file: choose another path.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


@contextmanager
def new_file(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty file beside `path` to write to, and rename it to `path` when the block ends well.

    The file beside it has the suffix of `path`. Missing parents are made. After any exception, Ctrl-C too,
    everything is as it was before.

    Raises:
        OutputError: The file exists and `overwrite` is false, it is no regular file, or it cannot be written.
    """
    final = Path(os.path.realpath(path))
    with _draft_beside(final) as draft:
        _check_file(final, overwrite)
        draft.touch(exist_ok=False)
        yield draft
        _check_file(final, overwrite)
        draft.replace(final)


@contextmanager
def new_folder(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty folder beside `path` to fill, and rename it to `path` when the block ends well.

    Missing parents are made. With `overwrite`, an older result is removed only after that. After any exception,
    Ctrl-C too, everything is as it was before. What a killed process could not take back, the next one for the same
    `path` does.

    Raises:
        OutputError: The folder exists and `overwrite` is false, it was not made by EdgeKit, or it cannot be written.
    """
    final = Path(os.path.realpath(path))
    with _draft_beside(final) as draft:
        _check_folder(final, overwrite)
        _remove_abandoned(final)
        draft.mkdir()
        with _in_use(draft):
            yield draft
            _check_folder(final, overwrite)
            _swap(draft, final)


def _check_file(path: Path, overwrite: bool) -> None:
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        raise OutputError(
            problem=f"{path} cannot be written.", found=f"It is {kind}.", fix="Choose the path of a new file."
        )
    if path.exists() and not overwrite:
        raise OutputError(problem=f"{path} exists already.", fix="Choose another path, or replace it with --overwrite.")


def _check_folder(final: Path, overwrite: bool) -> None:
    if not final.exists():
        return
    if not final.is_dir():
        raise OutputError(
            problem=f"{final} cannot be written.", found="It is a file.", fix="Choose the path of a new folder."
        )
    if not overwrite:
        raise OutputError(
            problem=f"The folder {final} exists already.", fix="Choose another path, or replace it with --overwrite."
        )
    if not (final / MARKER).is_file() and any(final.iterdir()):
        raise OutputError(
            problem=f"The folder {final} is not replaced.",
            found="It holds files and was not made by EdgeKit.",
            fix="Choose another path, or remove the folder yourself.",
        )


@contextmanager
def _draft_beside(final: Path) -> Iterator[Path]:
    """Make the parents and give a free name beside `final`; take all of it back after an exception."""
    # The suffix stays, since writers of images and videos choose their format by it.
    draft = final.with_name(f".{final.stem[:64]}.{secrets.token_hex(4)}{final.suffix}")
    made = [parent for parent in final.parents if not os.path.exists(parent)]  # noqa: PTH110 - never raises
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield draft
    except BaseException as error:
        _remove(draft)
        for parent in made:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError) and _concerns(error, draft, final):
            raise OutputError(
                problem=f"{final} cannot be written.",
                found=error.strerror or str(error),
                fix=_FIX.get(error.errno or 0, "Choose another path."),
            ) from error
        raise


@contextmanager
def _in_use(draft: Path) -> Iterator[None]:
    """Mark a folder as ours, and hold a lock on the mark, which the system lets go of when this process is killed."""
    unlocked, marker = draft / f"{MARKER}.new", draft / MARKER
    with unlocked.open("w", encoding="utf-8") as stream:
        stream.write("Made by EdgeKit, which replaces this folder when told to overwrite it.\n")
        stream.flush()
        if fcntl is not None:
            with suppress(OSError):  # some network drives have no locks
                fcntl.flock(stream, fcntl.LOCK_EX)
            unlocked.rename(marker)
            yield
    if fcntl is None:
        unlocked.rename(marker)
        yield


def _remove_abandoned(final: Path) -> None:
    """Remove drafts of a folder whose process was killed. Without locks there is no telling, so nothing is removed."""
    if fcntl is None:
        return
    name = re.compile(rf"\.{re.escape(final.stem[:64])}\.[0-9a-f]{{8}}{re.escape(final.suffix)}")
    with suppress(PermissionError):
        for draft in [path for path in final.parent.iterdir() if name.fullmatch(path.name)]:
            with suppress(OSError), (draft / MARKER).open() as marker:
                fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(draft)


def _swap(draft: Path, final: Path) -> None:
    if not final.exists():
        draft.rename(final)
        return
    old = draft.with_name(f"{draft.name}.old")
    try:
        final.rename(old)
        draft.rename(final)
    except BaseException:
        if old.exists() and not final.exists():
            old.rename(final)
        raise
    finally:
        if final.exists():
            _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _concerns(error: OSError, draft: Path, final: Path) -> bool:
    """Whether the error comes from writing the result, and not from something that the block reads."""
    if error.errno in _STORAGE:
        return True
    named = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return any(path in (final, *final.parents) or path == draft or draft in path.parents for path in named)
