"""The few exceptions that webbalign raises for what a user can mend.

Anything else that escapes is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["InputError", "OptionError", "WebbalignError"]


class WebbalignError(Exception):
    """Base of all errors that are explained to the user in one message."""


class InputError(WebbalignError, ValueError):
    """An input file or data set that cannot be used.

    The message reads *what was found - in which file - what to give instead*.

    Parameters
    ----------
    name : str, Path or None
        The file (or model) at fault.
    found : str
        What is there.
    expected : str
        What should be there; the user is told to give it.
    """

    def __init__(self, name: str | Path | None, found: str, expected: str) -> None:
        self.name = None if name is None else str(name)
        self.found = found
        self.expected = expected
        parts = [found, self.name, f"give {expected}"]
        super().__init__(" - ".join(part for part in parts if part))

    def __reduce__(self) -> tuple[type[InputError], tuple[str | None, str, str]]:
        # worker processes send errors back pickled
        return type(self), (self.name, self.found, self.expected)


class OptionError(WebbalignError, ValueError):
    """An option whose value is not allowed; the message names it and says what to give."""
