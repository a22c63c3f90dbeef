"""The executors: where the items of one ``map`` are worked on.

>>> from webbalign.execution import executor
>>> with executor("threads", workers=2) as pool:
...     list(pool.map(abs, [-1, 2, -3]))
[1, 2, 3]
"""

from __future__ import annotations

import gc
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from webbalign.execution.fresh_processes import fresh_processes, start_worker
from webbalign.execution.threads import available_cores, limit_threads, threads_per_worker

__all__ = ["NAMES", "Executor", "ExecutorError", "executor"]

T = TypeVar("T")
R = TypeVar("R")

NAMES = ("serial", "threads", "processes", "dask")


class ExecutorError(RuntimeError):
    """An executor that cannot be had, or that broke down; the message says what to do."""


class Executor(ABC):
    """Applies a function to items; a context manager that owns its workers.

    Parameters
    ----------
    workers : int, optional
        How many items are worked on at a time; by default one per core.
    """

    name: ClassVar[str]

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ExecutorError(f"workers is {workers}; expected 1 or more")
        self.workers = available_cores() if workers is None else workers
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._resources.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._resources.close()

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``function(item)`` for every item, in the order of the items.

        Items are drawn a few ahead of the results, so neither needs to fit in memory at once.
        The first exception is raised in the place of its result; what is not begun by then
        is not begun any more. For ``processes`` and ``dask``, function, items and results must
        be picklable.
        """
        # a plain method, so that an executor used outside its block fails here and not later
        self._check_started()
        return self._map(function, items)

    @abstractmethod
    def _check_started(self) -> None: ...

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def _map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]: ...


class SerialExecutor(Executor):
    """One item after the other, in this thread; BLAS keeps all cores."""

    name = "serial"

    def __init__(self, workers: int | None = None) -> None:
        super().__init__(workers)
        self.workers = 1

    def _check_started(self) -> None:
        pass

    def _start(self) -> None:
        pass

    def _map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return map(function, items)


class _PoolExecutor(Executor):
    """What the executors with a pool of workers share: ordered results from a short queue."""

    #: Items begun ahead of the one that is waited for, per worker.
    _ahead: ClassVar[int] = 2

    def __init__(self, workers: int | None = None) -> None:
        super().__init__(workers)
        self._pool: Any = None

    def _check_started(self) -> None:
        if self._pool is None:
            raise ExecutorError(f"the executor {self.name!r} is used outside its 'with' block")

    def _map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        pending: deque[Any] = deque()
        try:
            for item in items:
                pending.append(self._submit(function, item))
                if len(pending) > self._ahead * self.workers:
                    yield self._result(pending.popleft())
            while pending:
                yield self._result(pending.popleft())
        finally:
            for future in pending:
                future.cancel()

    def _submit(self, function: Callable[[T], R], item: T) -> Any:
        return self._pool.submit(function, item)

    def _result(self, future: Any) -> Any:
        return future.result()

    def _forget_pool(self) -> None:
        self._pool = None


class ThreadExecutor(_PoolExecutor):
    """Threads of this process: nothing is copied; worth it where NumPy releases the lock."""

    name = "threads"

    def _start(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._resources.enter_context(limit_threads(threads_per_worker(self.workers)))
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="webbalign")
        self._resources.callback(pool.shutdown, wait=True, cancel_futures=True)
        self._resources.callback(self._forget_pool)
        self._pool = pool


class ProcessExecutor(_PoolExecutor):
    """Fresh processes of this machine, see :mod:`webbalign.execution.fresh_processes`."""

    name = "processes"

    def __init__(self, workers: int | None = None, preload: Sequence[str] = ()) -> None:
        super().__init__(workers)
        self.preload = preload

    def _start(self) -> None:
        from concurrent.futures import ProcessPoolExecutor

        context = self._resources.enter_context(fresh_processes(self.preload))
        forked = context.get_start_method() == "forkserver"
        pool = ProcessPoolExecutor(
            self.workers,
            mp_context=context,
            initializer=start_worker,
            initargs=(threads_per_worker(self.workers), dict(os.environ) if forked else None),
        )
        self._resources.callback(pool.shutdown, wait=True, cancel_futures=True)
        self._resources.callback(self._forget_pool)
        self._pool = pool

    def _submit(self, function: Callable[[T], R], item: T) -> Any:
        from concurrent.futures.process import BrokenProcessPool

        try:
            return self._pool.submit(_call, function, item)
        except BrokenProcessPool as error:
            raise _worker_died() from error

    def _result(self, future: Any) -> Any:
        from concurrent.futures.process import BrokenProcessPool

        try:
            return super()._result(future)
        except BrokenProcessPool as error:
            raise _worker_died() from error


class DaskExecutor(_PoolExecutor):
    """A dask cluster: the one dask is configured for, else one of processes on this machine.

    ``DASK_SCHEDULER_ADDRESS`` (or dask's own configuration) names a running cluster.
    """

    name = "dask"

    def __init__(self, workers: int | None = None) -> None:
        super().__init__(workers)
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise ExecutorError(
                "the executor 'dask' needs dask, which is not installed; "
                "install it with: pip install 'webbalign[dask]'"
            ) from error

    def _start(self) -> None:
        import dask
        from distributed import Client, LocalCluster

        address = dask.config.get("scheduler-address", None)
        if address is None:
            cluster = LocalCluster(
                n_workers=self.workers,
                threads_per_worker=1,
                # its pages: on this machine alone, and where no other cluster has its own
                dashboard_address="127.0.0.1:0",
                silence_logs="ERROR",
            )
            address = self._resources.enter_context(cluster)
        try:
            client = Client(address, set_as_default=False)
        except OSError as error:
            raise ExecutorError(f"no dask cluster answers at {address}: {error}") from error
        self._resources.enter_context(client)
        self._resources.callback(self._forget_pool)
        self.workers = max(1, sum(client.nthreads().values()))
        self._pool = client

    def _submit(self, function: Callable[[T], R], item: T) -> Any:
        # dask would give equal calls one result; a map calls once per item
        return self._pool.submit(function, item, pure=False)


def _call(function: Callable[[T], R], item: T) -> R:
    """Call in a worker process; an exception that cannot travel is replaced by one that can.

    An exception whose constructor wants other arguments than it keeps fails to be unpickled,
    and that breaks the whole pool instead of one item.
    """
    import pickle

    try:
        return function(item)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise
    finally:
        # the arrays of a file that was closed hang in cycles; with the modules frozen this is quick
        if gc.get_freeze_count():
            gc.collect()


def _worker_died() -> ExecutorError:
    return ExecutorError(
        "a worker process ended before its work was done (out of memory is the usual cause; "
        "a script that starts worker processes must do so under if __name__ == '__main__')"
    )


_EXECUTORS: dict[str, type[Executor]] = {
    "serial": SerialExecutor,
    "threads": ThreadExecutor,
    "processes": ProcessExecutor,
    "dask": DaskExecutor,
}


def executor(
    name: str = "serial", workers: int | None = None, preload: Sequence[str] = ()
) -> Executor:
    """Return the executor of that name; it is to be used as a context manager.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    workers : int, optional
        How many items are worked on at a time; by default one per core. BLAS and FFT get the
        cores that are left for each worker, at least one thread. ``serial`` has one worker.
    preload : sequence of str
        Modules that the work needs, by name; ``processes`` may import them beforehand.

    Raises
    ------
    ExecutorError
        If there is no such executor, or what it needs is not installed.
    """
    try:
        kind = _EXECUTORS[name]
    except KeyError:
        raise ExecutorError(
            f"there is no executor {name!r}; there are {', '.join(NAMES)}"
        ) from None
    return ProcessExecutor(workers, preload) if kind is ProcessExecutor else kind(workers)
