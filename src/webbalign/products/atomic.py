"""Files appear whole or not at all.

A product is written in the hidden subfolder :data:`PARTIAL` of its folder (same file system) and
renamed into place. What a killed run leaves there is removed by the next one.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import platform
import shutil
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from webbalign.core.errors import InputError

__all__ = ["PARTIAL", "atomic_path", "discard", "named", "refuse_input", "reserve", "sweep"]

PARTIAL = ".webbalign-partial"

# A file this old belongs to no running process: a live writer touches its file all the time.
_STALE_SECONDS = 3600.0
# How often the hidden folder is made anew if it vanishes before it is used.
_ATTEMPTS = 20


class Seal(Protocol):
    """What is written into a product when it is finished: its recipe."""

    def seal(self, path: Path) -> None:
        """Write it into a file."""


@contextlib.contextmanager
def atomic_path(final: str | Path, recipe: Seal | None = None) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well, it is renamed to `final`.

    If the block raises, the temporary file is removed and `final` stays as it was.

    Parameters
    ----------
    final : str or Path
    recipe : Recipe, optional
        What the file was made from, to be written into it (`provenance.Recipe`).

    Raises
    ------
    InputError
        If `final` is a folder, or its folder cannot be.
    OSError
        If there is no room, or the like; it names `final`.
    """
    temporary = reserve(final)
    try:
        yield temporary
        if recipe is not None:
            recipe.seal(temporary)
        os.replace(temporary, final)
    except OSError as error:
        raise named(error, temporary, final) from error
    finally:
        discard(temporary)


def reserve(final: str | Path) -> Path:
    """Return an unused path in the hidden subfolder beside `final` (making the folders).

    It has the name of `final`, which data models write into the header.

    Raises
    ------
    InputError
        If `final` is a folder, or its folder cannot be, or the hidden one is a link.
    """
    final = Path(final)
    if final.is_dir():
        raise InputError(final, "a folder, not a file", "the name of a file to write")
    _refuse_link(final.parent / PARTIAL)
    folder = final.parent / PARTIAL / f"{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        _make(folder)
    except OSError as error:
        found = f"no writing into it ({error.strerror})"
        raise InputError(final.parent, found, f"another folder for {final.name}") from error
    return folder / final.name


def _refuse_link(partial: Path) -> None:
    """Refuse a hidden folder that is a link: what is swept and written would lie elsewhere."""
    if partial.is_symlink():
        raise InputError(partial, "a link to another place", "a real folder in its place, or none")


def _make(folder: Path) -> None:
    """Make a folder and those above it, which other processes remove when they are empty."""
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(FileNotFoundError):
            return folder.mkdir(parents=True)
    return folder.mkdir(parents=True)


def refuse_input(path: str | Path, inputs: Iterable[str | Path]) -> None:
    """See that a product would replace none of the files that are read.

    Raises
    ------
    InputError
        If it would.
    """
    path = Path(path)
    if path.exists() and any(Path(name).exists() and path.samefile(name) for name in inputs):
        raise InputError(path, "an input, which would be replaced", "another folder or name")


def named(error: OSError, temporary: str | Path, final: str | Path) -> OSError:
    """Return an error of writing `temporary` as one that names `final` instead.

    An error that names another file is returned as it is.
    """
    if error.errno is None and any(words in str(error) for words in _NO_ROOM):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(final))
    of_other = error.filename is not None and Path(error.filename) != Path(temporary)
    if error.errno is None or of_other:
        return error
    return OSError(error.errno, error.strerror, str(final))


# What astropy and numpy say, without a number, when a disk is full.
_NO_ROOM = ("Not enough space on disk", " requested and ")


def discard(temporary: str | Path) -> None:
    """Remove a temporary file with its folder, and the hidden folder when it is empty."""
    folder = Path(temporary).parent
    if folder.parent.name != PARTIAL:
        raise ValueError(f"{temporary} is no temporary file")
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def sweep(folder: str | Path) -> list[str]:
    """Remove what killed runs have left in the hidden subfolder; return the names removed.

    Files of a process that is still running on this machine stay, and those from other machines,
    unless they are an hour old (process numbers are reused, and nobody can ask elsewhere).

    Raises
    ------
    InputError
        If the hidden subfolder is a link.
    """
    partial = Path(folder) / PARTIAL
    _refuse_link(partial)
    removed = []
    for path in partial.glob("*") if partial.is_dir() else ():
        try:
            content = sorted(path.iterdir())
            newest = max(item.stat().st_mtime for item in content or [path])
        except FileNotFoundError:  # its writer has finished meanwhile
            continue
        stale = time.time() - newest > _STALE_SECONDS
        if stale or not _is_running(path.name):
            removed += [item.name for item in content]
            shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        partial.rmdir()
    return removed


@functools.cache
def _machine() -> str:
    """Return a mark of this machine, or of this container: process numbers mean something there."""
    spaces = ""
    with contextlib.suppress(OSError):  # Linux only
        spaces = os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(f'{platform.node()} {spaces}'.encode()):08x}"


def _is_running(name: str) -> bool:
    """Tell whether the process that has made a folder of this name runs, as far as one can know."""
    machine, _, rest = name.partition("-")
    pid = rest.partition("-")[0]
    if not pid.isdigit():
        return False
    if machine != _machine() or int(pid) == os.getpid():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return not _has_ended(pid)


def _has_ended(pid: str) -> bool:
    """Tell whether a process has ended though its parent has not asked for its status yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):  # Linux only
        return False
    return state in ("Z", "X")
