"""The current folder of the process whose work is done: what relative file names begin at."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["current_folder", "within_folder"]

# A process has one current folder for all its threads: calls for two folders take turns.
_turn = threading.Condition()
_users = 0
_now: str | None = None
_before: str | None = None


def current_folder() -> str | None:
    """Return the current folder; None if it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


@contextmanager
def within_folder(folder: str | None) -> Iterator[None]:
    """Have this process in a folder, if it exists here; other threads may ask for the same one.

    A thread that asks for another one waits. Without users the process is where it was before.
    """
    if folder is None or not os.path.isdir(folder):
        yield  # absolute names are all that can be used
        return
    _enter(folder)
    try:
        yield
    finally:
        _leave()


def _enter(folder: str) -> None:
    global _users, _now, _before
    with _turn:
        _turn.wait_for(lambda: _users == 0 or _now == folder)
        if _users == 0:
            _before, _now = current_folder(), folder
            if _before != folder:
                os.chdir(folder)
        _users += 1


def _leave() -> None:
    global _users
    with _turn:
        _users -= 1
        if _users == 0:
            if _before not in (None, _now) and os.path.isdir(_before):
                os.chdir(_before)
            _turn.notify_all()
