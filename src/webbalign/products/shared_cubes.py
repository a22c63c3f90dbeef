"""Cubes that several processes read: sent as the name of a file, read in parts.

Within a process a cube remains the arrays of its model. Only if it is pickled, which is what an
executor with processes of its own does to it, the file is looked for that holds the same numbers;
if there is none, one is written into the hidden folder.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from webbalign.core.mapped import release, scratch_of, visit
from webbalign.products.atomic import discard, reserve

if TYPE_CHECKING:  # workers do without: they read numbers
    from stdatamodels.jwst.datamodels import JwstDataModel

__all__ = ["CubeFile", "Images", "Place", "SharedCube"]

NAMES = ("data", "err", "dq")
_EXTENSIONS = {"data": "SCI", "err": "ERR", "dq": "DQ"}
_DTYPES = {"data": np.dtype("f4"), "err": np.dtype("f4"), "dq": np.dtype("u4")}
_DQ_ZERO = np.uint32(1 << 31)
# Images compared at a time with those of a file.
_COMPARED = 16


class Images(NamedTuple):
    """Some images of a cube, each of shape (n, ny, nx); float32, float32 and uint32."""

    data: np.ndarray
    err: np.ndarray
    dq: np.ndarray


@dataclass(frozen=True)
class Place:
    """Where an array lies in a file.

    Attributes
    ----------
    offset : int
        Bytes before it.
    dtype : str
    is_offset : bool
        Whether unsigned integers are stored as signed ones less 2^31, as in FITS.
    """

    offset: int
    dtype: str
    is_offset: bool = False

    def read(self, file: BinaryIO, start: int, shape: tuple[int, ...]) -> np.ndarray:
        """Return an array of `shape` in the machine's byte order, from value number `start` on.

        Raises
        ------
        OSError
            If the file ends too early.
        """
        file.seek(self.offset + start * np.dtype(self.dtype).itemsize)
        values = np.fromfile(file, np.dtype(self.dtype), int(np.prod(shape)))
        if values.size != np.prod(shape):
            raise OSError(f"{file.name} ends too early")
        if not values.dtype.isnative:
            # in place: a second copy may have hundreds of MB
            values = values.byteswap(inplace=True).view(values.dtype.newbyteorder("="))
        if self.is_offset:
            values = values.view(np.uint32)
            values ^= _DQ_ZERO
        return values.reshape(shape)


@dataclass(frozen=True)
class CubeFile:
    """SCI, ERR and DQ of a cube in a file; equal if file and content are.

    Attributes
    ----------
    path : str
    shape : tuple of int
        (n, ny, nx).
    places : tuple of Place
        Of data, err and dq; None: the array is not there and counts as zero.
    mark : tuple of int
        Size and time of change (ns) of the file.
    """

    path: str
    shape: tuple[int, int, int]
    places: tuple[Place | None, ...]
    mark: tuple[int, int]

    def read(self, part: slice) -> Images:
        """Return some of the images."""
        with open(self.path, "rb") as file:
            return Images(*(self._read(file, name, part) for name in NAMES))

    def read_flags(self, part: slice) -> np.ndarray:
        """Return the flags of some of the images."""
        with open(self.path, "rb") as file:
            return self._read(file, "dq", part)

    def write(self, start: int, images: Images) -> None:
        """Replace images, beginning with number `start`; other processes may write others."""
        with open(self.path, "r+b") as file:
            for place, values in zip(self.places, images, strict=True):
                if place is not None:
                    file.seek(self._offset(place, start))
                    for image in values:  # converted one by one: they may have hundreds of MB
                        if place.is_offset:
                            image = (image ^ _DQ_ZERO).view(np.int32)
                        image.astype(place.dtype, copy=False).tofile(file)

    def _offset(self, place: Place, index: int) -> int:
        return place.offset + index * self.shape[1] * self.shape[2] * np.dtype(place.dtype).itemsize

    def _read(self, file: BinaryIO, name: str, part: slice) -> np.ndarray:
        start, stop, _ = part.indices(self.shape[0])
        shape = (max(stop - start, 0), *self.shape[1:])
        place = self.places[NAMES.index(name)]
        if place is None:
            return np.zeros(shape, _DTYPES[name])
        return place.read(file, start * self.shape[1] * self.shape[2], shape)


class SharedCube:
    """The cube of a model, as it is now.

    Parameters
    ----------
    model : JwstDataModel
        With ``data``, ``err`` and ``dq`` of one shape (n, ny, nx). They must not change.
    folder : Path
        Where a file may be written, in the hidden folder.
    """

    def __init__(self, model: JwstDataModel, folder: str | Path) -> None:
        self._arrays = {name: getattr(model, name) for name in NAMES}
        self._folder = Path(folder).resolve()  # workers may have another current folder
        self._candidates = [getattr(model, name, None) for name in ("_saved_path", "_source_path")]
        self.shape: tuple[int, int, int] = tuple(self._arrays["data"].shape)
        self._file: CubeFile | None = None
        self._spilled: Path | None = None
        self._lock = threading.Lock()

    def read(self, part: slice) -> Images:
        """Return some of the images, as in the model (and not to be written to) or copied."""
        return Images(*(self._read(name, part) for name in NAMES))

    def _read(self, name: str, part: slice) -> np.ndarray:
        cube = self._arrays[name]
        if scratch_of(cube) is None:
            images = np.asarray(cube[part], _DTYPES[name]).view()
            images.flags.writeable = False
            return images
        copied = np.array(cube[part], _DTYPES[name])
        release(cube)
        return copied

    def read_flags(self, part: slice) -> np.ndarray:
        """Return the flags of some of the images."""
        return self._read("dq", part)

    def __reduce__(self) -> tuple[Any, ...]:
        file = self.located()
        return CubeFile, (file.path, file.shape, file.places, file.mark)

    def located(self) -> CubeFile:
        """Return the file with these numbers, written if there is none."""
        with self._lock:  # an executor may pickle in a thread of its own
            if self._file is None:
                known = (_find(path, self._arrays) for path in self._candidates if path)
                self._file = next((file for file in known if file), None) or self._spill()
        return self._file

    def _spill(self) -> CubeFile:
        self._spilled = reserve(self._folder / "cube.raw")
        weakref.finalize(self, discard, self._spilled)
        places, size = [], int(np.prod(self.shape)) * 4
        with open(self._spilled, "wb") as file:
            for number, name in enumerate(NAMES):
                cube = self._arrays[name]
                for index in visit(cube):
                    np.asarray(cube[index], _DTYPES[name]).tofile(file)
                places.append(Place(number * size, _DTYPES[name].str))
        return CubeFile(str(self._spilled), self.shape, tuple(places), _mark(self._spilled))

    def close(self) -> None:
        """Remove the file that was written, if one was."""
        with self._lock:
            if self._spilled is not None:
                discard(self._spilled)
            self._file = self._spilled = None


def _find(path: str, arrays: dict[str, np.ndarray]) -> CubeFile | None:
    """Return a FITS file as a CubeFile if it holds these arrays, to the bit."""
    try:
        file = _described(path, arrays["data"].shape)
        if file is not None and _holds(file, arrays):
            return file
    except (OSError, ValueError, TypeError):
        pass  # not to be read in parts: it may be compressed
    return None


def _described(path: str, shape: tuple[int, ...]) -> CubeFile | None:
    from astropy.io import fits

    places = []
    with open(path, "rb") as raw:
        if raw.read(9) != b"SIMPLE  =":
            return None
    with fits.open(path, memmap=True) as hdulist:
        for name, extname in _EXTENSIONS.items():
            hdu = next((hdu for hdu in hdulist if hdu.name == extname), None)
            if not isinstance(hdu, fits.ImageHDU) or hdu.shape != shape:
                return None
            header = hdu.header
            zero = header.get("BZERO", 0)
            expected = (32, 1 << 31) if name == "dq" else (-32, 0)
            if (header["BITPIX"], zero) != expected or header.get("BSCALE", 1) != 1:
                return None
            dtype = ">i4" if name == "dq" else ">f4"
            places.append(Place(hdu.fileinfo()["datLoc"], dtype, name == "dq"))
    return CubeFile(str(Path(path).resolve()), shape, tuple(places), _mark(path))  # type: ignore[arg-type]


def _holds(file: CubeFile, arrays: dict[str, np.ndarray]) -> bool:
    for start in range(0, file.shape[0], _COMPARED):
        part = slice(start, start + _COMPARED)
        for name, stored in zip(NAMES, file.read(part), strict=True):
            own = np.ascontiguousarray(arrays[name][part], _DTYPES[name])
            if arrays[name].dtype.newbyteorder("=") != _DTYPES[name]:
                return False
            # as integers: a NaN equals itself then
            if not np.array_equal(own.view(np.uint32), stored.view(np.uint32)):
                return False
        release(*arrays.values())
    return True


def _mark(path: str | Path) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns
