"""How many cores there are, and how many of them BLAS and FFT may take.

A matrix product inside each of N workers would start as many BLAS threads as the machine has
cores, N times over. The limits set here keep workers times threads within the cores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["available_cores", "limit_threads", "threads_per_worker"]

# What numerical libraries read when they are loaded; threadpoolctl only reaches loaded ones.
_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Return the number of cores this process may use (affinity and container quota count)."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    quota = _container_quota()
    return max(1, cores if quota is None else min(cores, quota))


def _container_quota() -> int | None:
    try:
        quota, period = _CGROUP_QUOTA.read_text().split()
        return None if quota == "max" else max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        return None


def threads_per_worker(workers: int, cores: int | None = None) -> int:
    """Return how many BLAS threads each of `workers` simultaneous workers may use."""
    return max(1, (available_cores() if cores is None else cores) // max(1, workers))


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Hold BLAS and OpenMP of this process to at most `threads` threads within the block.

    A lower limit that is already in force (``OMP_NUM_THREADS=1``, say) is kept. Libraries that
    are loaded within the block keep their limit afterwards.
    """
    from threadpoolctl import threadpool_limits

    with lowered_variables(threads), threadpool_limits(limits=_lowered(threads)):
        yield


@contextmanager
def lowered_variables(threads: int) -> Iterator[None]:
    """Let what is loaded or started within the block have at most `threads` threads."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    _lower_variables(threads)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def limit_threads_for_good(threads: int) -> None:
    """Hold this process, and the libraries it is yet to load, to `threads` threads.

    For the start of a worker process; it must not import anything that loads BLAS.
    """
    from threadpoolctl import threadpool_limits

    _lower_variables(threads)
    threadpool_limits(limits=_lowered(threads))


def allow_threads(threads: int) -> None:
    """Let this process have `threads` threads, also where its libraries were loaded with fewer.

    A lower limit that the environment names is kept.
    """
    from threadpoolctl import threadpool_limits

    _lower_variables(threads)
    threadpool_limits(limits=min(int(os.environ[name]) for name in _VARIABLES))


def _lower_variables(threads: int) -> None:
    # that of OpenMP holds for libraries whose own variable is not set
    general = os.environ.get(_VARIABLES[0], "")
    for name in _VARIABLES:
        inherited = os.environ.get(name) or general
        kept = inherited.isdecimal() and 1 <= int(inherited) <= threads
        os.environ[name] = inherited if kept else str(threads)


def _lowered(threads: int) -> dict[str, int]:
    """Limits by library prefix which never raise what is in force."""
    from threadpoolctl import threadpool_info

    limits: dict[str, int] = {}
    for pool in threadpool_info():
        limits[pool["prefix"]] = min(
            threads, pool["num_threads"], limits.get(pool["prefix"], threads)
        )
    return limits
