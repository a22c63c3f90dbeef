"""The tangent-plane grid on which exposures are combined."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core.errors import InputError
from webbalign.core.resample import Resample
from webbalign.products.sphere import mean_pixel_area, middle, sky_boundary, to_plane

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = ["OutputGrid", "output_grid", "output_wcs"]

_LARGEST = 2**28  # pixels: 1 GB for one float32 image
_ARCSEC = math.degrees(1.0) * 3600.0


@dataclass(frozen=True)
class OutputGrid:
    """A grid on the sky.

    Attributes
    ----------
    wcs : gwcs.WCS
        With ``array_shape`` and bounding box set.
    shape : (int, int)
        (ny, nx).
    pixel_scale : float
        Arcsec per pixel.
    pixel_scale_ratio : float
        In units of the pixel scale of the first exposure.
    """

    wcs: WCS
    shape: tuple[int, int]
    pixel_scale: float
    pixel_scale_ratio: float

    @property
    def pixel_area(self) -> float:
        """Area of a pixel, in steradian."""
        return float((self.pixel_scale / _ARCSEC) ** 2)


def output_wcs(
    wcs_list: Sequence[WCS],
    shapes: Sequence[tuple[int, ...]],
    options: Resample | None = None,
    **details: Any,
) -> WCS:
    """Return the WCS of `output_grid`, for the same arguments."""
    return output_grid(wcs_list, shapes, options, **details).wcs


def output_grid(
    wcs_list: Sequence[WCS],
    shapes: Sequence[tuple[int, ...]],
    options: Resample | None = None,
    *,
    wcsinfo: Mapping[str, Any] | None = None,
    s_regions: Sequence[str | None] | None = None,
    nominal_pixel_area: float | None = None,
) -> OutputGrid:
    """Lay a tangent-plane grid over all exposures.

    Parameters
    ----------
    wcs_list : sequence of gwcs.WCS
        One per exposure; the first sets the pixel scale and, if ``rotation`` is None, the
        orientation.
    shapes : sequence of tuple
        Shape of each exposure; the last two items are (ny, nx).
    options : Resample, optional
        Those used: ``output_shape, crpix, crval, rotation, pixel_scale, pixel_scale_ratio,
        output_wcs, footprint``.
    wcsinfo : mapping, optional
        ``meta.wcsinfo`` of the first exposure; used: ``ra_ref, dec_ref, roll_ref, v3yangle,
        vparity``. Default: scale and orientation are measured at the centre of the image.
    s_regions : sequence of str or None, optional
        S_REGION of each exposure, for ``footprint="s_region"``; where one is missing the WCS
        serves.
    nominal_pixel_area : float, optional
        Pixel area of the first exposure in steradian, the unit of the pixel scale ratio if the
        grid comes from a file. Default: the mean area by the WCS.

    Returns
    -------
    OutputGrid

    Raises
    ------
    InputError
        If there is no exposure, the file of ``output_wcs`` cannot serve, or the grid is smaller
        than 2 pixels or larger than any memory.

    Notes
    -----
    With ``footprint="wcs"`` the grid contains the outer edges of all pixels, and a given
    ``output_shape`` without ``crpix`` is centred on the reference point. With ``"s_region"`` the
    grid is that of jwst 3.0: the lowest corner of the polygons is the centre of the first pixel,
    and a given shape is filled from that corner.
    """
    options = options or Resample()
    if not wcs_list:
        raise InputError(None, "no exposure to lay a grid over", "at least one")
    first, shape = wcs_list[0], shapes[0][-2:]
    if first.output_frame.naxes != 2:
        raise InputError(None, f"a WCS with {first.output_frame.naxes} axes", "two sky coordinates")
    if options.output_wcs:
        return _grid_from_file(options, first, shape, nominal_pixel_area)
    scale, ratio = _pixel_scale(first, shape, options, wcsinfo)
    pc = _orientation(first, shape, options.rotation, wcsinfo)
    polygons = _footprints(wcs_list, shapes, s_regions, options.footprint == "s_region")
    crval = np.array(options.crval) if options.crval else middle(np.vstack(polygons))
    corners = np.vstack([to_plane(polygon, crval) for polygon in polygons])
    pixels = np.linalg.solve(pc, corners.T / scale).T
    crpix, shape, box = _place(pixels.min(axis=0), pixels.max(axis=0), options)
    wcs = _tangent_wcs(first, crpix, crval, scale, pc)
    wcs.bounding_box = box
    wcs.array_shape = shape
    return OutputGrid(wcs, shape, 3600.0 * scale, ratio)


def _place(
    low: NDArray[Any], high: NDArray[Any], options: Resample
) -> tuple[NDArray[Any], tuple[int, int], tuple[tuple[float, float], ...]]:
    """Return crpix, (ny, nx) and bounding box for footprints from `low` to `high`."""
    as_jwst = options.footprint == "s_region"
    if options.crpix is not None:
        crpix = np.array(options.crpix)
    elif options.output_shape is not None and not as_jwst:
        crpix = (np.array(options.output_shape) - 1) / 2
    else:
        crpix = -low if as_jwst else -low - 0.5
    low, high = low + crpix, high + crpix
    # the small number keeps rounding errors from adding a row
    size = (high + 0.5).astype(int) if as_jwst else np.ceil(high + 0.5 - 1e-6).astype(int)
    begin = np.zeros(2, dtype=int)
    if options.output_shape is not None:
        wanted = np.array(options.output_shape)
        begin = np.maximum(0, (low + 0.5).astype(int)) if as_jwst else begin
        end = np.minimum(size, wanted) if as_jwst else wanted
        size = wanted
    else:
        end = size
    if (size < 2).any() or math.prod(size.tolist()) > _LARGEST:
        raise InputError(
            None,
            f"an output image of {size[0]} x {size[1]} pixels",
            "2 to some 10000 pixels a side; look at the positions of the exposures on the sky "
            "and at the options pixel_scale, crpix, crval and output_shape",
        )
    box = tuple((float(b) - 0.5, float(e) - 0.5) for b, e in zip(begin, end, strict=True))
    return crpix, (int(size[1]), int(size[0])), box


def _tangent_wcs(like: WCS, crpix: ArrayLike, crval: ArrayLike, scale: float, pc: ArrayLike) -> WCS:
    import gwcs
    from astropy.modeling.models import Pix2Sky_TAN
    from gwcs.fitswcs import FITSImagingWCSTransform

    transform = FITSImagingWCSTransform(
        Pix2Sky_TAN(), crpix=crpix, crval=crval, cdelt=[scale, scale], pc=pc
    )
    return gwcs.WCS([(like.input_frame, transform), (like.output_frame, None)])


def _grid_from_file(
    options: Resample, first: WCS, shape: tuple[int, ...], nominal_area: float | None
) -> OutputGrid:
    path = Path(options.output_wcs)
    wcs, tree = _read_wcs(path)
    wanted = options.output_shape[::-1] if options.output_shape else None
    known = wanted or wcs.array_shape or tree.get("array_shape")
    if known is None and tree.get("pixel_shape") is not None:
        known = tuple(tree["pixel_shape"])[::-1]
    if known is None and wcs.bounding_box is not None:
        (_, x_high), (_, y_high) = wcs.bounding_box.bounding_box(order="F")
        known = (int(y_high + 0.5), int(x_high + 0.5))
    if known is None:
        raise InputError(path, "a WCS without a size", "array_shape, or the option output_shape")
    wcs.array_shape = tuple(int(size) for size in known)
    scale = tree.get("pixel_scale")
    if scale is None and tree.get("pixel_area") is not None:
        area = float(tree["pixel_area"])
        # documented as steradian, read as arcsec**2 by jwst: no pixel of either kind is the other
        scale = math.sqrt(area) * (_ARCSEC if area < 1e-9 else 1.0)
    if scale is None:
        scale = math.sqrt(mean_pixel_area(wcs, wcs.array_shape)) * _ARCSEC
    area = nominal_area or mean_pixel_area(first, shape)
    return OutputGrid(
        wcs, wcs.array_shape, float(scale), float(scale) / (math.sqrt(area) * _ARCSEC)
    )


def _read_wcs(path: Path) -> tuple[WCS, Mapping[str, Any]]:
    import asdf
    import gwcs

    try:
        with asdf.open(path, memmap=False, lazy_load=False) as file:
            tree = {key: file.tree[key] for key in file.tree}
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({error})", "an ASDF file") from None
    wcs = tree.get("wcs")
    if not isinstance(wcs, gwcs.WCS) or wcs.output_frame.naxes != 2:
        raise InputError(path, "no celestial GWCS under the key wcs", "one with two axes")
    return copy.deepcopy(wcs), tree


def _pixel_scale(
    wcs: WCS, shape: tuple[int, ...], options: Resample, wcsinfo: Mapping[str, Any] | None
) -> tuple[float, float]:
    """Return the output scale in degrees, and its ratio to the input scale."""
    if options.pixel_scale is not None:
        scale = options.pixel_scale / 3600.0
        return scale, scale / math.degrees(math.sqrt(mean_pixel_area(wcs, shape)))
    x0, y0 = _centre(shape)
    if wcsinfo and wcsinfo.get("ra_ref") is not None and wcsinfo.get("dec_ref") is not None:
        x0, y0 = wcs.invert(wcsinfo["ra_ref"], wcsinfo["dec_ref"], with_bounding_box=False)
        if not np.isfinite([x0, y0]).all():
            x0, y0 = _centre(shape)
    jacobian = _jacobian(wcs, float(x0), float(y0))
    scale = math.sqrt(math.prod(np.hypot(*jacobian)))
    return scale * options.pixel_scale_ratio, options.pixel_scale_ratio


def _orientation(
    wcs: WCS,
    shape: tuple[int, ...],
    rotation: float | None,
    wcsinfo: Mapping[str, Any] | None,
) -> NDArray[np.float64]:
    """Return the PC matrix: [[p cos t, sin t], [-p sin t, cos t]] for angle t and parity p."""
    names = ("roll_ref", "v3yangle", "vparity")
    if wcsinfo and all(wcsinfo.get(name) is not None for name in names):
        parity = float(wcsinfo["vparity"])
        angle = math.radians(wcsinfo["roll_ref"]) - parity * math.radians(wcsinfo["v3yangle"])
    else:
        jacobian = _jacobian(wcs, *_centre(shape))
        parity = float(np.sign(np.linalg.det(jacobian)))
        angle = math.atan2(jacobian[0, 1], jacobian[1, 1])
    if rotation is not None:
        angle = math.radians(rotation)
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[parity * cosine, sine], [-parity * sine, cosine]])


def _centre(shape: tuple[int, ...]) -> tuple[float, float]:
    return (shape[1] - 1) / 2, (shape[0] - 1) / 2


def _jacobian(wcs: WCS, x: float, y: float) -> NDArray[np.float64]:
    """Return d(east, north)/d(x, y) by steps of one pixel, in degrees per pixel."""
    sky = np.array(wcs(np.array([x, x + 1, x]), np.array([y, y, y + 1]), with_bounding_box=False)).T
    return to_plane(sky[1:], sky[0]).T


def _footprints(
    wcs_list: Sequence[WCS],
    shapes: Sequence[tuple[int, ...]],
    s_regions: Sequence[str | None] | None,
    as_jwst: bool,
) -> list[NDArray[np.float64]]:
    polygons = []
    for index, (wcs, shape) in enumerate(zip(wcs_list, shapes, strict=True)):
        text = s_regions[index] if s_regions is not None else None
        if as_jwst and text:
            polygons += [_polygon(part) for part in text.split("POLYGON") if part.strip()]
        else:
            polygons.append(sky_boundary(wcs, shape, per_edge=1 if as_jwst else 8))
    if not np.isfinite(np.vstack(polygons)).all():
        raise InputError(None, "an exposure whose edges have no sky coordinates", "a valid WCS")
    return polygons


def _polygon(text: str) -> NDArray[np.float64]:
    try:
        numbers = [float(word) for word in text.split() if word.upper() != "ICRS"]
        return np.array(numbers).reshape(-1, 2)
    except ValueError:
        raise InputError(None, f"S_REGION {text!r}", "POLYGON ICRS ra dec ra dec ...") from None
