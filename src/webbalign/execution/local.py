"""Executors within this process, and the one that uses an executor of ``concurrent.futures``."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from typing import Any, ClassVar, TypeVar

from webbalign.execution.contract import Executor, ExecutorError
from webbalign.execution.threads import available_cores, limit_threads, threads_per_worker
from webbalign.execution.worker import Call, Outcome

__all__ = ["GivenExecutor", "PoolExecutor", "SerialExecutor", "ThreadExecutor"]

T = TypeVar("T")
R = TypeVar("R")


class SerialExecutor(Executor):
    """One item after the other, in this thread; BLAS keeps all cores."""

    name = "serial"
    shares_memory = True

    def __init__(self, workers: int | None = None) -> None:
        super().__init__(workers)
        self.workers = 1

    def _check_started(self) -> None:
        pass

    def _start(self) -> None:
        pass

    def _outcomes(self, call: Call[T, R], items: Iterable[T]) -> Generator[Outcome[R], None, None]:
        for item in items:
            yield call(item)


class PoolExecutor(Executor):
    """What the executors with a pool of workers share: ordered results from a short queue."""

    #: Items begun ahead of the one that is waited for, per worker.
    _ahead: ClassVar[int] = 2

    def __init__(self, workers: int | None = None) -> None:
        super().__init__(workers)
        self._pool: Any = None

    def _check_started(self) -> None:
        if self._pool is None:
            raise ExecutorError(
                f"the executor {self.name!r} is not started - use it in a 'with' block"
            )

    def _outcomes(self, call: Call[T, R], items: Iterable[T]) -> Generator[Outcome[R], None, None]:
        pending: deque[Any] = deque()
        try:
            for item in items:
                pending.append(self._submit(call, item))
                if len(pending) > self._ahead * self.workers:
                    yield self._first_outcome(pending)
            while pending:
                yield self._first_outcome(pending)
        finally:
            for task in pending:
                self._cancel(task)

    def _submit(self, call: Call[Any, Any], item: Any) -> Any:
        """Begin one item; return what stands for its result."""
        return self._pool.submit(call, item)

    def _first_outcome(self, pending: deque[Any]) -> Outcome[Any]:
        """Wait for the first of what was begun, take it out, and return what came of it."""
        outcome: Outcome[Any] = pending.popleft().result()
        return outcome

    def _cancel(self, task: Any) -> None:
        task.cancel()

    def _forget_pool(self) -> None:
        self._pool = None


class ThreadExecutor(PoolExecutor):
    """Threads of this process: nothing is copied; worth it where NumPy releases the lock."""

    name = "threads"
    shares_memory = True

    def _start(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._resources.enter_context(limit_threads(threads_per_worker(self.workers)))
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="webbalign")
        self._resources.callback(pool.shutdown, wait=True, cancel_futures=True)
        self._resources.callback(self._forget_pool)
        self._pool = pool


class GivenExecutor(PoolExecutor):
    """An executor of ``concurrent.futures`` that somebody else has made, and will end.

    Parameters
    ----------
    pool : concurrent.futures.Executor
        Whatever has ``submit``: threads, processes, or an executor of a cluster.
    workers : int, optional
        How many items it works on at a time; by default as many as it says, else one per core.
    """

    name = "given"

    def __init__(self, pool: Any, workers: int | None = None) -> None:
        own = getattr(pool, "_max_workers", None)
        super().__init__(workers or (own if isinstance(own, int) and own > 0 else None))
        self._given = pool
        from concurrent.futures import ThreadPoolExecutor

        self.shares_memory = type(pool) is ThreadPoolExecutor

    def _start(self) -> None:
        self._resources.callback(self._forget_pool)
        if self.shares_memory:
            threads = threads_per_worker(min(self.workers, available_cores()))
            self._resources.enter_context(limit_threads(threads))
        self._pool = self._given

    def _first_outcome(self, pending: deque[Any]) -> Outcome[Any]:
        from concurrent.futures import BrokenExecutor

        try:
            return super()._first_outcome(pending)
        except BrokenExecutor as error:
            raise ExecutorError(
                f"the executor that was given is broken ({error}) - give a new one"
            ) from error

    def _submit(self, call: Call[Any, Any], item: Any) -> Any:
        from concurrent.futures import BrokenExecutor

        try:
            return super()._submit(call, item)
        except BrokenExecutor as error:
            raise ExecutorError(
                f"the executor that was given is broken ({error}) - give a new one"
            ) from error
