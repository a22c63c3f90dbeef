"""The exit statuses, the error of a command line that is not understood, and words for errors."""

from __future__ import annotations

from enum import IntEnum

from webbalign.core.errors import WebbalignError
from webbalign.execution import ExecutorError

__all__ = ["ExitStatus", "UsageError", "explain"]


class ExitStatus(IntEnum):
    """What the shell gets back."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_ALIGNED = 3
    INTERRUPTED = 130


class UsageError(Exception):
    """A command line that cannot be understood; the message names the word at fault."""


def explain(error: BaseException) -> str:
    """Return what the user is told about an error."""
    if isinstance(error, (WebbalignError, ExecutorError)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, OSError) and "returned error code" in str(error):
        return f"hook: {error}"  # how stpipe says that a shell command failed
    if _is_stpipe_refusal(error):
        return f"parameters: {error}"
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, SystemExit):
        return f"a library ended the program: {error.code}"
    return (
        f"unexpected {type(error).__name__}: {error} - this is a defect of webbalign; "
        "please report it with the output of the same command with --debug"
    )


def _is_stpipe_refusal(error: BaseException) -> bool:
    """Tell whether stpipe refuses a parameter (without importing stpipe, which takes long)."""
    kind = type(error)
    return kind.__name__ == "ValidationError" and kind.__module__.partition(".")[0] == "stpipe"
