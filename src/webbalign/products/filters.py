"""How wide a star is through a filter."""

from __future__ import annotations

import math
import re

__all__ = ["diffraction_limit", "filter_fwhm", "star_fwhm", "wavelength"]

_NAME = re.compile(r"F(\d{3,4})[A-Z]")
_MIRROR = 6.5  # m, circumscribed diameter of JWST's primary
# The FWHM of the published in-flight PSFs is 1.03 to 1.05 lambda/D from 1.4 to 25 um
_SHAPE = 1.04
# what a pixel adds in quadrature, of its size
_PIXEL = 0.5


def wavelength(filter_name: str, pupil: str = "") -> float:
    """Wavelength in um for which a filter is named, or the one in the pupil wheel; NaN if unknown.

    >>> wavelength("F150W"), wavelength("F444W", "F405N"), wavelength("F1130W")
    (1.5, 4.05, 11.3)
    """
    for name in (pupil, filter_name):
        found = _NAME.match(name.strip().upper())
        if found:
            return int(found[1]) / 100.0
    return math.nan


def diffraction_limit(filter_name: str | None, pupil: str | None = "") -> float:
    """Wavelength over the diameter of the mirror (6.5 m), arcsec; NaN if the filter is unknown.

    >>> round(diffraction_limit("F444W"), 3)
    0.141
    """
    return math.degrees(wavelength(filter_name or "", pupil or "") * 1e-6 / _MIRROR) * 3600.0


def star_fwhm(resolution: float, pixel_scale: float) -> float:
    """FWHM in px of a star on pixels, from the diffraction limit and their size (arcsec)."""
    return math.hypot(_SHAPE * resolution / pixel_scale, _PIXEL)


def filter_fwhm(filter_name: str, pupil: str, pixel_scale: float) -> float | None:
    """FWHM in px of a star through a filter; None if the filter's wavelength is not known.

    Parameters
    ----------
    filter_name, pupil : str
        ``meta.instrument.filter`` and ``.pupil``.
    pixel_scale : float
        Arcsec.
    """
    resolution = diffraction_limit(filter_name, pupil)
    return star_fwhm(resolution, pixel_scale) if math.isfinite(resolution) else None
