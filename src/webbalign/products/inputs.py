"""Files that are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from webbalign.core.errors import InputError
from webbalign.products.remote import local

__all__ = ["count_images", "require_file"]


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
        raise InputError(
            path, "a folder, not a file" if path.is_dir() else "no such file", expected
        )
    return path


def count_images(files: Sequence[str]) -> int:
    """Return how many images are given: files, or the members of an association.

    Parameters
    ----------
    files : sequence of str
    """
    if len(files) != 1 or not files[0].lower().endswith(".json"):
        return len(files)
    try:
        content = json.loads(Path(files[0]).read_bytes())
        return len(content["products"][0]["members"])
    except (OSError, ValueError, LookupError, TypeError):
        return 1  # what is wrong with it is told where it is read
