"""Parameters of tweakreg for a band, from PJPipe's nested ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webbalign.core.errors import OptionError
from webbalign.pipelines.wcs_adjust_options import check_tweakreg_parameters
from webbalign.products.filters import wavelength
from webbalign.steps.tweakreg_options import TweakReg

__all__ = ["band_filter", "tweakreg_options"]

# Arcsec: what "...pix" means in PJPipe's files
_PIXEL = {"nircam_short": 0.031, "nircam_long": 0.063, "miri": 0.11, "niriss": 0.065}
_LONGEST_SHORT = 2.35  # um, last wavelength of NIRCam's short channel
# where the defaults of tweakreg are not the best ones: MIRI's bands show few bright stars
_OWN_DEFAULTS = {"miri": {"snr_threshold": 5.0}}


def tweakreg_options(
    parameters: Mapping[str, Any], *, target: str, band: str, instrument: str, catalog: str = ""
) -> TweakReg:
    """Choose the parameters for a band.

    Parameters
    ----------
    parameters : mapping
        Name to value; or to a mapping of values by target, else by band, else by ``nircam_short``
        or ``nircam_long``, else by instrument (nested as deep as one likes). Where it has no value
        for this band, the default holds (for MIRI an `snr_threshold` of 5). A text ``3pix`` is a
        length in pixels.
    target, band, instrument : str
    catalog : str
        The alignment catalog; ``abs_refcat`` among the parameters goes before it.

    Raises
    ------
    OptionError
        If tweakreg has no such option, or the value cannot stand.
    """
    check_tweakreg_parameters(parameters)
    chosen: dict[str, Any] = {"abs_refcat": catalog} | _OWN_DEFAULTS.get(instrument.lower(), {})
    for name, value in parameters.items():
        names = _names(target, band, instrument)
        found = _innermost(value, names)
        if found is not None:
            chosen[name] = _in_arcsec(found[0], names)
    try:
        return TweakReg(**chosen)
    except OptionError as error:
        raise OptionError(f"tweakreg_parameters of {band}: {error}") from None


def band_filter(band: str) -> str:
    """Return the filter of a band's folder.

    >>> band_filter("F770W_bgr")
    'F770W'
    """
    return band.removesuffix("_bgr").removesuffix("_niriss")


def _names(target: str, band: str, instrument: str) -> tuple[str, ...]:
    """Return the keys under which a value may stand, the first one wins."""
    instrument = instrument.lower()
    names = [target, band, band_filter(band)]
    if instrument == "nircam":
        short = wavelength(band_filter(band)) <= _LONGEST_SHORT
        names.append("nircam_short" if short else "nircam_long")
    return tuple(name.lower() for name in (*names, instrument))


def _innermost(value: Any, names: tuple[str, ...]) -> tuple[Any] | None:
    """Follow nested mappings; None where they say nothing about this band."""
    while isinstance(value, Mapping):
        lower = {str(key).lower(): item for key, item in value.items()}
        key = next((name for name in names if name in lower), None)
        if key is None:
            return None
        value = lower[key]
    return (value,)


def _in_arcsec(value: Any, names: tuple[str, ...]) -> Any:
    if not (isinstance(value, str) and value.strip().endswith("pix")):
        return value
    scale = next((_PIXEL[name] for name in names[::-1] if name in _PIXEL), None)
    scale = _PIXEL.get(names[-2], scale)
    try:
        return float(value.strip().removesuffix("pix")) * (scale or 1.0)
    except ValueError:
        return value
