"""Deaths in the middle of a task, arranged in the workers of a dask cluster.

The functions here are run by the workers themselves (``client.run``): only they know when a task
begins. A worker that was started anew knows nothing of what was arranged.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from webbalign.execution.worker import Call

SELF, MACHINE = "worker", "worker and nanny"


@dataclass
class Plan:
    """Who dies when.

    Attributes
    ----------
    job : str
        Name of the function or class whose tasks are meant.
    wait : float
        Seconds after the beginning of a task; halved each time that a task ends before.
    ticket : str
        File that does not exist; who makes it, strikes. So there is one death in all.
    victim : str or int
        The worker itself, with its nanny, or the number of a process.
    signal : int
    after : int
        Tasks of a worker that are left in peace first.
    """

    job: str
    wait: float
    ticket: str
    victim: str | int = SELF
    signal: int = signal.SIGKILL
    after: int = 0


_plan: Plan | None = None
_seconds: dict[str, list[float]] = defaultdict(list)
_plain: Callable[..., Any] = Call.__call__


def arrange(plan: Plan | None) -> None:
    """Let this worker follow a plan, and time its tasks (None: only that)."""
    global _plan
    _plan = plan
    _seconds.clear()
    Call.__call__ = _watched  # type: ignore[method-assign]


def seconds() -> dict[str, list[float]]:
    """Return how long the tasks of this worker took, by the name of their job."""
    return dict(_seconds)


def _watched(call: Call[Any, Any], item: Any) -> Any:
    name = getattr(call.function, "__name__", type(call.function).__name__)
    plan, timer = _plan, None
    if plan is not None and plan.job == name and len(_seconds[name]) >= plan.after:
        timer = threading.Timer(plan.wait, _strike, (plan,))
        timer.start()
    start = time.perf_counter()
    try:
        return _plain(call, item)
    finally:
        _seconds[name].append(time.perf_counter() - start)
        if timer is not None and plan is not None:
            timer.cancel()
            plan.wait /= 2


def _strike(plan: Plan) -> None:
    try:
        os.close(os.open(plan.ticket, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    if isinstance(plan.victim, int):
        os.kill(plan.victim, plan.signal)
        return
    if plan.victim == MACHINE:
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
