"""What all executors share: the contract ``map(function, items)`` and the error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from webbalign.execution.threads import available_cores
from webbalign.execution.worker import Call, Outcome, tell

__all__ = ["Executor", "ExecutorError", "name_of"]

T = TypeVar("T")
R = TypeVar("R")

_LONGEST_NAME = 120


class ExecutorError(RuntimeError):
    """An executor that cannot be had, or that broke down; the message says what to do."""


class Executor(ABC):
    """Applies a function to items; a context manager that owns its workers.

    It may be entered again within its block: it starts with the outermost and ends with it.

    Parameters
    ----------
    workers : int, optional
        How many items are worked on at a time; by default one per core.

    Attributes
    ----------
    workers : int
        How many items are worked on at a time; known exactly within the block.
    shares_memory : bool
        Whether functions, items and results stay within this process. If not, they have to be
        picklable, and had better be file names and small arrays.
    """

    name: ClassVar[str]
    shares_memory: bool = False

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ExecutorError(f"workers is {workers} - give 1 or more")
        self.workers = available_cores() if workers is None else workers
        self._resources = ExitStack()
        self._depth = 0
        self._warned: dict[Any, Any] = {}
        self._unfinished: set[Generator[Any, None, None]] = set()

    def __enter__(self) -> Self:
        if self._depth == 0:
            try:
                self._start()
            except BaseException:
                self._resources.close()
                raise
        self._depth += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if self._depth:
            return
        # what an exception left in the middle, while its workers can still be told
        for outcomes in tuple(self._unfinished):
            outcomes.close()
        if error is not None and not isinstance(error, (Exception, GeneratorExit)):
            self._abandon()
        self._resources.close()

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``function(item)`` for every item, in the order of the items.

        Items are drawn a few ahead of the results, so neither needs to fit in memory at once.
        The first exception is raised in the place of its result; what is not begun by then
        is not begun any more. An item may be worked on more than once: if its worker is killed,
        or a file could not be read for a passing reason (see `webbalign.execution.worker`); so
        whatever `function` writes must be the same each time. Log records and warnings of the
        workers arrive with the result.

        Raises
        ------
        ExecutorError
            If an item was lost with its worker again and again; naming it. Or if the workers
            cannot be reached any more.
        """
        # a plain method, so that an executor used outside its block fails here and not later
        self._check_started()
        return self._results(function, items)

    def attempt(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[Outcome[R]]:
        """Yield result or exception of every item, in order: what fails does not stop the others.

        Raises
        ------
        ExecutorError
            If the workers cannot be reached any more.
        """
        self._check_started()
        return self._told(function, items)

    def _told(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[Outcome[R]]:
        outcomes = self._outcomes(Call(function), items)
        self._unfinished.add(outcomes)
        try:
            for outcome in outcomes:
                tell(outcome, self._warned)
                yield outcome
        finally:
            outcomes.close()
            self._unfinished.discard(outcomes)

    def _results(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        for outcome in self._told(function, items):
            yield outcome.open()

    @abstractmethod
    def _check_started(self) -> None: ...

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def _outcomes(
        self, call: Call[T, R], items: Iterable[T]
    ) -> Generator[Outcome[R], None, None]: ...

    def _abandon(self) -> None:  # noqa: B027 - most have nothing that goes on by itself
        """Stop the work that is being done, because of Ctrl-C or the like."""


def name_of(item: Any) -> str:
    """Return what a message calls an item: the file it is about, or a short form of it."""
    from os import PathLike, fspath

    if isinstance(item, (str, PathLike)):
        return str(fspath(item))
    parts = item if isinstance(item, (tuple, list)) else vars(item).values() if _plain(item) else ()
    for part in parts:
        if isinstance(part, (str, PathLike)):
            return str(fspath(part))
    text = " ".join(repr(item).split())
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."


def _plain(item: Any) -> bool:
    return hasattr(item, "__dict__") and not isinstance(item, type)
