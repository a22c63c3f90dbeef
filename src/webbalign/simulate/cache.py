"""Arrays that are dear to compute, kept under ``XDG_CACHE_HOME/webbalign``."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.products.cache import cache_folder

__all__ = ["cache_folder", "cached_arrays"]

Arrays = dict[str, np.ndarray]


def cached_arrays(kind: str, key: object, compute: Callable[[], Arrays]) -> Arrays:
    """Return the arrays that belong to a key, computed at most once.

    Parameters
    ----------
    kind : str
        First part of the file's name.
    key : object
        Whatever determines the arrays; its ``repr`` is hashed.
    compute : callable
        Called without arguments when the cache does not hold them.

    Notes
    -----
    A cache that cannot be written or read is no error: the arrays are computed again.
    """
    digest = hashlib.sha256(repr(key).encode()).hexdigest()[:20]
    path = cache_folder() / f"{kind}-{digest}.npz"
    arrays = _load(path)
    if arrays is None:
        arrays = compute()
        _store(path, arrays)
    return arrays


def _load(path: Path) -> Arrays | None:
    try:
        # opened here, since numpy forgets to close a file that it cannot read
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    except Exception:  # missing, cut off, not a zip: whatever is wrong with it, compute anew
        return None


def _store(path: Path, arrays: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # another process may be writing the same file: each writes its own, the last rename wins
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            np.savez(file, **arrays)
        Path(file.name).replace(path)
    except OSError:
        return
