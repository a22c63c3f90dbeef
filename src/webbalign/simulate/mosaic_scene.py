"""The noiseless image of a frame: stars, galaxies, diffuse emission."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from webbalign.products.sphere import to_plane
from webbalign.simulate.cameras import Camera
from webbalign.simulate.mosaic_plan import Frame
from webbalign.simulate.mosaic_psfs import RADIUS, PixelResponse, add_stars
from webbalign.simulate.nebulae import Nebula
from webbalign.simulate.star_fields import Galaxies, StarField

__all__ = ["Scene", "Sky", "draw_scene", "footprint"]

AB_ZERO = 3631.0  # Jy
# A disk with a cusp as four Gaussians: parts of the light, variances in half-light radii squared.
_DISK = ((0.026, 0.0131), (0.164, 0.0884), (0.440, 0.362), (0.370, 1.17))


@dataclass(frozen=True)
class Sky:
    """All that shines.

    Attributes
    ----------
    stars : StarField
    galaxies : Galaxies
    nebula : Nebula
    """

    stars: StarField
    galaxies: Galaxies
    nebula: Nebula


@dataclass(frozen=True)
class Scene:
    """What falls on a detector.

    Attributes
    ----------
    image : ndarray (ny, nx)
        Surface brightness without the sky's even part, MJy/sr.
    area : ndarray (ny, nx)
        Area of the pixels relative to that at the reference point.
    star : ndarray (n,) of int
        Numbers of the stars whose centres are in the image.
    x, y : ndarray (n,)
        Where they are, 0-based px.
    magnitude : ndarray (n,)
        AB in the band.
    """

    image: np.ndarray
    area: np.ndarray
    star: np.ndarray
    x: np.ndarray
    y: np.ndarray
    magnitude: np.ndarray


def draw_scene(frame: Frame, sky: Sky, response: PixelResponse) -> Scene:
    """Return what falls on the detector of a frame.

    Parameters
    ----------
    frame : Frame
        Where it points, and when.
    sky : Sky
        What there is.
    response : PixelResponse
        Of the band.
    """
    camera = frame.camera
    ny, nx = camera.shape
    area = camera.relative_area(np.arange(nx, dtype=float), np.arange(ny, dtype=float))
    ra, dec = sky.stars.position(frame.middle)
    near = _near(frame, ra, dec)
    x, y = frame.true_wcs.invert(ra[near], dec[near], with_bounding_box=False)
    magnitude = sky.stars.magnitude(camera.band)[near]
    # MJy/sr in a pixel of the nominal area
    unit = AB_ZERO * 1e-6 / (camera.pixel_area * np.deg2rad(1 / 3600) ** 2)
    image = np.zeros(camera.shape)
    noise = _noise_level(camera)
    add_stars(image, x, y, unit * 10 ** (-0.4 * magnitude), response, 0.02 * noise)
    _add_galaxies(image, frame, sky.galaxies, unit, response, 0.05 * noise)
    # light of points spreads over larger pixels where the distortion makes them so
    image /= area
    if sky.nebula.amplitude(camera.band) > 0:
        image += sky.nebula.image(frame)
    inside = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    return Scene(image, area, near[inside], x[inside], y[inside], magnitude[inside])


def _noise_level(camera: Camera) -> float:
    """Noise of an empty pixel, MJy/sr."""
    unit = camera.photmjsr / (camera.gain * camera.integration_time)
    return float(np.sqrt(camera.sky * unit + (camera.read_noise * unit) ** 2))


def _near(frame: Frame, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Numbers of the positions whose light may reach the detector."""
    camera = frame.camera
    ny, nx = camera.shape
    middle = frame.true_wcs((nx - 1) / 2, (ny - 1) / 2, with_bounding_box=False)
    offset = np.hypot(*to_plane(np.stack([ra, dec], axis=1), np.array(middle, float)).T)
    reach = (0.5 * np.hypot(nx, ny) + 1.5 * RADIUS) * max(camera.pixel_scale) * 1.05 / 3600.0
    return np.flatnonzero(offset < reach)


def _add_galaxies(
    image: np.ndarray,
    frame: Frame,
    galaxies: Galaxies,
    unit: float,
    response: PixelResponse,
    negligible: float,
) -> None:
    """Add disks blurred by a Gaussian of the PSF's width, in place."""
    near = _near(frame, galaxies.ra, galaxies.dec)
    if not near.size:
        return
    x, y = frame.true_wcs.invert(galaxies.ra[near], galaxies.dec[near], with_bounding_box=False)
    to_pixels = _local_jacobian(frame, galaxies.ra[near], galaxies.dec[near])
    shapes = to_pixels @ galaxies.covariances()[near] @ np.swapaxes(to_pixels, 1, 2)
    # the PSF and the pixel
    blur = ((response.fwhm / 2.355) ** 2 + 1 / 12) * np.eye(2)
    flux = unit * 10 ** (-0.4 * galaxies.mag[near])
    for index in range(near.size):
        for part, variance in _DISK:
            covariance = variance * shapes[index] + blur
            _add_gaussian(image, x[index], y[index], flux[index] * part, covariance, negligible)


def _local_jacobian(frame: Frame, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return the derivatives (n, 2, 2) of (x, y) by arcsec to the east and to the north."""
    step = 1.0 / 3600.0
    here = np.stack(frame.true_wcs.invert(ra, dec, with_bounding_box=False))
    east = frame.true_wcs.invert(ra + step / np.cos(np.deg2rad(dec)), dec, with_bounding_box=False)
    north = frame.true_wcs.invert(ra, dec + step, with_bounding_box=False)
    return np.stack([np.stack(east) - here, np.stack(north) - here], axis=-1).transpose(1, 0, 2)


def _add_gaussian(
    image: np.ndarray, x: float, y: float, flux: float, covariance: np.ndarray, negligible: float
) -> None:
    peak = flux / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))
    if peak <= negligible:
        return
    reach = np.sqrt(2 * np.log(peak / negligible)) * np.sqrt(np.diag(covariance))
    ny, nx = image.shape
    x0, x1 = max(int(x - reach[0]), 0), min(int(x + reach[0]) + 2, nx)
    y0, y1 = max(int(y - reach[1]), 0), min(int(y + reach[1]) + 2, ny)
    if x0 >= x1 or y0 >= y1:
        return
    (a, b), (_, d) = np.linalg.inv(covariance)
    u, v = np.arange(x0, x1) - x, np.arange(y0, y1)[:, None] - y
    image[y0:y1, x0:x1] += peak * np.exp(-0.5 * (a * u**2 + 2 * b * u * v + d * v**2))


def footprint(wcs: Any, shape: tuple[int, int], margin: float) -> np.ndarray:
    """Return the sky positions (8, 2) of an image's outline, `margin` px outside it, degrees."""
    ny, nx = shape
    left, right, bottom, top = -margin, nx - 1 + margin, -margin, ny - 1 + margin
    half_x, half_y = (nx - 1) / 2, (ny - 1) / 2
    x = np.array([left, left, left, half_x, right, right, right, half_x])
    y = np.array([bottom, half_y, top, top, top, half_y, bottom, bottom])
    return np.stack(wcs(x, y, with_bounding_box=False), axis=1)
