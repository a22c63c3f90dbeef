"""Errors of steps: strun shows the traceback of all but those of stpipe's own kind."""

from __future__ import annotations

from stpipe.exceptions import StpipeExitException

from webbalign.core.errors import InputError, OptionError, WebbalignError

__all__ = ["StepError", "StepInputError", "StepOptionError", "for_strun"]


class StepError(WebbalignError, StpipeExitException):
    """A WebbalignError that ends strun with its message and status 1."""

    exit_status = 1


class StepInputError(InputError, StepError):
    """An InputError that ends strun with its message and status 1."""


class StepOptionError(OptionError, StepError):
    """An OptionError that ends strun with its message and status 1."""


def for_strun(error: WebbalignError) -> WebbalignError:
    """Return the same error, of the same class and more, as strun wants it."""
    told: WebbalignError
    if isinstance(error, StepError):
        return error
    if isinstance(error, InputError):
        told = StepInputError(error.name, error.found, error.expected)
    elif isinstance(error, OptionError):
        told = StepOptionError(str(error))
    else:
        told = StepError(str(error))
    return told.with_traceback(error.__traceback__)
