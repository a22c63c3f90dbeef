"""The exit statuses, the error of a command line that is not understood, and words for errors."""

from __future__ import annotations

import errno
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


_REMEDIES = {
    errno.ENOENT: "see that it and its folder exist",
    errno.EACCES: "allow it (chmod), or give another",
    errno.EPERM: "allow it (chmod), or give another",
    errno.EROFS: "give a place that can be written",
    errno.ENOSPC: "make room, then run it again (with --resume, where there is one)",
    errno.EDQUOT: "make room, then run it again (with --resume, where there is one)",
    errno.EISDIR: "give a file",
    errno.ENOTDIR: "give a folder",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.EIO: "try again; if it stays, the disk or the network is at fault",
}


class UsageError(Exception):
    """A command line that cannot be understood; the message names the word at fault."""


def explain(error: BaseException) -> str:
    """Return what the user is told about an error."""
    if isinstance(error, (WebbalignError, ExecutorError)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        remedy = _REMEDIES.get(error.errno or 0, "see that it can be read and written")
        return " - ".join(filter(None, (error.strerror, error.filename, remedy)))
    if isinstance(error, OSError) and "returned error code" in str(error):
        # how stpipe says that a shell command failed
        return f"{error} - pre_hooks and post_hooks - give commands that succeed"
    if _is_stpipe_refusal(error):
        return f"parameters refused ({error}) - give those that `webbalign COMMAND --help` names"
    if isinstance(error, MemoryError):
        return "not enough memory - give --memory, or fewer --workers"
    if isinstance(error, SystemExit):
        return f"a library ended the program ({error.code}) - see --debug"
    return (
        f"unexpected {type(error).__name__}: {error} - this is a defect of webbalign; "
        "please report it with the output of the same command with --debug"
    )


def _is_stpipe_refusal(error: BaseException) -> bool:
    """Tell whether stpipe refuses a parameter (without importing stpipe, which takes long)."""
    kind = type(error)
    return kind.__name__ == "ValidationError" and kind.__module__.partition(".")[0] == "stpipe"
