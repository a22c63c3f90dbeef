"""FITS keywords that say the same as the GWCS."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webbalign.products.sphere import pixel_limits, sky_boundary, to_plane

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = [
    "combined_s_region",
    "fits_wcs_keywords",
    "header_error",
    "is_fitted_keyword",
    "s_region",
    "set_output_keywords",
    "update_fits_header_wcs",
]

_HEADER_TOLERANCE = 0.01  # px
_FITTED = re.compile(
    r"^((cd|pc)\d_\d|(cdelt|crpix|crval|ctype|cunit)\d|[ab]p?_\d_\d|[ab]p?_order"
    r"|sipmxerr|sipiverr|lonpole|latpole|radesys|wcsaxes|wcsname|mjdref)$"
)
_POINTING = ("v2_ref", "v3_ref", "ra_ref", "dec_ref", "roll_ref", "v3yangle", "vparity")


def is_fitted_keyword(keyword: str) -> bool:
    """Whether a keyword belongs to the celestial WCS that is fitted to a GWCS (any case)."""
    return _FITTED.match(keyword.lower()) is not None


def fits_wcs_keywords(wcs: WCS) -> dict[str, Any]:
    """FITS keywords, in lower case, of the WCS of an output image.

    Parameters
    ----------
    wcs : gwcs.WCS
        The tangent-plane WCS of `output_wcs`, or any other: then a linear WCS is fitted.

    Returns
    -------
    dict
        ``wcsaxes, crpix1, crval1, cdelt1, pc1_1, ctype1, cunit1, radesys`` and so on.
    """
    from gwcs.fitswcs import FITSImagingWCSTransform

    transform = wcs.forward_transform
    if not isinstance(transform, FITSImagingWCSTransform):
        return _fitted_keywords(wcs, wcs.array_shape, degree=1)
    code = transform.projection.prjprm.code
    frame = wcs.output_frame.reference_frame
    keywords: dict[str, Any] = {"wcsaxes": 2, "radesys": str(frame.name).upper()}
    for i, axis in enumerate(("RA", "DEC")):
        keywords[f"crpix{i + 1}"] = float(transform.crpix.value[i]) + 1.0
        keywords[f"crval{i + 1}"] = float(transform.crval.value[i])
        keywords[f"cdelt{i + 1}"] = float(transform.cdelt.value[i])
        keywords[f"ctype{i + 1}"] = f"{axis:-<5}{code}"
        keywords[f"cunit{i + 1}"] = "deg"
        for j in (0, 1):
            keywords[f"pc{i + 1}_{j + 1}"] = float(transform.pc.value[i][j])
    return keywords


def _fitted_keywords(wcs: WCS, shape: tuple[int, ...] | None, **settings: Any) -> dict[str, Any]:
    if wcs.bounding_box is None and shape is not None:
        ny, nx = shape[-2:]
        settings["bounding_box"] = ((-0.5, nx - 0.5), (-0.5, ny - 0.5))
    header = wcs.to_fits_sip(npoints=16, **settings)
    words = {key.lower(): value for key, value in header.items()}
    return {key: value for key, value in words.items() if _FITTED.match(key)}


def set_output_keywords(model: Any) -> None:
    """Make the header of a resampled product that of its ``meta.wcs``; drop what is the detector's.

    Parameters
    ----------
    model : ImageModel
        ``meta.wcsinfo`` is replaced; distortion terms and the pointing of the input vanish.
    """
    _replace_keywords(model, fits_wcs_keywords(model.meta.wcs), also=_POINTING)


def _replace_keywords(model: Any, keywords: Mapping[str, Any], also: Sequence[str] = ()) -> None:
    present = model.meta.wcsinfo.instance
    for key in [key for key in present if _FITTED.match(key) or key in also]:
        del present[key]
    for key, value in keywords.items():
        setattr(model.meta.wcsinfo, key, value)


def header_error(wcs: WCS, wcsinfo: Mapping[str, Any], shape: tuple[int, ...]) -> float:
    """Largest difference between header keywords and GWCS over an image.

    Parameters
    ----------
    wcs : gwcs.WCS
    wcsinfo : mapping
        Keywords in lower case, as in ``meta.wcsinfo``.
    shape : tuple
        The last two items are (ny, nx).

    Returns
    -------
    error : float
        In pixels; infinite if the keywords are no celestial WCS.
    """
    import astropy.wcs
    from astropy.io.fits import Header

    header = Header(
        {
            key.upper(): value
            for key, value in wcsinfo.items()
            if value is not None and _FITTED.match(key)
        }
    )
    if "CTYPE1" not in header or "CRPIX1" not in header:
        return float("inf")
    try:
        fits_wcs = astropy.wcs.WCS(header, relax=True)
    except (ValueError, astropy.wcs.WcsError):
        return float("inf")
    (x0, x1), (y0, y1) = pixel_limits(wcs, (shape[-2], shape[-1]))
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(x0, x1, 16), np.linspace(y0, y1, 16)))
    sky = np.stack(wcs(x, y, with_bounding_box=False), axis=-1)
    plane = to_plane(sky, sky[0])
    offset = np.hypot(*(to_plane(np.stack(fits_wcs.all_pix2world(x, y, 0), -1), sky[0]) - plane).T)
    step = np.hypot(*(plane[1] - plane[0])) / (x[1] - x[0])
    return float(np.max(offset) / step) if np.isfinite(offset).all() else float("inf")


def update_fits_header_wcs(model: Any, tolerance: float = _HEADER_TOLERANCE) -> float:
    """Make the header of an exposure agree with its GWCS.

    Parameters
    ----------
    model : data model
        With ``meta.wcs``, ``meta.wcsinfo`` and ``data``. Keywords that already agree stay;
        otherwise a TAN-SIP approximation about the same CRPIX is fitted, and S_REGION renewed.
    tolerance : float
        Pixels.

    Returns
    -------
    error : float
        The largest remaining difference, in pixels.
    """
    wcs, shape = model.meta.wcs, model.data.shape
    present = model.meta.wcsinfo.instance
    error = header_error(wcs, present, shape)
    if error < tolerance:
        return error
    settings: dict[str, Any] = {"max_pix_error": tolerance / 2, "max_inv_pix_error": tolerance}
    if present.get("crpix1") is not None and present.get("crpix2") is not None:
        settings["crpix"] = (present["crpix1"], present["crpix2"])
    _replace_keywords(model, _fitted_keywords(wcs, shape, **settings))
    model.meta.wcsinfo.s_region = s_region(wcs, shape)
    return header_error(wcs, model.meta.wcsinfo.instance, shape)


def s_region(wcs: WCS, shape: tuple[int, ...]) -> str:
    """S_REGION: the polygon of the outer corners of an image, ICRS degrees."""
    return _polygon_text(sky_boundary(wcs, shape))


def combined_s_region(wcs_list: Sequence[WCS], shapes: Sequence[tuple[int, ...]]) -> str:
    """S_REGION of a combination: the convex hull of all footprints."""
    from scipy.spatial import ConvexHull

    corners = np.vstack([sky_boundary(w, s) for w, s in zip(wcs_list, shapes, strict=True)])
    hull = ConvexHull(to_plane(corners, corners[0])).vertices
    return _polygon_text(corners[hull])


def _polygon_text(sky: NDArray[Any]) -> str:
    return "POLYGON ICRS  " + " ".join(f"{value:.9f}" for value in sky.ravel())
