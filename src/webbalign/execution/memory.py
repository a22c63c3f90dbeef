"""How much memory there is, and how many workers fit into it."""

from __future__ import annotations

import os
from pathlib import Path

from webbalign.execution.contract import ExecutorError
from webbalign.execution.threads import available_cores

__all__ = ["available_memory", "workers_within"]

# Resident bytes of the process that hands out the work, and of a worker: round numbers. With coron3
# in two workers, 320 x 320 pixels: 280 MB, 146 MB in the process from which workers are forked
# (most of it shared with them) and 177 MB each with 9 references; 390 MB and 330 MB each with 36
# references aligned to each of 40 integrations.
BASE = 200_000_000
LEAST_PER_WORKER = 300_000_000

_MEMINFO = Path("/proc/meminfo")
# limit and use of the container, of its second and of its first version
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def available_memory() -> int | None:
    """Return the bytes that new processes may take (a container's limit counts); None: unknown."""
    known = [size for size in (_of_machine(), *map(_of_container, _CGROUPS)) if size is not None]
    return min(known) if known else None


def _of_machine() -> int | None:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    try:  # what there is, where nobody says how much of it is free
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _of_container(files: tuple[Path, Path]) -> int | None:
    try:
        limit, used = (int(path.read_text()) for path in files)
    except (OSError, ValueError):  # "max": no limit
        return None
    return max(0, limit - used)


def workers_within(memory: int | None = None, most: int | None = None) -> int:
    """Return how many worker processes to have: one per core, if they fit into the memory.

    Parameters
    ----------
    memory : int, optional
        Bytes that all processes together may have resident, this one included; by default
        what is free.
    most : int, optional
        Not more than these, instead of the cores.

    Raises
    ------
    ExecutorError
        If not even one process fits into the memory given.
    """
    most = available_cores() if most is None else most
    if memory is not None and memory < BASE + LEAST_PER_WORKER // 2:
        raise ExecutorError(
            f"{memory / 1e9:.2g} GB of memory are not enough for the program itself - "
            f"give at least {(BASE + LEAST_PER_WORKER // 2) / 1e9:.2g} GB, or no bound"
        )
    size = available_memory() if memory is None else memory
    if size is None:
        return most
    return max(1, min(most, (size - BASE) // LEAST_PER_WORKER))
