"""How steps run, as opposed to what they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import Any

from webbalign.core.image_memory import STARS, ImageMemory
from webbalign.core.sizes import parse_bytes

__all__ = ["Runtime", "bytes_of", "current_runtime", "image_map", "runtime_of", "with_own_map"]


class Quiet:
    """How a step tells what it is doing; this one keeps silent."""

    def start(self, step: str, total: int) -> None:
        """Begin a step of `total` equal pieces of work."""

    def advance(self, n: int = 1) -> None:
        """Report `n` more pieces done."""

    def done(self) -> None:
        """End the step."""


QUIET = Quiet()


@dataclass(frozen=True)
class Runtime:
    """How to run, as opposed to what to compute; never part of a parameter file.

    Attributes
    ----------
    map : callable
        ``map(function, items)``, lazily or in parallel, results in order.
    executor : str or executor, optional
        What `map` is made of, when it is not given: a name (serial, threads, processes, dask,
        auto), an executor of ours or of ``concurrent.futures``, or a dask ``Client``. None:
        serial, or auto if `workers` is given.
    workers : int, optional
        How many items `map` works on at a time. While a pipeline (or a step that runs alone)
        works, the number is known.
    shares_memory : bool
        Whether `map` calls its function in this process. If not, function and items are sent:
        file names and small arrays, not models; and what a worker has to read or write must lie
        on the disk.
    memory : int, optional
        Bytes that all processes of the run together may have resident (or a text such as 2GB);
        what does not fit is worked on in smaller blocks. None: not limited.
    resume : bool
        Whether products whose inputs, options and version are unchanged are kept.
    progress : object
        Receives what is being done: ``start(step, total)``, ``advance(n)``, ``done()``.
    overwrite : bool
        Whether existing products may be replaced.
    """

    map: Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]] = map
    executor: Any = None
    workers: int | None = None
    shares_memory: bool = True
    memory: int | None = None
    resume: bool = False
    progress: Any = QUIET
    overwrite: bool = True

    def __post_init__(self) -> None:
        if self.memory is not None:
            # frozen dataclass: the checked value has to be set behind its back
            object.__setattr__(self, "memory", parse_bytes(self.memory))


_DEFAULT = Runtime()
_RUNTIME: ContextVar[Runtime] = ContextVar("webbalign_runtime", default=_DEFAULT)


def current_runtime() -> Runtime:
    """Return the runtime that new steps get."""
    return _RUNTIME.get()


@contextmanager
def runtime_of(kwargs: dict[str, Any]) -> Iterator[None]:
    """Take the words of :class:`Runtime` out of `kwargs` and let new steps see them."""
    words = {field.name for field in fields(Runtime)} & set(kwargs)
    given = {name: kwargs.pop(name) for name in words}
    given = {name: value for name, value in given.items() if value is not None}
    token = _RUNTIME.set(replace(_RUNTIME.get(), **given))
    try:
        yield
    finally:
        _RUNTIME.reset(token)


# Steps are handed a map and know no executor; one that is called alone, with an executor, asks for
# it by name.
_EXECUTION = "webbalign.execution"


@contextmanager
def with_own_map(runtime: Runtime) -> Iterator[Runtime]:
    """Yield a runtime whose `map` is made of its `executor` and `workers`, if they are given."""
    asked = runtime.executor is not None or (runtime.workers or 1) > 1
    if runtime.map is not map or not asked:
        yield runtime
        return
    make = import_module(_EXECUTION).executor
    with make(runtime.executor or "auto", runtime.workers, memory=runtime.memory) as pool:
        yield replace(runtime, map=pool.map, workers=pool.workers, shares_memory=pool.shares_memory)


def within_memory(runtime: Runtime, taken: ImageMemory, images: int) -> Runtime:
    """Return a runtime with no more workers than its memory allows for work on images.

    Nothing changes without `Runtime.memory`, nor where the workers are given (a `map`, a cluster,
    an executor that runs already): what these take, nobody can tell.

    Parameters
    ----------
    runtime : Runtime
    taken : ImageMemory
        What the work takes.
    images : int
        How many there are.

    Raises
    ------
    OptionError
        If not even one image fits.
    """
    named = runtime.executor in (None, "auto", "serial", "threads", "processes")
    if runtime.memory is None or runtime.map is not map or not named:
        return runtime
    serial = runtime.executor == "serial" or (runtime.executor, runtime.workers) == (None, None)
    most = 1 if serial else runtime.workers
    if most is None:
        most = import_module(_EXECUTION).available_cores()
    least = 0 if runtime.executor == "processes" else 1
    workers = taken.workers(runtime.memory, images, most, least)
    alone = workers == 1 and runtime.executor in (None, "auto")
    return replace(runtime, workers=workers, executor="serial" if alone else runtime.executor)


def bytes_of(memory: int | str | None) -> int | None:
    """Return an amount of memory in bytes; None stays None."""
    return None if memory is None else parse_bytes(memory)


@contextmanager
def image_map(runtime: Runtime, images: int, taken: ImageMemory = STARS) -> Iterator[Runtime]:
    """Yield a runtime with the workers for so many images; see `within_memory`."""
    with with_own_map(within_memory(runtime, taken, images)) as own:
        yield own
