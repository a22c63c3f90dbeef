"""4-D products that do not fit in memory: written and read one integration at a time.

A ``_psfalign`` product of shape (nints, npsfs, ny, nx) easily takes several GB. It is an ordinary
FITS file of a ``QuadModel``; only the way it is written and read differs. Plain file reads are
used, not memory maps, because mapped pages count as resident memory.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from stdatamodels.jwst.datamodels import CubeModel, JwstDataModel, QuadModel

from webbalign.core.errors import InputError, WebbalignError
from webbalign.products.aligned_sets import AlignedSets, CalledSets, StoredSets
from webbalign.products.atomic import Seal, discard, reserve
from webbalign.products.models import (
    add_extension,
    open_cube,
    quiet_schema_warnings,
    take_metadata,
    write_model,
)
from webbalign.products.shared_cubes import CubeFile, Images, Place

__all__ = [
    "AlignedSlice",
    "QuadWriter",
    "StreamedQuadModel",
    "array_header",
    "open_aligned",
    "open_quad",
]

_BLOCK = 2880  # FITS files consist of blocks of this size
# extension -> (attribute, bytes on disk); unsigned integers are stored as signed ones plus BZERO
_ARRAYS = {"SCI": np.dtype(">f4"), "DQ": np.dtype(">i4"), "ERR": np.dtype(">f4")}


# The references aligned to one integration.
AlignedSlice = Images


class QuadWriter:
    """Write a QuadModel file one integration at a time.

    Use as a context manager; :meth:`finish` completes the file, anything else discards it.

    Parameters
    ----------
    path : Path
        Where the product will lie. Until it is moved there it stays in the hidden folder.
    shape : tuple of int
        (nints, npsfs, ny, nx).
    like : JwstDataModel
        Gives the metadata.

    Attributes
    ----------
    model : QuadModel
        Holds the metadata; it may be changed until :meth:`finish`.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int], like: JwstDataModel) -> None:
        self.path, self.shape = path, shape
        self._check_space()
        self._temporary = reserve(path)
        self._finished = False
        self.model = QuadModel(validate_on_assignment=False)
        take_metadata(self.model, like)
        # not buffered: workers write into it, too
        self._file: BinaryIO = open(self._temporary, "wb", buffering=0)  # noqa: SIM115
        self._offsets: dict[str, int] = {}

    def __enter__(self) -> QuadWriter:
        try:
            self._reserve_arrays()
        except BaseException:
            self._give_up()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._finished:
            self._give_up()

    def _give_up(self) -> None:
        self._file.close()
        discard(self._temporary)

    def _check_space(self) -> None:
        need = sum(dtype.itemsize for dtype in _ARRAYS.values()) * int(np.prod(self.shape))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.path.parent).free
        if need > 0.95 * free:
            raise WebbalignError(
                f"{need / 1e9:.1f} GB are needed, but only {free / 1e9:.1f} GB are free - "
                f"{self.path} - give another --output-dir, --align-refs.align-to first, "
                "or --no-align-refs.save-psfalign"
            )

    def _reserve_arrays(self) -> None:
        # The primary header is written last, when all statuses are known; leave room for it.
        primary, cards, _ = self._metadata()
        self._primary_size = len(primary) + 4 * _BLOCK
        self._file.seek(self._primary_size)
        for name, dtype in _ARRAYS.items():
            with quiet_schema_warnings():
                header = array_header(name, self.shape, cards.get(name)).tostring()
            self._file.write(header.encode("ascii"))
            self._offsets[name] = self._file.tell()
            size = int(np.prod(self.shape)) * dtype.itemsize
            self._file.seek(size + -size % _BLOCK, os.SEEK_CUR)
        self._end = self._file.tell()

    def _metadata(self) -> tuple[bytes, dict[str, fits.Header], bytes]:
        """Let stdatamodels make everything but the arrays.

        Returns the primary header, the keywords that belong to the arrays' headers, and the
        extensions that follow the arrays.
        """
        scratch = self._temporary.with_suffix(".head.fits")
        try:
            write_model(self.model, scratch)
            with quiet_schema_warnings(), fits.open(scratch, memmap=False) as hdulist:
                hdulist[0].header["FILENAME"] = self.path.name
                cards = {hdu.name: hdu.header for hdu in hdulist if hdu.name in _ARRAYS}
                others = [hdu for hdu in hdulist if hdu.name not in _ARRAYS]
                buffer = io.BytesIO()
                fits.HDUList(others).writeto(buffer)
                start = len(others[0].header.tostring())
        finally:
            scratch.unlink(missing_ok=True)
        content = buffer.getvalue()
        return content[:start], cards, content[start:]

    @property
    def sets(self) -> StoredSets:
        """Where the sets lie in the file: any process may write them, each its own."""
        return _stored(self._temporary, self.shape, self._offsets)

    def write(self, index: int, part: AlignedSlice) -> None:
        """Write integration `index`."""
        for name, array in part._asdict().items():
            if array.shape != self.shape[1:]:
                raise ValueError(f"{name} has shape {array.shape}, the product {self.shape[1:]}")
        self.sets.put(index, slice(0, self.shape[1]), part)

    def finish(self, table: np.ndarray | None = None) -> StreamedQuadModel:
        """Complete the file and return a lazily opened model of it.

        Parameters
        ----------
        table : ndarray, optional
            Structured array for the extension SHIFTS.
        """
        if table is not None:
            add_extension(self.model, "SHIFTS", table)
        primary, _, tail = self._metadata()
        self._file.seek(self._end)
        self._file.write(tail)
        self._file.seek(0)
        self._file.write(_padded(primary, self._primary_size))
        self._file.close()
        self._finished = True
        return StreamedQuadModel.from_file(self._temporary, final=self.path)


