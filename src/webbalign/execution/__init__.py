"""One contract, ``map(function, items)``, over serial, threads, processes and dask."""

from __future__ import annotations

from webbalign.execution.collection import spared_from_collection
from webbalign.execution.contract import Executor, ExecutorError
from webbalign.execution.dask_cluster import DaskExecutor, TlsFiles
from webbalign.execution.executors import AUTO, NAMES, executor
from webbalign.execution.memory import available_memory, workers_within
from webbalign.execution.progress import NullProgress, Progress
from webbalign.execution.threads import available_cores, limit_threads
from webbalign.execution.worker import Outcome

__all__ = [
    "AUTO",
    "NAMES",
    "DaskExecutor",
    "Executor",
    "ExecutorError",
    "NullProgress",
    "Outcome",
    "Progress",
    "TlsFiles",
    "available_cores",
    "available_memory",
    "executor",
    "limit_threads",
    "spared_from_collection",
    "workers_within",
]
