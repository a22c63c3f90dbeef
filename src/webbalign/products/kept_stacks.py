"""Stacks on the disk: made once, then known without their pixels and read in windows.

A field may have any number of visits; in memory is what two of them have in common.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core.image_pairs import GridImage
from webbalign.products.atomic import atomic_path
from webbalign.products.models import describe
from webbalign.products.provenance import Recipe, keep, of_inputs
from webbalign.products.stacks import Box, StackGrid, Stacking

__all__ = ["StoredStack", "keep_stack", "kept_stack", "stack_recipe"]

_NOT_WHOLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True, eq=False)
class StoredStack:
    """A stack on the disk; small, so that it can be sent to another process.

    Attributes
    ----------
    path : Path
    name : str
        Of the visit that it shows.
    origin : tuple of int
        Row and column of its first pixel on the grid.
    shape : tuple of int
        (ny, nx).
    n_images : int
    has_data : bool
        Whether any of its pixels is good.
    place_cov : ndarray (3, 3)
    place_point : ndarray (2,)
        As of :class:`webbalign.core.image_pairs.GridImage`.
    """

    path: Path
    name: str
    origin: tuple[int, int]
    shape: tuple[int, int]
    n_images: int
    has_data: bool
    place_cov: NDArray[np.float64] = field(repr=False)
    place_point: NDArray[np.float64] = field(repr=False)

    @classmethod
    def opened(cls, path: Path) -> StoredStack:
        """Open a stack that :func:`keep_stack` has written.

        Raises
        ------
        OSError, ValueError, KeyError, zipfile.BadZipFile
            If it is none.
        """
        with np.load(path, allow_pickle=False) as stored:
            y0, x0 = (int(corner) for corner in stored["origin"])
            ny, nx = (int(size) for size in stored["shape"])
            return cls(
                path=path,
                name=str(stored["name"]),
                origin=(y0, x0),
                shape=(ny, nx),
                n_images=int(stored["n_images"]),
                has_data=bool(stored["has_data"]),
                place_cov=stored["place_cov"],
                place_point=stored["place_point"],
            )

    def cut(self, box: Box) -> GridImage:
        """Read the part of the stack that lies in a box of the grid."""
        own = Box(*(edge for at, n in zip(self.origin, self.shape, strict=True)
                    for edge in (at, at + n)))  # fmt: skip
        part = own.common(box)
        rows = (part.y0 - own.y0, max(part.y1, part.y0) - own.y0)
        columns = slice(part.x0 - own.x0, max(part.x1, part.x0) - own.x0)
        return GridImage(
            name=self.name,
            data=_rows(self.path, "data", rows)[:, columns].copy(),
            weight=_rows(self.path, "weight", rows)[:, columns].copy(),
            origin=(part.y0, part.x0),
            n_images=self.n_images,
            place_cov=self.place_cov,
            place_point=self.place_point,
        )


def _rows(path: Path, name: str, rows: tuple[int, int]) -> NDArray[np.float32]:
    """Read some rows of an array, and nothing else."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        np.lib.format.read_magic(file)
        shape, _, kind = np.lib.format.read_array_header_1_0(file)
        one = shape[1] * kind.itemsize
        file.seek(file.tell() + rows[0] * one)
        content = file.read((rows[1] - rows[0]) * one)
    return np.frombuffer(content, kind).reshape(rows[1] - rows[0], shape[1])


def stack_recipe(
    name: str, paths: list[Path], grid: StackGrid, options: Stacking, box: Box
) -> Recipe:
    """Return all that a stack depends on.

    Parameters
    ----------
    name : str
    paths : list of Path
        Its images.
    grid : StackGrid
    options : Stacking
    box : Box
        Part of the grid.
    """
    said: dict[str, Any] = {
        "name": name,
        "plane": grid.plane.axes.tolist(),
        "pixel_scale": grid.pixel_scale,
        "box": box,
        "stacking": describe(options),
    }
    texts = {key: str(value) for key, value in said.items()}
    return Recipe("wcs-adjust get, stack", texts, of_inputs(paths))


def keep_stack(stack: GridImage, recipe: Recipe, path: Path) -> StoredStack:
    """Write a stack, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, recipe) as temporary:
        np.savez(
            temporary,
            name=np.array(stack.name),
            data=stack.data.astype(np.float32, order="C", copy=False),
            weight=stack.weight.astype(np.float32, order="C", copy=False),
            origin=np.array(stack.origin),
            shape=np.array(stack.data.shape),
            n_images=np.array(stack.n_images),
            has_data=np.array(bool(np.isfinite(stack.data).any())),
            place_cov=stack.place_cov,
            place_point=stack.place_point,
        )
    return StoredStack.opened(path)


def kept_stack(recipe: Recipe, path: Path) -> StoredStack | None:
    """Open a stack; None if there is none of this recipe, or the file is not whole."""
    if keep(path, recipe) is None:
        return None
    try:
        return StoredStack.opened(path)
    except _NOT_WHOLE:
        return None
