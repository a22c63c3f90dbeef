"""How wide a star is through a filter."""

from __future__ import annotations

import math
import re

__all__ = ["filter_fwhm", "wavelength"]

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


def filter_fwhm(filter_name: str, pupil: str, pixel_scale: float) -> float | None:
    """FWHM in px of a star through a filter; None if the filter's wavelength is not known.

    Parameters
    ----------
    filter_name, pupil : str
        ``meta.instrument.filter`` and ``.pupil``.
    pixel_scale : float
        Arcsec.
    """
    micron = wavelength(filter_name, pupil)
    if not math.isfinite(micron):
        return None
    arcsec = math.degrees(_SHAPE * micron * 1e-6 / _MIRROR) * 3600.0
    return math.hypot(arcsec / pixel_scale, _PIXEL)
