"""The exit statuses, and the error of a command line that cannot be understood."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ExitStatus", "UsageError"]


class ExitStatus(IntEnum):
    """What the shell gets back."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_ALIGNED = 3
    INTERRUPTED = 130


class UsageError(Exception):
    """A command line that cannot be understood; the message names the word at fault."""
