"""One contract, ``map(function, items)``, over serial, threads, processes and dask."""

from __future__ import annotations

from webbalign.execution.collection import spared_from_collection
from webbalign.execution.executors import NAMES, Executor, ExecutorError, executor
from webbalign.execution.progress import NullProgress, Progress
from webbalign.execution.threads import available_cores, limit_threads

__all__ = [
    "NAMES",
    "Executor",
    "ExecutorError",
    "NullProgress",
    "Progress",
    "available_cores",
    "executor",
    "limit_threads",
    "spared_from_collection",
]
