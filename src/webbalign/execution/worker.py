"""The call of a function where the work is done, and what of it travels back.

A log record, a warning or an exception means something only in the process whose user sees it. So
a call in another process hands back all three with its result, and this process tells them.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

from webbalign.execution.current_folder import current_folder, within_folder

__all__ = ["Call", "Outcome", "persistently", "tell"]

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

# Errors of network file systems and failing disks that are often gone a moment later.
_PASSING = frozenset(
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "ETIMEDOUT", "EAGAIN", "EREMOTEIO", "EHOSTDOWN", "ENOTCONN")
    if hasattr(errno, name)
)
# Seconds before each further attempt.
WAITS = (0.2, 1.0, 4.0)
# Records of one item that are kept; the last are those that explain a failure.
_MOST_RECORDS = 20_000
_OURS = "webbalign"
_MARK = int.from_bytes(os.urandom(8), "big")


@dataclass(frozen=True)
class _Warned:
    """A warning on its way: its text, since its own class may not travel."""

    text: str
    category: type[Warning]
    filename: str
    line: int


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What comes back for an item: result or exception.

    Attributes
    ----------
    result : object
        What the function has returned.
    error : Exception or None
        What it has raised.
    traceback : str
        Where, if that was in another process.
    told : list
        Log records and warnings from there.
    """

    result: R | None = None
    error: Exception | None = None
    traceback: str = ""
    told: list[Any] = field(default_factory=list)

    def open(self) -> R:
        """Return the result, or raise the exception."""
        if self.error is None:
            return self.result  # type: ignore[return-value]
        if self.traceback:
            raise self.error from WorkerTraceback(self.traceback)
        raise self.error


class WorkerTraceback(Exception):
    """The cause of an exception from a worker: where it was raised there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"in the worker:\n{self.text}"


def _passing(error: BaseException) -> OSError | None:
    """Return the error of the system that lies behind, if it is one that may pass."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _PASSING:
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def persistently(function: Callable[[T], R], item: T) -> R:
    """Call a function, again (a few times, after a pause) after errors of files that may pass."""
    for wait in WAITS:
        try:
            return function(item)
        except Exception as error:
            behind = _passing(error)
            if behind is None:
                raise
            log.warning("%s; trying again in %g s", behind, wait)
        time.sleep(wait)
    return function(item)


class _Collector:
    """Collects garbage between items: the arrays of a file that was closed hang in cycles.

    With the modules frozen that is quick. A worker of a cluster has them not, and searches them
    all; there it takes a twentieth of the time at most.
    """

    SHARE = 1 / 20

    def __init__(self) -> None:
        self._took, self._ended = 0.0, 0.0

    @cached_property
    def _frozen(self) -> bool:
        # asked once: the answer is counted, object by object
        return gc.get_freeze_count() > 0

    def collect(self) -> None:
        """Collect, if it is worth the time."""
        begin = time.monotonic()
        if not self._frozen and begin - self._ended < self._took / self.SHARE:
            return
        gc.collect()
        self._ended = time.monotonic()
        self._took = self._ended - begin


_COLLECTOR = _Collector()


class Call(Generic[T, R]):
    """A function as it is called in another process: returns an :class:`Outcome`, never raises.

    Made in the process that wants the results: it knows what is logged there, and where relative
    file names begin.
    """

    def __init__(self, function: Callable[[T], R]) -> None:
        self.function = function
        self.origin = _here()
        self.folder = current_folder()
        self.levels = {name: logging.getLogger(name).level for name in ("", _OURS)}

    def __call__(self, item: T) -> Outcome[R]:
        """Work on one item."""
        if self.origin == _here():  # workers may be threads: nothing has to travel
            try:
                return Outcome(persistently(self.function, item))
            except Exception as error:
                return Outcome(error=error)
            finally:
                # of what is new only: with collections as rare as ours, the arrays of closed
                # files would stay until there are a million objects
                gc.collect(0)
        with within_folder(self.folder), _listening(self.levels) as told:
            try:
                result = persistently(self.function, item)
            except Exception as error:
                return Outcome(error=_portable(error), traceback=_trace(error), told=list(told))
            finally:
                _COLLECTOR.collect()
        return Outcome(result, told=list(told))


def _here() -> tuple[int, int]:
    # a process of another machine may have the same number, a forked one the same object
    return os.getpid(), _MARK


def tell(outcome: Outcome[Any], registry: dict[Any, Any]) -> None:
    """Log and warn here what a worker had to say.

    Parameters
    ----------
    outcome : Outcome
    registry : dict
        Remembers the warnings, so that each is shown once however many workers give it.
    """
    for item in outcome.told:
        if isinstance(item, _Warned):
            warnings.warn_explicit(
                item.text, item.category, item.filename, item.line, registry=registry
            )
        elif logging.getLogger(item.name).isEnabledFor(item.levelno):
            logging.getLogger(item.name).handle(item)


def _trace(error: BaseException) -> str:
    from traceback import format_exception

    return "".join(format_exception(error))


def _portable(error: Exception) -> Exception:
    """Return an exception that can travel.

    One whose constructor wants other arguments than it keeps fails to be unpickled, and that
    breaks the whole pool instead of one item.
    """
    import pickle

    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


# What is told while a call runs; a worker of a dask cluster may run several in its threads. -------

_listeners: dict[int, deque[Any]] = {}
_lock = threading.Lock()


def _hear(message: Any) -> None:
    with _lock:
        own = _listeners.get(threading.get_ident())
        if own is None and len(_listeners) == 1:  # from a thread that the function started
            (own,) = _listeners.values()
        if own is not None:
            own.append(message)


class _Handler(logging.Handler):
    """Keeps records for the process that wants the result."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:
            self.handleError(record)
            return
        if record.exc_info and not record.exc_text:
            record.exc_text = (self.formatter or logging.Formatter()).formatException(
                record.exc_info
            )
        # arguments may hold anything; the text travels
        plain = logging.makeLogRecord(record.__dict__)
        plain.msg, plain.args, plain.exc_info = text, None, None
        for name in set(plain.__dict__) - _PLAIN:
            del plain.__dict__[name]
        _hear(plain)


_PLAIN = frozenset(logging.makeLogRecord({}).__dict__)


@contextmanager
def _listening(levels: dict[str, int]) -> Iterator[deque[Any]]:
    """Collect the records and warnings of this thread (and its threads) within the block."""
    told: deque[Any] = deque(maxlen=_MOST_RECORDS)
    thread = threading.get_ident()
    with _lock:
        first = not _listeners
        _listeners[thread] = told
        if first:
            _install(levels)
    try:
        yield told
    finally:
        with _lock:
            del _listeners[thread]
            if not _listeners:
                _uninstall()


_undo: list[Callable[[], None]] = []


def _install(levels: dict[str, int]) -> None:
    handler = _Handler()
    root = logging.getLogger()
    before = {name: logging.getLogger(name).level for name in levels}
    showing = warnings.showwarning
    root.addHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: Any = None,
    ) -> None:
        _hear(_Warned(str(message), category, filename, lineno))

    warnings.showwarning = show

    def undo() -> None:
        root.removeHandler(handler)
        warnings.showwarning = showing
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)

    _undo.append(undo)


def _uninstall() -> None:
    while _undo:
        _undo.pop()()