def _stored(path: Path, shape: tuple[int, ...], offsets: Mapping[str, int]) -> StoredSets:
    nints, npsfs, ny, nx = shape
    places = (
        Place(offsets[name], _ARRAYS[name].str, name == "DQ") if name in offsets else None
        for name in ("SCI", "ERR", "DQ")
    )
    status = path.stat()
    mark = (status.st_size, status.st_mtime_ns)
    file = CubeFile(str(path.resolve()), (nints * npsfs, ny, nx), tuple(places), mark)
    return StoredSets(file, npsfs)


def _padded(header: bytes, size: int) -> bytes:
    """Fill a FITS header up to `size` bytes with blank cards (END stays the last card)."""
    end = header.rindex(b"END".ljust(80))
    return header[:end].ljust(size - 80) + b"END".ljust(80)


def array_header(name: str, shape: tuple[int, ...], cards: fits.Header | None) -> fits.Header:
    """Return the header of an extension with an array that `raw_cubes.write_image` writes."""
    header = fits.Header()
    header["XTENSION"] = ("IMAGE", "Image extension")
    header["BITPIX"] = (32 if name == "DQ" else -32, "array data type")
    header["NAXIS"] = (len(shape), "number of array dimensions")
    for axis, length in enumerate(reversed(shape), start=1):
        header[f"NAXIS{axis}"] = length
    header["PCOUNT"] = (0, "number of parameters")
    header["GCOUNT"] = (1, "number of groups")
    header["EXTNAME"] = (name, "extension name")
    header["EXTVER"] = (1, "extension value")
    if name == "DQ":
        header["BSCALE"] = 1
        header["BZERO"] = 1 << 31
    header.extend((cards or fits.Header()).copy(strip=True), update=False, unique=True)
    return header


class LazyQuadModel(QuadModel):
    """A QuadModel whose arrays are not in memory.

    :meth:`part` gives one integration. ``data``, ``err`` and ``dq`` collect all of them at each
    access, for the sake of whatever expects an ordinary model.
    """

    _shape: tuple[int, ...] | None = None

    @property
    def _model_type(self) -> str:
        return "QuadModel"

    @property
    def shape(self) -> Any:
        """(nints, npsfs, ny, nx)."""
        return self._shape

    @property
    def sets(self) -> AlignedSets:
        """The integrations, each in parts."""
        raise NotImplementedError

    def part(self, index: int) -> AlignedSlice:
        """Return integration `index`."""
        blocks = [images for _, images in self.sets.blocks(index)]
        if len(blocks) == 1:
            return blocks[0]
        return AlignedSlice(*map(np.concatenate, zip(*blocks, strict=True)))

    @property
    def data(self) -> np.ndarray | None:
        """All aligned images."""
        return self._whole("data")

    @property
    def err(self) -> np.ndarray | None:
        """All errors."""
        return self._whole("err")

    @property
    def dq(self) -> np.ndarray | None:
        """All flags."""
        return self._whole("dq")

    def _whole(self, name: str) -> np.ndarray | None:
        # the base class looks at its arrays before there are any
        if self._shape is None:
            return None
        return np.stack([getattr(self.part(i), name) for i in range(self._shape[0])])


