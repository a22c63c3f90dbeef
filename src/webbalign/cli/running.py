"""What the commands that do work have in common: options handed on, workers, exit status."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from webbalign.cli import common
from webbalign.cli.errors import ExitStatus
from webbalign.cli.parser import Parsed
from webbalign.execution import executor

__all__ = ["EXECUTION", "for_stpipe", "image_pool", "not_aligned", "written"]

EXECUTION = tuple(common.ExecutionOptions.__dataclass_fields__)
"""Names of the options that say where the work is done."""

_TERMINAL = tuple(common.TerminalOptions.__dataclass_fields__)

# so few images are done before worker processes have started
_FEW = 3


def written(parsed: Parsed, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Return what the user wrote, by name; what was not written is absent.

    Options of the steps of a pipeline are left out, those of the terminal as well, and what
    `without` names.
    """
    return {
        target[0]: value
        for target, value in parsed.values.items()
        if len(target) == 1 and target[0] not in (*_TERMINAL, *without)
    }


def for_stpipe(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as a specification of stpipe takes them: it knows no tuples."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in options.items()
    }


def image_pool(parsed: Parsed, count: int, first: str = "", preload: tuple[str, ...] = ()) -> Any:
    """Return the executor for the work on so many images, in processes unless they are few.

    Parameters
    ----------
    parsed : Parsed
    count : int
        Number of files.
    first : str
        The first of them: an association may hold many images.
    preload : tuple of str
        Modules that all workers need.
    """
    name = parsed.get("executor")
    if name is None:
        few = count < _FEW and not first.lower().endswith(".json")
        name = "serial" if few or parsed.get("workers") == 1 else "processes"
    return executor(name, parsed.get("workers"), preload)


def not_aligned(parsed: Parsed) -> int:
    """Return the exit status of a run that left some image as it was."""
    strict = parsed.get("strict", default=False)
    return ExitStatus.ERROR if strict else ExitStatus.NOT_ALIGNED
