"""Long exposures without their cubes in memory: opened, and saved again, image by image.

The arrays of an exposure are copied into a scratch file that has no name and is gone with the last
array, or the process. They remain ordinary arrays to whoever uses them; see
:mod:`webbalign.core.mapped`.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from stdatamodels.jwst.datamodels import CubeModel, JwstDataModel

from webbalign.core.mapped import Scratch, scratch_of, visit
from webbalign.products import models
from webbalign.products.atomic import Seal, atomic_path
from webbalign.products.flagged import copied, forget_sums, renew_headers
from webbalign.products.headers import read_header
from webbalign.products.raw_cubes import plain_cubes, write_image
from webbalign.products.shared_cubes import Place
from webbalign.products.streams import array_header

__all__ = ["allocate", "hold", "is_held", "is_large", "save_held"]

# Exposures up to this size (bytes of SCI, ERR, DQ and three VAR_*) stay in memory: a scratch file
# would take time for nothing.
SMALL = 50e6
_BYTES_PER_PIXEL = 24
_BLOCK = 2880  # FITS files consist of blocks of this size


def hold(
    path: str | Path, folder: str | Path, *, wcs: bool = True, header: bool = True
) -> CubeModel:
    """Open a cube of integrations; if it is large, keep its arrays in a scratch file.

    Parameters
    ----------
    path : str or Path
        As for :func:`webbalign.products.models.open_cube`.
    folder : str or Path
        Where the scratch file is to lie.
    wcs, header : bool
        As for ``open_cube``.

    Returns
    -------
    CubeModel
        As ``open_cube`` would return it.

    Raises
    ------
    InputError
        If the file cannot be used; the message names it.
    """
    path, known = Path(path), read_header(path)
    if known.nints * int(np.prod(known.image_shape)) * _BYTES_PER_PIXEL <= SMALL:
        return models.open_cube(path, wcs=wcs, header=header)
    with models.quiet_schema_warnings(), fits.open(path, memmap=False) as hdulist:
        shape = (known.nints, *known.image_shape)
        cubes = {}
        # a full disk, or a damaged file: the ordinary way of opening has the words for it
        with contextlib.suppress(OSError, TypeError, ValueError):
            plain = plain_cubes(path, hdulist)
            for name, extname in models.EXTENSIONS.items():
                if extname in plain:
                    cubes[name] = _in_scratch(path, plain[extname], shape, folder)
                elif extname in hdulist and _is_image(hdulist[extname], shape):
                    cubes[name] = _copied(hdulist[extname], folder, name == "dq")
        if not {"data", "dq"} <= set(cubes):
            return models.open_cube(path, wcs=wcs, header=header)
        for name in cubes:
            # The ASDF extension points to an array of that name. It is put where astropy keeps what
            # it has read, past the header: changed headers void the digits that ASDF has more.
            kind = np.uint32 if name == "dq" else np.float32
            vars(hdulist[models.EXTENSIONS[name]])["data"] = np.zeros((1, 1, 1), kind)
        return models.opened(path, hdulist, wcs=wcs, header=header, cubes=cubes)


def _is_image(hdu: Any, shape: tuple[int, ...]) -> bool:
    return isinstance(hdu, fits.ImageHDU) and hdu.shape == shape


def _in_scratch(path: Path, place: Place, shape: tuple[int, ...], folder: str | Path) -> np.ndarray:
    cube = _in_file(shape, np.dtype(np.uint32 if place.is_offset else np.float32), str(folder))
    with open(path, "rb") as file:
        for index in visit(cube):
            cube[index] = place.read(file, index * cube[0].size, shape[1:])
    return cube


def _copied(hdu: Any, folder: str | Path, flags: bool) -> np.ndarray:
    cube = _in_file(hdu.shape, np.dtype(np.uint32 if flags else np.float32), str(folder))
    for index in visit(cube):
        cube[index] = hdu.section[index]
    return cube


def allocate(like: np.ndarray) -> np.ndarray:
    """Return zeros in the shape and type of a cube: in a scratch file, if that one is in one."""
    scratch = scratch_of(like)
    if scratch is None:
        return np.zeros_like(like)
    return _in_file(like.shape, like.dtype, scratch.folder)


def _in_file(shape: tuple[int, ...], dtype: np.dtype, folder: str) -> np.ndarray:
    size = int(np.prod(shape)) * dtype.itemsize
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            # on a full disk an error now, instead of the end of the process when it is written to
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        scratch = Scratch(file.fileno(), size)
    scratch.folder = folder
    return np.ndarray(shape, dtype, buffer=scratch)


def is_held(model: JwstDataModel) -> bool:
    """Whether the cube of a model lies in a scratch file."""
    return scratch_of(getattr(model, "data", None)) is not None


def is_large(cube: np.ndarray) -> bool:
    """Whether a cube is so large that its file is better written image by image.

    Data models and astropy change the byte order of all of it in copies, several times.
    """
    return cube.size * _BYTES_PER_PIXEL > SMALL


def save_held(
    model: CubeModel,
    path: str | Path,
    *,
    flagged: bool = False,
    overwrite: bool = True,
    recipe: Seal | None = None,
) -> Path:
    """Save an exposure, such as :func:`hold` opens, atomically and image by image.

    Parameters
    ----------
    model : CubeModel
    path : str or Path
    flagged : bool
        As :func:`webbalign.products.flagged.save_flagged` does it, else as ``save``. The ASDF
        extension does not repeat where the cubes are; data models find them by name.
    overwrite : bool
    recipe : Recipe, optional
        What the product was made from, to be written into it.

    Raises
    ------
    InputError
        If the product exists and may not be replaced.
    """
    path = Path(path)
    models.refuse_existing(path, overwrite)
    cubes = {extname: cube for name, extname in models.EXTENSIONS.items()
             if (cube := model._instance.get(name)) is not None
             and cube.shape == model.data.shape}  # fmt: skip
    source = getattr(model, "_source_path", None)
    with models.quiet_schema_warnings(), atomic_path(path, recipe) as temporary:
        if not (flagged and source is not None and Path(source).is_file()):
            _assemble(_rest_of_model(model, temporary), cubes, temporary)
        elif (content := _copied_or_rest(model, source, cubes, path, temporary)) is not None:
            _assemble(content, cubes, temporary)
    model.meta.filename = path.name
    return path


def _copied_or_rest(
    model: CubeModel, source: str, cubes: Mapping[str, np.ndarray], path: Path, temporary: Path
) -> bytes | None:
    """Copy the file that an exposure came from, with new keywords and cubes, byte by byte.

    If it is not laid out so, return it with new keywords and without cubes.
    """
    buffer = io.BytesIO()
    with fits.open(source, memmap=False) as hdulist:
        renew_headers(hdulist, model, path)
        if copied(model, source, hdulist, temporary):
            return None
        forget_sums(hdulist)
        for extname in cubes:
            if extname in hdulist:
                hdulist[extname].data = None
        hdulist.writeto(buffer, output_verify="silentfix")
    return buffer.getvalue()


def _assemble(content: bytes, cubes: Mapping[str, np.ndarray], path: Path) -> None:
    with open(path, "wb") as file, fits.open(io.BytesIO(content)) as rest:
        _write(file, rest, content, cubes)


def _rest_of_model(model: CubeModel, temporary: Path) -> bytes:
    """Let stdatamodels make everything but the cubes."""
    light = models.new_model(CubeModel)
    names = [name for name in models.EXTENSIONS if name in model._instance]
    light._instance.update({k: v for k, v in model._instance.items() if k not in names})
    models.write_model(light, temporary)
    return temporary.read_bytes()


def _write(
    file: BinaryIO, rest: fits.HDUList, content: bytes, cubes: Mapping[str, np.ndarray]
) -> None:
    """Write a file with its cubes in their places."""
    hdus: list[Any] = list(rest)
    for before, name in pairwise(cubes):
        names = [hdu if isinstance(hdu, str) else hdu.name for hdu in hdus]
        if name not in names:  # it has no keywords of its own
            hdus.insert(names.index(before) + 1, name)
    left = dict(cubes)
    for hdu in hdus:
        name = hdu if isinstance(hdu, str) else hdu.name
        if name in left:
            _write_cube(file, name, left.pop(name), None if hdu is name else hdu.header)
        else:
            place = hdu.fileinfo()
            file.write(content[place["hdrLoc"] : place["datLoc"] + place["datSpan"]])


def _write_cube(file: BinaryIO, name: str, cube: np.ndarray, cards: fits.Header | None) -> None:
    header = array_header(name, cube.shape, cards)
    file.write(header.tostring().encode("ascii"))
    for index in visit(cube):
        write_image(file, cube[index], flags=name == "DQ")
    file.write(b"\0" * (-file.tell() % _BLOCK))
