"""Worker processes of this machine; work that is lost with a killed worker is done again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from webbalign.execution.contract import ExecutorError, name_of
from webbalign.execution.fresh_processes import ctrl_c_later, fresh_processes, start_worker
from webbalign.execution.local import PoolExecutor
from webbalign.execution.memory import workers_within
from webbalign.execution.threads import threads_per_worker
from webbalign.execution.worker import Call, Outcome

__all__ = ["ProcessExecutor"]

# An item that is lost more often than this is an error. Once it was lost for the second time it is
# worked on alone: then it is known which item it is that kills its worker, and if it was memory
# that did not suffice for several at a time, it suffices now.
RETRIES = 3
_ALONE_AFTER = 2


class _Forgiving(Future[Any]):
    """A future that may be cancelled while its worker dies; others end the pool's own thread."""

    def set_exception(self, exception: BaseException | None) -> None:
        with suppress(InvalidStateError):
            super().set_exception(exception)


@dataclass
class _Task:
    """One item, what stands for its result, and how often a worker died over it."""

    call: Call[Any, Any]
    item: Any
    future: Any = None
    losses: int = 0

    def is_lost(self) -> bool:
        """Tell whether it ended without a result."""
        from concurrent.futures.process import BrokenProcessPool

        return self.future.done() and (
            self.future.cancelled() or isinstance(self.future.exception(), BrokenProcessPool)
        )


class ProcessExecutor(PoolExecutor):
    """Fresh processes of this machine, see :mod:`webbalign.execution.fresh_processes`.

    Parameters
    ----------
    workers : int, optional
        By default one per core, fewer if memory is short.
    preload : sequence of str
        Modules that the work needs.
    memory : int, optional
        Bytes that all processes may have resident; by default what is free. Limits the default of
        `workers`, and `workers` too where it is given.
    """

    name = "processes"

    def __init__(
        self, workers: int | None = None, preload: Sequence[str] = (), memory: int | None = None
    ) -> None:
        if workers is None or (memory is not None and workers > 0):
            workers = workers_within(memory, workers)
        super().__init__(workers)
        self.preload = preload
        self._memory = memory
        self._context: Any = None

    def _start(self) -> None:
        self._context = self._resources.enter_context(fresh_processes(self.preload))
        self._resources.callback(self._forget_pool)
        self._resources.callback(self._end_pool)
        self._make_pool()

    def _make_pool(self) -> None:
        from concurrent.futures import ProcessPoolExecutor

        forked = self._context.get_start_method() == "forkserver"
        self._pool = ProcessPoolExecutor(
            self.workers,
            mp_context=self._context,
            initializer=start_worker,
            initargs=(
                threads_per_worker(self.workers),
                self._memory,
                dict(os.environ) if forked else None,
            ),
        )

    def _end_pool(self) -> None:
        if self._pool is None:
            return
        try:
            self._pool.shutdown(wait=True, cancel_futures=True)
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        # What they write is hidden until it is whole. A second Ctrl-C does not stop this.
        with ctrl_c_later():
            for process in list((getattr(self._pool, "_processes", None) or {}).values()):
                process.kill()
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, call: Call[Any, Any], item: Any) -> _Task:
        task = _Task(call, item)
        self._begin(task)
        return task

    def _begin(self, task: _Task) -> None:
        from concurrent.futures.process import BrokenProcessPool

        try:
            with ctrl_c_later():  # this may start a worker
                task.future = self._pool.submit(task.call, task.item)
            task.future.__class__ = _Forgiving
        except BrokenProcessPool as error:  # noticed when its result is waited for
            task.future = Future()
            task.future.set_exception(error)

    def _cancel(self, task: _Task) -> None:
        task.future.cancel()

    def _first_outcome(self, pending: deque[_Task]) -> Outcome[Any]:
        from concurrent.futures.process import BrokenProcessPool

        while True:
            try:
                outcome = pending[0].future.result()
            except (BrokenProcessPool, CancelledError):
                self._replace_workers([task for task in pending if task.is_lost()])
                continue
            pending.popleft()
            return cast(Outcome[Any], outcome)

    def _replace_workers(self, lost: Sequence[_Task]) -> None:
        """After a worker died, begin again what was lost, with new workers."""
        import logging

        self._end_pool()
        self._make_pool()
        for task in lost:
            task.losses += 1
        logging.getLogger(__name__).warning(
            "a worker process was killed; %d pieces of work are done again", len(lost)
        )
        for task in lost:
            if max(other.losses for other in lost) < _ALONE_AFTER:
                self._begin(task)
            else:
                self._do_alone(task)

    def _do_alone(self, task: _Task) -> None:
        """Work on an item while nothing else is worked on, until it is done or hopeless."""
        while True:
            self._begin(task)
            wait([task.future])
            if not task.is_lost():
                return
            self._end_pool()
            self._make_pool()
            task.losses += 1
            if task.losses > RETRIES:
                error = ExecutorError(
                    f"the process that works on it was killed {task.losses} times - "
                    f"{name_of(task.item)} - give fewer --workers (out of memory is the usual "
                    "cause; a script that starts worker processes must do so under "
                    "if __name__ == '__main__')"
                )
                task.future = Future()
                task.future.set_result(Outcome(error=error))
                return
