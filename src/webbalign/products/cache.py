"""The folder of what is dear to get and does not change."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return the folder of the cache (``~/.cache/webbalign`` unless ``XDG_CACHE_HOME`` is set)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "webbalign"
