"""How the references and the integrations are cut up so that they fit into the memory.

Nothing here changes a result: all sums have an order that does not depend on it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from webbalign.core._kl_basis import CHUNK
from webbalign.core.errors import OptionError
from webbalign.steps._fitting import BLOCK
from webbalign.steps._references import REFERENCES_AT_ONCE
from webbalign.steps._runtime import Runtime

__all__ = ["Cut", "cut"]

# Resident bytes without data, measured: the process of the user, and a worker.
MAIN, WORKER = 350e6, 220e6
# Bytes per pixel: of a reference kept prepared, of one in the matrix of the modes, of one that is
# being prepared or shifted, of a science image prepared for fits, of what errors are made of.
KEPT, IN_MATRIX, AT_WORK, IN_FIT, IMAGES = 20, 9, 60, 120, 400


@dataclass(frozen=True)
class Cut:
    """How the work is cut up.

    Attributes
    ----------
    in_memory : bool
        Whether a process keeps the prepared references and their modes in memory; else they are
        made anew, a few at a time, and lie in scratch files.
    block : int
        Largest number of integrations that are fitted together.
    """

    in_memory: bool
    block: int


def cut(runtime: Runtime, npsfs: int, npix: int) -> Cut:
    """Cut up the work on integrations of `npix` pixels with `npsfs` references.

    Raises
    ------
    OptionError
        If the memory given is not enough, saying how much would be.
    """
    at_once = max(runtime.workers or 1, 1)
    # workers are idle, and have given back what they took, while this process finds the errors
    base = MAIN + (0 if runtime.shares_memory else at_once * WORKER)
    fixed = npix * (REFERENCES_AT_ONCE * AT_WORK + IMAGES) + npsfs * (5 * 8 * CHUNK + 48 * npsfs)
    least = base + at_once * (fixed + npix * IN_FIT)
    if runtime.memory is not None and runtime.memory < least:
        raise OptionError(
            f"option 'memory' is {runtime.memory / 1e9:.2f} GB, too little for {npsfs} references "
            f"of {npix} pixels with {at_once} worker{'s' if at_once > 1 else ''} - give at least "
            f"{least / 1e9:.2f} GB"
        )
    share = ((runtime.memory or _half_of_machine()) - base) / at_once - fixed
    whole = npsfs * npix * (KEPT + IN_MATRIX)
    in_memory = share >= whole + npix * IN_FIT
    left = share - whole if in_memory else share
    return Cut(in_memory, int(min(max(left / (npix * IN_FIT), 1), BLOCK)))


def _half_of_machine() -> float:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    except (AttributeError, OSError, ValueError):
        return 4e9
