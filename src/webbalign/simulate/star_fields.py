"""A sky with a known answer: stars that move, a catalog like Gaia's, galaxies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from webbalign.simulate.cameras import Band
from webbalign.simulate.mosaic_options import MosaicSimulation

__all__ = ["REFERENCE_EPOCH", "Galaxies", "StarField", "draw_galaxies", "draw_stars", "gaia_like"]

REFERENCE_EPOCH = 2016.0
REFERENCE_MJD = 57388.5  # of that Julian year
FIRST_WAVELENGTH = 1.5  # micron, of `mag`
COLOR_SCATTER = 0.15  # mag
WITHOUT_MOTION = 0.05  # fraction of Gaia's sources that have two parameters only
JWST_DISTANCE = 1.01  # from the barycentre, in units of the Earth's


@dataclass(frozen=True)
class StarField:
    """Stars at the epoch 2016.0.

    Attributes
    ----------
    ra, dec : ndarray (n,)
        ICRS, degrees.
    pmra, pmdec : ndarray (n,)
        Proper motion, that of right ascension times cos(dec), mas / yr.
    parallax : ndarray (n,)
        mas.
    mag : ndarray (n,)
        AB magnitude at 1.5 micron.
    gmag : ndarray (n,)
        Gaia's G.
    """

    ra: np.ndarray
    dec: np.ndarray
    pmra: np.ndarray
    pmdec: np.ndarray
    parallax: np.ndarray
    mag: np.ndarray
    gmag: np.ndarray

    def position(self, mjd: float) -> tuple[np.ndarray, np.ndarray]:
        """Return right ascension and declination (degrees) as JWST sees them at a time (MJD)."""
        years = (mjd - REFERENCE_MJD) / 365.25
        ra, dec = np.deg2rad(self.ra), np.deg2rad(self.dec)
        x, y, z = JWST_DISTANCE * _earth(mjd)
        east = x * np.sin(ra) - y * np.cos(ra)
        north = (x * np.cos(ra) + y * np.sin(ra)) * np.sin(dec) - z * np.cos(dec)
        move_ra = (self.pmra * years + self.parallax * east) / np.cos(dec)
        move_dec = self.pmdec * years + self.parallax * north
        return self.ra + move_ra / 3.6e6, self.dec + move_dec / 3.6e6

    def magnitude(self, band: Band) -> np.ndarray:
        """Return AB magnitudes in a band: a Rayleigh-Jeans spectrum with some scatter."""
        scatter = np.random.default_rng(round(band.wavelength * 1000)).standard_normal(
            self.mag.size
        )
        color = 5 * np.log10(band.wavelength / FIRST_WAVELENGTH)
        return self.mag + color + COLOR_SCATTER * scatter


def _earth(mjd: float) -> np.ndarray:
    """Barycentric position of the Earth, astronomical units."""
    from astropy.coordinates import get_body_barycentric
    from astropy.time import Time

    place = get_body_barycentric("earth", Time(mjd, format="mjd", scale="tdb"), ephemeris="builtin")
    return np.asarray(place.xyz.to_value("au"), np.float64)


def _spread(
    count: int, outline: np.ndarray, centre: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (degrees) spread evenly over the box that holds `outline` (n, 2), degrees."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    plane = np.deg2rad(rng.uniform(low, high, (count, 2)))
    ra0, dec0 = np.deg2rad(centre)
    depth = np.cos(dec0) - plane[:, 1] * np.sin(dec0)
    ra = ra0 + np.arctan2(plane[:, 0], depth)
    height = np.sin(dec0) + plane[:, 1] * np.cos(dec0)
    dec = np.arctan2(height, np.hypot(plane[:, 0], depth))
    return np.rad2deg(ra) % 360.0, np.rad2deg(dec)


def _box_area(outline: np.ndarray) -> float:
    return float(np.prod(np.ptp(outline, axis=0)) * 3600.0)


def draw_stars(
    options: MosaicSimulation, outline: np.ndarray, centre: tuple[float, float]
) -> StarField:
    """Draw the stars of a field.

    Parameters
    ----------
    options : MosaicSimulation
        Density, magnitudes, motions.
    outline : ndarray (n, 2)
        Points of the tangent plane (east, north) whose box is to be filled, degrees.
    centre : tuple of float
        Its tangent point, degrees.
    """
    rng = np.random.default_rng([options.seed, 12])
    count = round(options.star_density * _box_area(outline))
    ra, dec = _spread(count, outline, centre, rng)
    bright, faint = options.magnitudes
    part = rng.random(count)
    if options.slope > 0:
        growth = 10.0 ** (options.slope * (faint - bright))
        mag = bright + np.log10(1.0 + part * (growth - 1.0)) / options.slope
    else:
        mag = bright + part * (faint - bright)
    motion = options.proper_motion * rng.standard_normal((2, count))
    distance = options.parallax * rng.standard_exponential(count)
    gmag = mag + 0.4 + 0.4 * rng.standard_normal(count)
    return StarField(ra, dec, motion[0], motion[1], distance, mag, gmag)


def gaia_like(options: MosaicSimulation, stars: StarField) -> Any:
    """Return the astropy table that a survey like Gaia DR3 would hold of the stars.

    Positions, proper motions and parallaxes have errors of the size that Gaia DR3 has at the
    magnitude; a twentieth of the sources has a position only. Colours follow how much brighter a
    star is in the infrared.
    """
    from astropy.table import MaskedColumn, Table

    rng = np.random.default_rng([options.seed, 13])
    chosen = np.flatnonzero(stars.gmag <= options.gaia_limit)
    gmag = stars.gmag[chosen]
    # 0.02 mas up to G = 15, 0.07 at 17, 0.5 at 20 (Gaia Collaboration 2021,
    # doi:10.1051/0004-6361/202039657)
    sigma = options.gaia_errors * 0.02 * 10 ** (0.28 * np.clip(gmag - 15.0, 0.0, None))
    noise = sigma * rng.standard_normal((5, chosen.size))
    without = rng.random(chosen.size) < WITHOUT_MOTION
    cosine = np.cos(np.deg2rad(stars.dec[chosen]))
    table = Table()
    table["source_id"] = 4_000_000_000_000_000_000 + chosen
    table["ra"] = stars.ra[chosen] + noise[0] / cosine / 3.6e6
    table["dec"] = stars.dec[chosen] + noise[1] / 3.6e6
    table["ra_error"] = sigma
    table["dec_error"] = sigma
    moving = {
        "pmra": (stars.pmra[chosen] + noise[2], "mas / yr"),
        "pmdec": (stars.pmdec[chosen] + noise[3], "mas / yr"),
        "parallax": (stars.parallax[chosen] + noise[4], "mas"),
        "pmra_error": (sigma, "mas / yr"),
        "pmdec_error": (sigma, "mas / yr"),
        "parallax_error": (sigma, "mas"),
    }
    for name, (values, unit) in moving.items():
        table[name] = MaskedColumn(values, mask=without, unit=unit)
    table["phot_g_mean_mag"] = gmag
    # red stars are the brighter in the near infrared
    color = 1.2 + (gmag - stars.mag[chosen] - 0.4) + 0.05 * rng.standard_normal(chosen.size)
    table["bp_rp"] = MaskedColumn(color, mask=without, unit="mag")
    table["ref_epoch"] = np.full(chosen.size, REFERENCE_EPOCH)
    for name, unit in (("ra", "deg"), ("dec", "deg"), ("ra_error", "mas"), ("dec_error", "mas")):
        table[name].unit = unit
    table["phot_g_mean_mag"].unit = "mag"
    table["ref_epoch"].unit = "yr"
    return table


@dataclass(frozen=True)
class Galaxies:
    """Galaxies.

    Attributes
    ----------
    ra, dec : ndarray (n,)
        Degrees.
    mag : ndarray (n,)
        AB, the same in all bands.
    radius : ndarray (n,)
        Half-light radius along the major axis, arcsec.
    axis_ratio : ndarray (n,)
    angle : ndarray (n,)
        Of the major axis, from north over east, radians.
    """

    ra: np.ndarray
    dec: np.ndarray
    mag: np.ndarray
    radius: np.ndarray
    axis_ratio: np.ndarray
    angle: np.ndarray

    def covariances(self) -> np.ndarray:
        """Return the shapes (n, 2, 2), axes (east, north), arcsec^2, scaled to half-light radii."""
        direction = np.stack([np.sin(self.angle), np.cos(self.angle)], axis=1)
        across = np.stack([np.cos(self.angle), -np.sin(self.angle)], axis=1)
        long, short = self.radius**2, (self.radius * self.axis_ratio) ** 2
        parts = ((long, direction), (short, across))
        total: np.ndarray = sum(
            size[:, None, None] * axis[:, :, None] * axis[:, None, :] for size, axis in parts
        )
        return total


def draw_galaxies(
    options: MosaicSimulation, outline: np.ndarray, centre: tuple[float, float]
) -> Galaxies:
    """Draw the galaxies of a field; parameters as for `draw_stars`."""
    rng = np.random.default_rng([options.seed, 14])
    count = round(options.galaxies * _box_area(outline))
    ra, dec = _spread(count, outline, centre, rng)
    mag = 19.0 + np.log10(1.0 + rng.random(count) * (10 ** (0.3 * 7.5) - 1.0)) / 0.3
    # fainter ones are smaller
    radius = 0.5 * 10 ** (-0.1 * (mag - 21.0)) * np.exp(0.4 * rng.standard_normal(count))
    return Galaxies(
        ra,
        dec,
        mag,
        np.clip(radius, 0.05, 1.0),
        rng.uniform(0.25, 1.0, count),
        rng.uniform(0, np.pi, count),
    )
