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

    Parameters
    ----------
    name : str, Path or None
        The file (or model) at fault.
    found : str
        What is there.
    expected : str, optional
        What should be there, or what to do about it.
    """

    def __init__(self, name: str | Path | None, found: str, expected: str = "") -> None:
        self.name = None if name is None else str(name)
        self.found = found
        self.expected = expected
        text = found if self.name is None else f"{self.name}: {found}"
        if expected:
            text = f"{text}; expected {expected}"
        super().__init__(text)

    def __reduce__(self) -> tuple[type[InputError], tuple[str | None, str, str]]:
        # worker processes send errors back pickled
        return type(self), (self.name, self.found, self.expected)


class OptionError(WebbalignError, ValueError):
    """An option whose value is not allowed; the message names the option."""
