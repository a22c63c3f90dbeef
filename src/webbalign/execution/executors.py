"""The executors by their names: where the items of one ``map`` are worked on.

>>> from webbalign.execution import executor
>>> with executor("threads", workers=2) as pool:
...     list(pool.map(abs, [-1, 2, -3]))
[1, 2, 3]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from webbalign.execution.contract import Executor, ExecutorError
from webbalign.execution.dask_cluster import DaskExecutor
from webbalign.execution.local import GivenExecutor, SerialExecutor, ThreadExecutor
from webbalign.execution.memory import workers_within
from webbalign.execution.processes import ProcessExecutor

__all__ = ["AUTO", "NAMES", "Executor", "ExecutorError", "executor"]

NAMES = ("serial", "threads", "processes", "dask")
AUTO = "auto"

# Seconds that it takes until worker processes have imported what they need: 2.2 s of CPU time are
# the imports of coron3, the rest is the start of the processes (estimated).
START_SECONDS = 3.0


def executor(
    kind: Any = "serial",
    workers: int | None = None,
    preload: Sequence[str] = (),
    *,
    memory: int | None = None,
    seconds: float | None = None,
) -> Executor:
    """Return the executor of that name; it is to be used as a context manager.

    Parameters
    ----------
    kind : str, Executor, concurrent.futures.Executor, distributed.Client
        One of `NAMES`; or "auto": processes, but serial where they would not save time. Or an
        executor that exists: one of ours (as it is), of ``concurrent.futures``, or the client of
        a dask cluster; these are used, and not ended.
    workers : int, optional
        How many items are worked on at a time; by default one per core, as far as memory goes.
        BLAS and FFT get the cores that are left for each worker, at least one thread. ``serial``
        has one worker.
    preload : sequence of str
        Modules that the work needs, by name; ``processes`` may import them beforehand.
    memory : int, optional
        Bytes that all processes together may have resident.
    seconds : float, optional
        What the work takes serially, where that can be told; "auto" decides by it.

    Raises
    ------
    ExecutorError
        If there is no such executor, or what it needs is not installed.
    """
    if isinstance(kind, Executor):
        return kind
    if not isinstance(kind, str):
        return _given(kind, workers)
    if kind == AUTO:
        kind = _chosen(workers, memory, seconds)
    if kind not in NAMES:
        raise ExecutorError(
            f"there is no executor {kind!r} - give one of {', '.join(NAMES)} and {AUTO}"
        )
    makers: dict[str, Callable[[], Executor]] = {
        "serial": lambda: SerialExecutor(workers),
        "threads": lambda: ThreadExecutor(workers),
        "processes": lambda: ProcessExecutor(workers, preload, memory),
        "dask": lambda: DaskExecutor(workers),
    }
    return makers[kind]()


def _chosen(workers: int | None, memory: int | None, seconds: float | None) -> str:
    """Choose between serial and processes."""
    count = workers_within(memory, workers)
    if count == 1:
        return "serial"
    saved = float("inf") if seconds is None else seconds * (1 - 1 / count)
    return "processes" if saved > START_SECONDS else "serial"


def _given(thing: Any, workers: int | None) -> Executor:
    from concurrent.futures import Executor as FuturesExecutor

    if isinstance(thing, FuturesExecutor):
        return GivenExecutor(thing, workers)
    if hasattr(thing, "submit") and hasattr(thing, "scheduler_info"):
        return DaskExecutor(client=thing)
    raise ExecutorError(
        f"{thing!r} is no executor - give one of {', '.join(NAMES)}, an executor of "
        "concurrent.futures, or a dask Client"
    )
