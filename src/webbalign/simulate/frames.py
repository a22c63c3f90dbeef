"""The world coordinates of a simulated exposure, in the frames that JWST's pipeline uses.

detector -> v2v3 -> v2v3vacorr -> world: distortion to the telescope's angles, velocity aberration,
and the rotation of the sky by the telescope's attitude.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from webbalign.simulate.instruments import Instrument

__all__ = [
    "VA_SCALE",
    "Placement",
    "aberration",
    "assemble",
    "attitude",
    "build_wcs",
    "distortion",
    "pointing_keywords",
    "sip_keywords",
]

VA_SCALE = 0.9999104
INVERSE_DEGREE = 5

Coefficients = dict[tuple[int, int], float]


class Placement(Protocol):
    """What the world coordinates need to know of a detector; see `Instrument`."""

    @property
    def shape(self) -> tuple[int, int]: ...  # noqa: D102

    @property
    def reference_pixel(self) -> tuple[float, float]: ...  # noqa: D102

    @property
    def v2v3(self) -> tuple[float, float]: ...  # noqa: D102

    @property
    def v3_angle(self) -> float: ...  # noqa: D102


def build_wcs(
    instrument: Instrument,
    target: tuple[float, float],
    pixel: tuple[float, float],
    roll: float,
) -> tuple[Any, tuple[float, float]]:
    """Return the GWCS whose given pixel looks at the target.

    Parameters
    ----------
    instrument : Instrument
        Geometry of the detector.
    target : tuple of float
        Right ascension and declination, degrees.
    pixel : tuple of float
        0-based (x, y) that shall map to the target.
    roll : float
        Position angle of V3 at the reference point, degrees.

    Returns
    -------
    wcs : gwcs.WCS
    reference : tuple of float
        Right ascension and declination of the aperture's reference point, degrees.
    """
    scale_x, scale_y = instrument.pixel_scale
    to_angles = distortion(
        instrument,
        {(1, 0): scale_x, **instrument.distortion_x},
        {(0, 1): scale_y, **instrument.distortion_y},
    )
    aberrate = aberration(instrument)
    to_sky = attitude(instrument, target, roll)
    # The pixel is within arcseconds of the reference point: moving the pointing by what is missing
    # converges to rounding in a few steps.
    angles = aberrate(*to_angles(*pixel))
    reference = target
    for _ in range(6):
        ra, dec = to_sky(*angles)
        reference = (
            reference[0] + (target[0] - ra + 180.0) % 360.0 - 180.0,
            reference[1] + target[1] - dec,
        )
        to_sky = attitude(instrument, reference, roll)
    return assemble(instrument, to_angles, aberrate, to_sky), reference


def assemble(
    place: Placement,
    to_angles: Any,
    aberrate: Any,
    to_sky: Any,
    box: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> Any:
    """Return the GWCS made of its three transforms.

    Parameters
    ----------
    place : Placement
        Of the detector.
    to_angles, aberrate, to_sky
        From `distortion`, `aberration` and `attitude`.
    box : tuple, optional
        Bounding box, ((x0, x1), (y0, y1)) in 0-based px. Default: the whole image.
    """
    import astropy.units as u
    import gwcs
    from astropy.coordinates import ICRS
    from gwcs import coordinate_frames as cf

    angular = {"axes_names": ("v2", "v3"), "unit": (u.arcsec, u.arcsec), "axes_order": (0, 1)}
    world = cf.CelestialFrame(name="world", reference_frame=ICRS(), unit=(u.deg, u.deg))
    wcs = gwcs.WCS(
        [
            (cf.Frame2D(name="detector", axes_order=(0, 1), unit=(u.pix, u.pix)), to_angles),
            (cf.Frame2D(name="v2v3", **angular), aberrate),
            (cf.Frame2D(name="v2v3vacorr", **angular), to_sky),
            (world, None),
        ]
    )
    ny, nx = place.shape
    wcs.bounding_box = box or ((-0.5, nx - 0.5), (-0.5, ny - 0.5))
    return wcs


def distortion(
    place: Placement,
    x_coefficients: Coefficients,
    y_coefficients: Coefficients,
    inverse_degree: int = INVERSE_DEGREE,
) -> Any:
    """Return the model from 0-based pixels to (V2, V3) in arcsec, with its inverse.

    Parameters
    ----------
    place : Placement
        Of the detector.
    x_coefficients, y_coefficients : dict
        (power of x, power of y) -> arcsec / px**n of the polynomials from pixels relative to the
        reference pixel to the ideal frame.
    inverse_degree : int
        Of the polynomials that are fitted to the inverse.
    """
    from astropy.modeling.models import Mapping, Polynomial2D, Shift

    x0, y0 = place.reference_pixel
    ideal_x, ideal_y = _polynomial(x_coefficients), _polynomial(y_coefficients)
    angle = np.deg2rad(place.v3_angle)
    cosine, sine = np.cos(angle), np.sin(angle)
    # vparity -1: x of the ideal frame runs against V2
    v2 = Polynomial2D(1, c0_0=0.0, c1_0=-cosine, c0_1=sine)
    v3 = Polynomial2D(1, c0_0=0.0, c1_0=sine, c0_1=cosine)
    split = Mapping((0, 1, 0, 1))
    back_x, back_y = _inverse(place, ideal_x, ideal_y, inverse_degree)

    center = Shift(-x0) & Shift(-y0)
    move = Shift(place.v2v3[0]) & Shift(place.v2v3[1])
    forward = center | split | (ideal_x & ideal_y) | split | (v2 & v3) | move
    # the rotation with its reflection is its own inverse
    forward.inverse = move.inverse | split | (v2 & v3) | split | (back_x & back_y) | center.inverse
    return forward


def _polynomial(coefficients: Coefficients) -> Any:
    from astropy.modeling.models import Polynomial2D

    degree = max(sum(power) for power in coefficients)
    names = {f"c{i}_{j}": value for (i, j), value in coefficients.items()}
    return Polynomial2D(degree, **names)


def _inverse(place: Placement, ideal_x: Any, ideal_y: Any, degree: int) -> tuple[Any, Any]:
    """Polynomials from the ideal frame back to pixels, fitted over the subarray."""
    ny, nx = place.shape
    x0, y0 = place.reference_pixel
    x, y = np.meshgrid(np.linspace(-10, nx + 9, 30) - x0, np.linspace(-10, ny + 9, 30) - y0)
    pixels = x.ravel(), y.ravel()
    u, v = ideal_x(*pixels), ideal_y(*pixels)
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i) if i + j]
    # columns of unit size: the powers of tens of arcseconds differ by many orders
    reach = max(np.abs(u).max(), np.abs(v).max())
    design = np.stack([(u / reach) ** i * (v / reach) ** j for i, j in powers], axis=1)
    fits = []
    for wanted in pixels:
        solution, *_ = np.linalg.lstsq(design, wanted, rcond=None)
        scaled = {
            power: value / reach ** sum(power)
            for power, value in zip(powers, solution, strict=True)
        }
        fits.append(_polynomial(scaled))
    return fits[0], fits[1]


def aberration(place: Placement) -> Any:
    """Return differential velocity aberration: a scale about the reference point."""
    from astropy.modeling.models import Scale, Shift

    v2, v3 = place.v2v3
    shift = 1.0 - VA_SCALE
    return (
        Scale(VA_SCALE, name="dva_scale_v2") & Scale(VA_SCALE, name="dva_scale_v3")
        | Shift(shift * v2, name="dva_v2_shift") & Shift(shift * v3, name="dva_v3_shift")
    ).rename("DVA_Correction")


def attitude(place: Placement, reference: tuple[float, float], roll: float) -> Any:
    """Return the model from (V2, V3) in arcsec to the sky in degrees.

    Parameters
    ----------
    place : Placement
        Of the detector.
    reference : tuple of float
        Right ascension and declination of its reference point, degrees.
    roll : float
        Position angle of V3 there, degrees.
    """
    from astropy.modeling.models import RotationSequence3D, Scale
    from gwcs.geometry import CartesianToSpherical, SphericalToCartesian

    v2, v3 = (value / 3600.0 for value in place.v2v3)
    ra, dec = reference
    rotation = RotationSequence3D([v2, -v3, roll, dec, -ra], axes_order="zyxyz")
    return (
        Scale(1 / 3600.0) & Scale(1 / 3600.0)
        | SphericalToCartesian(name="s2c", wrap_lon_at=180)
        | rotation
        | CartesianToSpherical(name="c2s", wrap_lon_at=360)
    ).rename("v23tosky")


def pointing_keywords(
    place: Placement, wcs: Any, reference: tuple[float, float], roll: float
) -> dict[str, Any]:
    """Return what the headers say about the pointing, by data-model name."""
    ny, nx = place.shape
    to_sky = wcs.get_transform("v2v3vacorr", "world")
    ra_v1, dec_v1 = to_sky(0.0, 0.0)
    ra_up, dec_up = to_sky(0.0, 1.0)
    pa_v3 = np.rad2deg(np.arctan2((ra_up - ra_v1) * np.cos(np.deg2rad(dec_v1)), dec_up - dec_v1))
    left, right, bottom, top = -0.5, nx - 0.5, -0.5, ny - 0.5
    corners = wcs([left, left, right, right], [bottom, top, top, bottom], with_bounding_box=False)
    polygon = " ".join(f"{ra:.9f} {dec:.9f}" for ra, dec in zip(*corners, strict=True))
    return {
        "pointing.ra_v1": float(ra_v1),
        "pointing.dec_v1": float(dec_v1),
        "pointing.pa_v3": float(pa_v3 % 360.0),
        "aperture.position_angle": (roll + place.v3_angle) % 360.0,
        "velocity_aberration.scale_factor": VA_SCALE,
        "velocity_aberration.va_ra_ref": reference[0],
        "velocity_aberration.va_dec_ref": reference[1],
        "wcsinfo.v2_ref": place.v2v3[0],
        "wcsinfo.v3_ref": place.v2v3[1],
        "wcsinfo.vparity": -1,
        "wcsinfo.v3yangle": place.v3_angle,
        "wcsinfo.ra_ref": reference[0],
        "wcsinfo.dec_ref": reference[1],
        "wcsinfo.roll_ref": roll % 360.0,
        "wcsinfo.s_region": f"POLYGON ICRS  {polygon}",
        "wcsinfo.velosys": 0.0,
    }


def sip_keywords(wcs: Any, reference_pixel: tuple[float, float]) -> dict[str, Any]:
    """Return the FITS WCS (TAN with SIP) closest to a GWCS, by data-model name."""
    header = wcs.to_fits_sip(
        max_pix_error=0.002,
        max_inv_pix_error=0.002,
        npoints=16,
        crpix=[reference_pixel[0] + 1, reference_pixel[1] + 1],
    )
    wanted = ("CRPIX", "CRVAL", "CTYPE", "CUNIT", "CD1", "CD2", "A_", "B_", "AP_", "BP_")
    # the data models know no linear SIP terms; those of the inverse are below 0.003 px here
    unknown = ("DMAX", "_0_1", "_1_0")
    keywords = {
        f"wcsinfo.{key.lower()}": value if isinstance(value, str | int) else float(value)
        for key, value in header.items()
        if key.startswith(wanted) and not key.endswith(unknown)
    }
    return {"wcsinfo.wcsaxes": 2, **keywords}