class ComputedQuad(LazyQuadModel):
    """A 4-D product that is never written: each integration is computed when it is asked for.

    Parameters
    ----------
    like : JwstDataModel
        Gives the metadata.
    shape : tuple of int
        (nints, npsfs, ny, nx).
    part : AlignedSets or callable
        What makes them; or ``part(index)`` returns an :class:`AlignedSlice`.
    """

    def __init__(
        self,
        like: JwstDataModel,
        shape: tuple[int, int, int, int],
        part: AlignedSets | Callable[[int], AlignedSlice],
    ) -> None:
        super().__init__(validate_on_assignment=False)
        take_metadata(self, like)
        self._shape = shape
        self._sets = CalledSets(shape, part) if callable(part) else part

    @property
    def sets(self) -> AlignedSets:
        """The integrations, each in parts."""
        sets: AlignedSets = self._sets
        return sets


class StreamedQuadModel(LazyQuadModel):
    """A 4-D product whose arrays stay in its file.

    It is written in the hidden folder; :meth:`save` moves it to its place.
    """

    saves_atomically = True
    _path: Path
    _final: Path

    @classmethod
    def from_file(cls, path: Path, final: Path | None = None) -> StreamedQuadModel:
        """Open a QuadModel file without its arrays."""
        with quiet_schema_warnings(), fits.open(path, memmap=True) as hdulist:
            offsets = {}
            for name in _ARRAYS:
                if name in hdulist:
                    info = hdulist[name].fileinfo()
                    offsets[name] = (info["datLoc"], hdulist[name].header["BITPIX"])
            shape = hdulist["SCI"].shape
            # the ASDF extension points to the arrays; all that is needed is in the headers
            left_out = {*_ARRAYS, "ASDF"}
            small = [hdu.copy() for hdu in hdulist if hdu.name not in left_out]
            model = cls(fits.HDUList(small), validate_on_assignment=False)
        model._path, model._final, model._offsets = path, final or path, offsets
        model._shape = shape
        model.meta.filename = model._final.name
        return model

    @property
    def is_temporary(self) -> bool:
        """Whether the file still lies in the hidden folder."""
        return bool(self._path != self._final)

    @property
    def sets(self) -> AlignedSets:
        """The integrations, each in parts."""
        for name, (_, bitpix) in self._offsets.items():
            if abs(bitpix) != 8 * _ARRAYS[name].itemsize:
                raise InputError(self._path, f"{name} has BITPIX {bitpix}", "32 bits")
        offsets = {name: offset for name, (offset, _) in self._offsets.items()}
        return _stored(Path(self._path), self.shape, offsets)

    def seal(self, recipe: Seal) -> None:
        """Write what the product was made from into its file, before it is moved to its place."""
        recipe.seal(self._path)

    def save(self, path: str | Path, dir_path: str | None = None, *args: Any, **kwargs: Any) -> str:
        """Move the file to its place (or copy it, once it has one)."""
        target = Path(dir_path, path) if dir_path else Path(path)
        if self.is_temporary:
            os.replace(self._path, target)
            discard(self._path)  # its folder, which is empty now
            self._path = self._final = target
        elif target.resolve() != Path(self._path).resolve():
            shutil.copyfile(self._path, target)
        return str(target)

    def close(self) -> None:
        """Remove the file if it has never been saved."""
        super().close()
        if "_final" in self.__dict__ and self.is_temporary:
            discard(self._path)


def open_quad(path: str | Path) -> StreamedQuadModel:
    """Open a 4-D ``_psfalign`` file lazily.

    Raises
    ------
    InputError
        If the file is missing, unreadable or not 4-D.
    """
    path = Path(path)
    try:
        return StreamedQuadModel.from_file(path)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(path, f"not readable as QuadModel ({error})", "a 4-D psfalign") from None


def open_aligned(source: str | Path | JwstDataModel) -> CubeModel | StreamedQuadModel:
    """Open a ``_psfalign`` product (or a ``_psfstack`` in its place).

    Returns
    -------
    CubeModel or StreamedQuadModel
        3-D: (npsfs, ny, nx), or 4-D: (nints, npsfs, ny, nx), opened lazily.

    Raises
    ------
    InputError
        If the file is missing, unreadable or has another number of dimensions.
    """
    if isinstance(source, JwstDataModel):
        return source
    path = Path(source)
    if not path.is_file():
        raise InputError(path, "no such file", "a _psfalign file")
    with fits.open(path) as hdulist:
        n_axes = hdulist["SCI"].header["NAXIS"] if "SCI" in hdulist else 0
    return open_quad(path) if n_axes == 4 else open_cube(path, wcs=False, need_errors=False)
