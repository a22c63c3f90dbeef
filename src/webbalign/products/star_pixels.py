"""Small pieces of images to look at, read slice by slice."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from webbalign.core.errors import InputError
from webbalign.products.names import root

__all__ = ["find_images", "read_stamps", "read_thumbnail"]

Image = NDArray[np.float32]

_EXPECTED = "a 2-D image"


def find_images(folders: Sequence[str | Path], names: Sequence[str]) -> dict[str, Path]:
    """Find the files of images by their names, whatever their suffix.

    Parameters
    ----------
    folders : sequence of str or Path
        Where they may lie, or in folders below; a file stands for itself. The first wins, and of a
        folder the ``_tweakreg`` file.
    names : sequence of str
        File names of the images.

    Returns
    -------
    dict
        By name; images that are not found are left out.
    """
    wanted = {root(name): name for name in names}
    found: dict[str, Path] = {}
    for folder in map(Path, folders):
        near = sorted(folder.glob("*.fits*")) if folder.is_dir() else [folder]
        below = sorted(folder.glob("*/*.fits*")) if folder.is_dir() else []
        # products are the newer ones
        near.sort(key=lambda path: not path.name.startswith(f"{root(path)}_tweakreg"))
        for path in (*near, *below):
            name = wanted.get(root(path))
            if name is not None and name not in found and _is_image(path):
                found[name] = path
    return found


def _is_image(path: Path) -> bool:
    """Whether a file is one of an image's, not its catalog or what was made of several."""
    suffix = path.name.removesuffix(".gz").removesuffix(".fits").removeprefix(root(path))
    return suffix in ("_cal", "_tweakreg", "_crf", "_rate") and path.is_file()


def read_thumbnail(path: str | Path, longest: int = 256) -> tuple[Image, int]:
    """Read an image as means over blocks of pixels, a band of rows at a time.

    Parameters
    ----------
    path : str or Path
    longest : int
        Largest number of blocks along an axis.

    Returns
    -------
    image : ndarray, shape (ny, nx)
        NaN where no pixel is good.
    step : int
        Pixels of a block along each axis; what is left over at the far edges is cut off.

    Raises
    ------
    InputError
        If the file holds no such image.
    """
    with _science(path) as (science, (ny, nx)):
        step = max(1, -(-max(ny, nx) // longest))
        columns = nx // step
        rows = []
        for first in range(0, ny - step + 1, step):
            band = np.asarray(science.section[first : first + step, : columns * step], np.float32)
            rows.append(_means(band.reshape(step, columns, step), axis=(0, 2)))
        return np.stack(rows), step


def read_stamps(path: str | Path, xy: NDArray[np.float64], half: int) -> list[Image]:
    """Read squares about positions.

    Parameters
    ----------
    path : str or Path
    xy : ndarray, shape (n, 2)
        0-based pixels.
    half : int
        Pixels on each side of the middle one, which is the nearest to the position.

    Returns
    -------
    list of ndarray, shape (2 half + 1, 2 half + 1)
        NaN outside the image.

    Raises
    ------
    InputError
        If the file holds no such image.
    """
    found = []
    with _science(path) as (science, (ny, nx)):
        for x, y in np.rint(xy).astype(int):
            stamp = np.full((2 * half + 1, 2 * half + 1), np.nan, np.float32)
            x0, x1 = max(x - half, 0), min(x + half + 1, nx)
            y0, y1 = max(y - half, 0), min(y + half + 1, ny)
            if x0 < x1 and y0 < y1:
                part = np.asarray(science.section[y0:y1, x0:x1], np.float32)
                top, left = y0 - y + half, x0 - x + half
                stamp[top : top + y1 - y0, left : left + x1 - x0] = part
            found.append(stamp)
    return found


class _science:
    """The SCI extension of a file with its shape, or an error that names the file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> tuple[fits.ImageHDU, tuple[int, int]]:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module=r"astropy\.io\.fits")
                self.file = fits.open(self.path, memmap=True)
                names = [layer.name for layer in self.file]
                science = self.file["SCI"] if names.count("SCI") else None
        except (OSError, ValueError, TypeError) as error:
            raise InputError(self.path, f"not readable as FITS ({error})", _EXPECTED) from None
        if science is None or len(science.shape) != 2:
            self.file.close()
            raise InputError(self.path, "no 2-D SCI extension", _EXPECTED)
        return science, science.shape

    def __exit__(self, *_: object) -> None:
        self.file.close()


def _means(values: Image, axis: tuple[int, int]) -> Image:
    good = np.isfinite(values)
    total = np.where(good, values, 0.0).sum(axis=axis)
    number = good.sum(axis=axis)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(np.float32)
