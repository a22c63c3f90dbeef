"""What the commands that do work have in common: options handed on, workers, exit status."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from webbalign.cli import common
from webbalign.cli.errors import ExitStatus, UsageError
from webbalign.cli.parser import Parsed
from webbalign.core.errors import OptionError
from webbalign.core.image_memory import STARS, ImageMemory
from webbalign.core.sizes import parse_bytes
from webbalign.execution import AUTO, DaskExecutor, Executor, TlsFiles, available_cores, executor

__all__ = [
    "EXECUTION",
    "chosen_executor",
    "for_stpipe",
    "image_pool",
    "not_aligned",
    "pool_for",
    "written",
]

EXECUTION = tuple(common.ExecutionOptions.__dataclass_fields__)
"""Names of the options that say where the work is done."""

# so few images are done before worker processes have started
_FEW = 3

# what no step and no pipeline is told
_OF_THE_COMMAND = (
    *common.TerminalOptions.__dataclass_fields__,
    *common.ReportChoice.__dataclass_fields__,
    *common.PictureChoice.__dataclass_fields__,
)


def written(parsed: Parsed, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Return what the user wrote, by name; what was not written is absent.

    Options of the steps of a pipeline are left out, those of the terminal and ``report`` as well,
    and what `without` names.
    """
    return {
        target[0]: value
        for target, value in parsed.values.items()
        if len(target) == 1 and target[0] not in (*_OF_THE_COMMAND, *without)
    }


def for_stpipe(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as a specification of stpipe takes them: it knows no tuples."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in options.items()
    }


def chosen_executor(parsed: Parsed) -> Any:
    """Return what the user chose, as ``executor=`` takes it: a name, or a cluster to connect to.

    Raises
    ------
    UsageError
        If options contradict one another, or the amount of memory is none.
    ExecutorError
        If dask is not installed, or a certificate is missing.
    """
    try:
        parse_bytes(parsed.get("memory", default=1))
    except OptionError as error:
        raise UsageError(str(error).replace("option 'memory'", "--memory", 1)) from None
    name, address = parsed.get("executor"), parsed.get("dask")
    tls = TlsFiles(*(parsed.get(f"dask_tls_{word}") for word in ("ca", "cert", "key")))
    if address is not None and name not in (None, AUTO, "dask"):
        raise UsageError(f"--executor {name} beside --dask {address} - give one of them")
    if tls and address is None:
        raise UsageError(
            "--dask-tls-ca or the like without --dask - give --dask tls://host:8786 as well"
        )
    if address is not None:
        return DaskExecutor(address=address, tls=tls)
    return name or AUTO


def pool_for(
    parsed: Parsed, seconds: float | None = None, preload: tuple[str, ...] = ()
) -> Executor:
    """Return the executor that the user chose.

    Parameters
    ----------
    parsed : Parsed
    seconds : float, optional
        What the work takes serially, where that can be told.
    preload : tuple of str
        Modules that all workers need.
    """
    memory = parsed.get("memory")
    return executor(
        chosen_executor(parsed),
        parsed.get("workers"),
        preload,
        memory=None if memory is None else parse_bytes(memory),
        seconds=seconds,
    )


def image_pool(
    parsed: Parsed,
    count: int,
    preload: tuple[str, ...] = (),
    taken: ImageMemory = STARS,
) -> Executor:
    """Return the executor for the work on so many images; a few are done serially.

    Parameters
    ----------
    parsed : Parsed
    count : int
        Number of images.
    preload : tuple of str
        Modules that all workers need.
    taken : ImageMemory
        What the work takes, by which ``--memory`` limits the number of workers.
    """
    seconds = 0.0 if count < _FEW else None
    chosen = chosen_executor(parsed)
    if parsed.get("memory") is None or chosen not in (AUTO, "processes"):
        return pool_for(parsed, seconds, preload)
    memory = parse_bytes(parsed.get("memory"))
    try:
        least = 0 if chosen == "processes" else 1
        most = parsed.get("workers") or available_cores()
        workers = taken.workers(memory, count, most, least)
    except OptionError as error:
        raise UsageError(str(error).replace("option 'memory'", "--memory", 1)) from None
    return executor(chosen, workers, preload, memory=memory, seconds=seconds)


def not_aligned(parsed: Parsed) -> int:
    """Return the exit status of a run that left some image as it was."""
    strict = parsed.get("strict", default=False)
    return ExitStatus.ERROR if strict else ExitStatus.NOT_ALIGNED
