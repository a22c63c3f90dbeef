"""The SIP header of a corrected image, with the errors that it really has."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.polynomial.polynomial import polyval2d

from webbalign.core.options import Options, opt
from webbalign.products.sphere import pixel_edges, to_plane
from webbalign.products.wcs_keywords import is_fitted_keyword

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from gwcs import WCS

__all__ = ["SipApproximation", "SipHeader", "sip_errors", "sip_header"]

_SMALLEST = 1e-6  # px; a polynomial of degree 6 comes no nearer
_MOST_DEGREES = 6
# between the points of any fit (which are 8 or more in each direction)
_PROBES = 37


@dataclass(frozen=True)
class SipApproximation(Options):
    """How the GWCS is approximated in the FITS header."""

    sip_approx: bool = opt(
        True, "Whether to approximate the GWCS by a SIP header; without, the header is linear."
    )
    sip_max_pix_error: float = opt(
        0.01,
        "Largest error of the forward SIP fit, in pixels; ignored if sip_degree is given.",
        min=_SMALLEST,
    )
    sip_degree: int | None = opt(
        None,
        "Degree of the forward SIP fit; None: the lowest that is good enough.",
        min=1,
        max=_MOST_DEGREES,
    )
    sip_max_inv_pix_error: float = opt(
        0.01,
        "Largest error of the inverse SIP fit, in pixels; ignored if sip_inv_degree is given.",
        min=_SMALLEST,
    )
    sip_inv_degree: int | None = opt(
        None,
        "Degree of the inverse SIP fit; None: the lowest that is good enough.",
        min=1,
        max=_MOST_DEGREES,
    )
    sip_npoints: int = opt(12, "Number of points of the SIP fit, in each direction.", min=8)


@dataclass(frozen=True)
class SipHeader:
    """FITS keywords that say nearly the same as a GWCS.

    Attributes
    ----------
    cards : list of (str, value, str)
        Keyword, value, comment; SIPMXERR and SIPIVERR (px) among them.
    error, inverse_error : float
        Largest difference from the GWCS in pixels: from pixels to the sky, and back; measured
        between and beside the points of the fit.
    """

    cards: list[tuple[str, Any, str]]
    error: float
    inverse_error: float


def sip_header(
    wcs: WCS,
    shape: tuple[int, int],
    options: SipApproximation | None = None,
    crpix: tuple[float, float] | None = None,
) -> SipHeader:
    """Approximate a GWCS by FITS keywords.

    Parameters
    ----------
    wcs : gwcs.WCS
    shape : tuple of int
        (ny, nx).
    options : SipApproximation, optional
    crpix : tuple of float, optional
        Reference pixel, 1-based; the middle of the image if left out, or if it lies outside.

    Returns
    -------
    SipHeader
        Linear (TAN, CD matrix) with ``sip_approx=False`` or where degree 1 is enough.
    """
    options = options or SipApproximation()
    x_edges, y_edges = pixel_edges(wcs, shape)
    degrees = range(1, _MOST_DEGREES + 1)
    settings: dict[str, Any] = {
        "bounding_box": (x_edges, y_edges),
        "npoints": options.sip_npoints,
        "max_pix_error": options.sip_max_pix_error,
        "max_inv_pix_error": options.sip_max_inv_pix_error,
        "degree": options.sip_degree or degrees,
        "inv_degree": options.sip_inv_degree or degrees,
    }
    if not options.sip_approx:
        settings |= {"degree": 1, "max_inv_pix_error": None}
    if crpix is not None and _is_inside(crpix, (x_edges, y_edges)):
        settings["crpix"] = crpix
    with warnings.catch_warnings():
        # an accuracy that is not reached is told by its number
        warnings.filterwarnings("ignore", module=r"gwcs(\.|$)")
        warnings.filterwarnings("ignore", message=".*SIP|.*double sampling|.*conditioned")
        fitted = wcs.to_fits_sip(**settings)
    kept = [card for card in fitted.cards if is_fitted_keyword(card.keyword)]
    cards = [(c.keyword, c.value, c.comment) for c in kept if not c.keyword.startswith("SIP")]
    # a FITS card holds 14 digits of CRVAL, which is no better than that
    error, inverse = (max(value, _SMALLEST) for value in sip_errors(wcs, shape, fitted))
    cards.append(("SIPMXERR", error, "[pix] largest difference from the GWCS"))
    cards.append(("SIPIVERR", inverse, "[pix] the same of the inverse (AP, BP)"))
    return SipHeader(cards, error, inverse)


def _is_inside(
    crpix: tuple[float, float], edges: tuple[tuple[float, float], tuple[float, float]]
) -> bool:
    return all(low <= value - 1 <= high for value, (low, high) in zip(crpix, edges, strict=True))


def sip_errors(wcs: WCS, shape: tuple[int, int], header: Header) -> tuple[float, float]:
    """Measure how far a header is from a GWCS, on a grid up to the edges of the image.

    Parameters
    ----------
    wcs : gwcs.WCS
    shape : tuple of int
        (ny, nx).
    header : astropy.io.fits.Header

    Returns
    -------
    error, inverse_error : float
        In pixels: of the sky position of pixels, and of the pixel of sky positions by the
        polynomials AP and BP (by the inverse of the linear part, where there are none).
    """
    import astropy.wcs

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"astropy\.wcs")
        fits_wcs = astropy.wcs.WCS(header, relax=True, naxis=2)
    (x0, x1), (y0, y1) = pixel_edges(wcs, shape)
    grids = np.meshgrid(np.linspace(x0, x1, _PROBES), np.linspace(y0, y1, _PROBES))
    x, y = (grid.ravel() for grid in grids)
    ra, dec = wcs(x, y, with_bounding_box=False)
    true = to_plane(np.stack([ra, dec], axis=-1), (ra[0], dec[0]))
    approximate = np.stack(fits_wcs.all_pix2world(x, y, 0), axis=-1)
    offset = np.hypot(*(to_plane(approximate, (ra[0], dec[0])) - true).T)
    scale = np.sqrt(np.abs(np.linalg.det(fits_wcs.pixel_scale_matrix)))
    centre = fits_wcs.wcs.crpix - 1
    u, v = np.stack(fits_wcs.wcs_world2pix(ra, dec, 0)) - centre[:, None]
    if fits_wcs.sip is not None and fits_wcs.sip.ap is not None:
        u, v = u + polyval2d(u, v, fits_wcs.sip.ap), v + polyval2d(u, v, fits_wcs.sip.bp)
    miss = np.hypot(u + centre[0] - x, v + centre[1] - y)
    return float(offset.max() / scale), float(miss.max())
