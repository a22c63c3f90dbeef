"""What the correlation of stacks takes in memory, and how it is kept within what is allowed.

Stacks lie on the disk. In memory are, in each process, the dithers of one stack, or what two stacks
have in common.
"""

from __future__ import annotations

import builtins
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from webbalign.core.errors import OptionError
from webbalign.core.image_memory import ImageMemory
from webbalign.products.image_files import read_info
from webbalign.products.visits import visit_of

__all__ = ["BYTES_IN_PAIR", "bytes_in_stack", "correlation_memory", "fitting_map"]

# Resident bytes, measured with full frames of MIRI: per pixel of each dither in a stack, of the
# stack, and of what two stacks have in common; without data, of one process that does everything,
# of the two that have workers, of a worker; of what is kept of an image.
BYTES_PER_DITHER, BYTES_IN_STACK, BYTES_IN_PAIR = 45, 130, 400
ALONE, SHARED, WORKER, PER_IMAGE = 320e6, 420e6, 230e6, 0.5e6
# by how much a stack of dithers may be larger than a frame
_WIDER = 1.3

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


class Bounded(Protocol):
    """A band that is measured within bounds."""

    @property
    def paths(self) -> Sequence[Path]: ...

    @property
    def memory(self) -> int | None: ...

    @property
    def workers(self) -> int: ...


def bytes_in_stack(dithers: int) -> int:
    """Return what each pixel of a stack of so many dithers takes while it is made."""
    return dithers * BYTES_PER_DITHER + BYTES_IN_STACK


def correlation_memory(images: Mapping[str, Sequence[str | Path]]) -> ImageMemory:
    """Return what the correlation of the visits of some bands takes, told from their headers.

    Parameters
    ----------
    images : mapping
        By band, its files.

    Raises
    ------
    InputError
        If one cannot be read.
    """
    dithers: Counter[tuple[str, ...]] = Counter()
    frame = 0
    for band, paths in images.items():
        for path in paths:
            info = read_info(path, wcs=False)
            visit = visit_of(info)
            dithers[band, str(visit.visit), visit.detector] += 1
            frame = max(frame, info.shape[0] * info.shape[1])
    most = max(dithers.values(), default=0)
    task = _WIDER * frame * max(bytes_in_stack(most), BYTES_IN_PAIR)
    return ImageMemory(ALONE + task, SHARED, WORKER + task, PER_IMAGE)


def fitting_map(map: Map, job: Bounded, largest: float) -> Map:
    """Return what works on tasks: as it was, or in this process alone if workers take too much.

    Parameters
    ----------
    map : callable
    job : BandJob
    largest : float
        Bytes that the largest task takes.

    Raises
    ------
    OptionError
        If not even one such task fits into the memory allowed.
    """
    if job.memory is None:
        return map
    # workers that are idle keep what they have imported
    idle = SHARED + job.workers * WORKER if job.workers > 1 else ALONE
    least = len(job.paths) * PER_IMAGE + idle + largest
    if job.workers > 1 and least + (job.workers - 1) * largest <= job.memory:
        return map
    if least <= job.memory:
        return builtins.map
    what = f"with {job.workers} workers" if job.workers > 1 else "in one process"
    raise OptionError(
        f"option 'memory' is {job.memory / 1e6:.0f} MB, too little for the stacks "
        f"{what} - give at least {least / 1e6:.0f} MB"
    )
