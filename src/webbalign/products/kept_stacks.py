"""Stacks that an earlier run has made, kept with a mark of all that they were made from."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.core.image_pairs import GridImage
from webbalign.products.atomic import atomic_path
from webbalign.products.models import describe
from webbalign.products.stacks import Box, StackGrid, Stacking

__all__ = ["keep_stack", "kept_stack", "stack_mark"]

# Raised when stacks of an older version cannot stand for those of this one
_VERSION = 1
_NOT_WHOLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def stack_mark(
    name: str, digests: Sequence[str], grid: StackGrid, options: Stacking, box: Box | None
) -> str:
    """Hash of all that a stack depends on.

    Parameters
    ----------
    name : str
    digests : sequence of str
        Hash of the file of each image.
    grid : StackGrid
    options : Stacking
    box : Box or None
        Part of the grid.
    """
    parts: list[Any] = [
        _VERSION, name, *sorted(digests), grid.plane.axes.tolist(), grid.pixel_scale,
        describe(options), box,
    ]  # fmt: skip
    return hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def keep_stack(stack: GridImage, mark: str, path: str | Path) -> Path:
    """Write a stack with its mark, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            mark=np.array(mark),
            name=np.array(stack.name),
            data=stack.data,
            weight=stack.weight,
            origin=np.array(stack.origin),
            n_images=np.array(stack.n_images),
            place_cov=stack.place_cov,
            place_point=stack.place_point,
        )
    return path


def kept_stack(mark: str, path: str | Path) -> GridImage | None:
    """Read a stack; None if there is none with this mark, or the file is not whole."""
    path = Path(path)
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None
        with np.load(path, allow_pickle=False) as stored:
            if not whole or str(stored["mark"]) != mark:
                return None
            return GridImage(
                name=str(stored["name"]),
                data=stored["data"],
                weight=stored["weight"],
                origin=(int(stored["origin"][0]), int(stored["origin"][1])),
                n_images=int(stored["n_images"]),
                place_cov=stored["place_cov"],
                place_point=stored["place_point"],
            )
    except _NOT_WHOLE:
        return None
