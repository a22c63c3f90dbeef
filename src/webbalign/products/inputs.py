"""Files that are read."""

from __future__ import annotations

from pathlib import Path

from webbalign.core.errors import InputError
from webbalign.products.remote import local

__all__ = ["require_file"]


def require_file(path: str | Path, expected: str) -> Path:
    """Return the path of a file that is to be read, seen to be there.

    Parameters
    ----------
    path : str or Path
        Or an address, which is fetched.
    expected : str
        What should be there, for messages.

    Raises
    ------
    InputError
        If it is missing, or a folder, or cannot be fetched.
    """
    path = local(path)
    if not path.is_file():
        raise InputError(path, "is a folder" if path.is_dir() else "no such file", expected)
    return path
