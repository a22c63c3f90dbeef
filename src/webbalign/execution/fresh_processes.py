"""Worker processes that start afresh: spawned, or forked from a server that has only imported.

They are never forked from this process: a fork copies the locks that BLAS threads and open files
hold at that moment, and the child may wait for them for ever. The server has no threads and no
work; what it has imported, its workers need not import again, and they share its memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from webbalign.execution.allocation import keep_freed_memory
from webbalign.execution.threads import allow_threads, limit_threads_for_good, lowered_variables

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

__all__ = ["ctrl_c_later", "fresh_processes", "start_worker"]

_QUIET = "webbalign.execution._quiet_imports"
# New objects between two collections; a WCS is ten thousand, which hold little memory.
_THRESHOLD = 50_000
_blocks: list[BaseContext] = []  # that use the server


@contextmanager
def fresh_processes(preload: Sequence[str] = ()) -> Iterator[BaseContext]:
    """Make the context that makes the workers; within the block.

    Parameters
    ----------
    preload : sequence of str
        Modules that all workers need. The server begins to import them at once, while this process
        goes on. A block within the block has the server of the outer one. Where there is no server
        (elsewhere than on Linux, where system libraries have threads of their own) each worker
        imports what it needs.
    """
    import multiprocessing
    import sys

    if not preload or sys.platform != "linux":
        yield multiprocessing.get_context("spawn")
        return
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # else the server does it, and lets Ctrl-C through again
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_QUIET, *preload])
    with lowered_variables(1), ctrl_c_later():
        forkserver.ensure_running()
    _blocks.append(context)
    try:
        yield context
    finally:
        _blocks.pop()
        if not _blocks:
            # it would live as long as this process, with all that it has imported
            forkserver._forkserver._stop()  # type: ignore[attr-defined]


@contextmanager
def ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C back within the block, from this process and from those started within it.

    A worker whose start is interrupted belongs to nobody, and a Python that has hardly begun ends
    with a traceback; Ctrl-C reaches the whole group.
    """
    import signal
    import sys
    import threading

    here = threading.current_thread() is threading.main_thread()  # only that is interrupted
    if not here or signal.getsignal(signal.SIGINT) is None or sys.platform == "win32":
        yield
        return
    came: list[Any] = []
    handler = signal.signal(signal.SIGINT, lambda *args: came.append(args))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if came and callable(handler):
            handler(*came[0])


def _end_with_parent() -> None:
    """End this worker when the process that it works for has ended, however it did.

    Nobody would stop it, and it would go on writing what nobody waits for.
    """
    import multiprocessing
    import threading

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="webbalign-parent").start()


def start_worker(
    threads: int, memory: int | None = None, forked_for: Mapping[str, str] | None = None
) -> None:
    """Prepare a worker process, which is to use so many BLAS threads.

    `memory` is what all processes may have, if that was given. `forked_for` is the environment of
    the process whose worker it is, where it has that of a server that was started earlier.
    """
    import signal

    # Ctrl-C reaches the whole group; the parent alone decides, without a traceback per worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    keep_freed_memory(memory)
    if forked_for is None:
        limit_threads_for_good(threads)
        return
    import gc

    os.environ.clear()
    os.environ.update(forked_for)
    allow_threads(threads)
    gc.freeze()  # what was imported is no garbage
    gc.set_threshold(_THRESHOLD, *gc.get_threshold()[1:])
    gc.enable()
