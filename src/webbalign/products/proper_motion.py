"""Where the stars of a catalog stand at the epoch of an image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core.planes import ARCSEC, sky_to_vectors, vectors_to_sky
from webbalign.core.starlists import ReferenceStars

__all__ = ["UNKNOWN_MOTION", "CatalogStars", "positions_at", "reference_stars"]

log = logging.getLogger(__name__)

# One-sigma per axis, mas/yr, of a star whose motion is not known: what field stars of Gaia DR3 at
# G = 19 to 21 away from the Galactic plane have.
UNKNOWN_MOTION = 5.0
# Less is noise: most faint stars of Gaia have a parallax below its error.
_SIGNIFICANT_PARALLAX = 3.0
# From the Sun, JWST stands one per cent farther out than the Earth, in the same direction.
_L2 = 1.01


@dataclass(frozen=True, eq=False)
class CatalogStars:
    """Stars of an astrometric catalog with their motions.

    Attributes
    ----------
    name : str
        Of the catalog.
    sky : ndarray, shape (n, 2)
        Right ascension and declination, degrees (ICRS, barycentric), at `epoch`.
    epoch : ndarray, shape (n,)
        Julian year; NaN: unknown, the star does not move.
    sigma : ndarray, shape (n,)
        One-sigma error of each coordinate at `epoch`, arcsec; NaN: unknown.
    motion : ndarray, shape (n, 2)
        Proper motion to the east (with cos(dec)) and north, mas/yr; NaN: unknown.
    motion_sigma : ndarray, shape (n,)
        Its one-sigma error per axis, mas/yr; NaN: unknown.
    parallax, parallax_sigma : ndarray, shape (n,)
        In mas; NaN: unknown.
    weight : ndarray, shape (n,)
    magnitude : ndarray, shape (n,)
        NaN: unknown.
    color : ndarray, shape (n,)
        BP - RP of Gaia, magnitudes; NaN: unknown.
    identity : ndarray of str, shape (n,)
        What the catalog calls them; empty: unknown.
    """

    name: str
    sky: NDArray[np.float64]
    epoch: NDArray[np.float64]
    sigma: NDArray[np.float64]
    motion: NDArray[np.float64]
    motion_sigma: NDArray[np.float64]
    parallax: NDArray[np.float64]
    parallax_sigma: NDArray[np.float64]
    weight: NDArray[np.float64]
    magnitude: NDArray[np.float64]
    color: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    identity: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, str))

    def __post_init__(self) -> None:
        if len(self.color) != len(self):
            object.__setattr__(self, "color", np.full(len(self), np.nan))
        if len(self.identity) != len(self):
            object.__setattr__(self, "identity", np.full(len(self), ""))

    def __len__(self) -> int:
        return len(self.sky)

    def __getitem__(self, chosen: NDArray[np.bool_]) -> CatalogStars:
        """Return the stars that a mask, shape (n,), chooses."""
        parts = {item.name: getattr(self, item.name) for item in fields(self)}
        return CatalogStars(
            **{key: value if key == "name" else value[chosen] for key, value in parts.items()}
        )

    @property
    def moves(self) -> bool:
        """Whether positions or their errors depend on the time."""
        return bool(np.isfinite(self.epoch).any())

    def within(self, centre: ArrayLike, radius: float) -> CatalogStars:
        """Return the stars within `radius` degrees of `centre` (right ascension, declination)."""
        cosine = sky_to_vectors(self.sky) @ sky_to_vectors(centre)
        return self[cosine >= np.cos(np.radians(min(radius, 180.0)))]

    def between(self, bright: float | None, faint: float | None) -> CatalogStars:
        """Return the stars within limits of magnitude; with a limit, those of unknown one go."""
        chosen = np.ones(len(self), dtype=bool)
        if bright is not None:
            chosen &= self.magnitude >= bright
        if faint is not None:
            chosen &= self.magnitude <= faint
        return self[chosen]


def positions_at(stars: CatalogStars, epoch: float) -> NDArray[np.float64]:
    """Astrometric positions of stars, seen from JWST.

    Parameters
    ----------
    stars : CatalogStars
    epoch : float
        Julian year.

    Returns
    -------
    sky : ndarray, shape (n, 2)
        Right ascension and declination, degrees. Stars of unknown motion or epoch stay where
        they are. A parallax is used if it exceeds three times its error, or has none.
    """
    years = np.where(np.isfinite(stars.epoch), epoch - stars.epoch, 0.0)
    motion = np.where(np.isfinite(stars.motion), stars.motion, 0.0) * years[:, None]
    vectors = sky_to_vectors(stars.sky)
    east, north = _axes(stars.sky)
    moved = vectors + (motion[:, :1] * east + motion[:, 1:] * north) * 1e-3 * ARCSEC
    parallax = _used_parallax(stars)
    if parallax.any() and np.isfinite(stars.epoch).any():
        moved = moved - parallax[:, None] * 1e-3 * ARCSEC * _observer(epoch)
    unchanged = (motion == 0).all(axis=1) & (parallax == 0)
    return np.where(unchanged[:, None], stars.sky, vectors_to_sky(moved))


def _used_parallax(stars: CatalogStars) -> NDArray[np.float64]:
    error = np.where(np.isfinite(stars.parallax_sigma), stars.parallax_sigma, 0.0)
    known = np.isfinite(stars.parallax) & np.isfinite(stars.epoch)
    with np.errstate(invalid="ignore"):
        return np.where(known & (stars.parallax > _SIGNIFICANT_PARALLAX * error), stars.parallax, 0)


def _axes(sky: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return unit vectors (n, 3) to the east and to the north."""
    ra, dec = np.radians(sky).T
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    return east, north


def _observer(epoch: float) -> NDArray[np.float64]:
    """Return the barycentric position (3,) of JWST in au: a little farther out than the Earth."""
    from astropy.coordinates import get_body_barycentric
    from astropy.time import Time

    time = Time(epoch, format="jyear", scale="tdb")
    # the approximate ephemeris that comes with astropy: nothing is fetched
    earth, sun = (
        get_body_barycentric(body, time, ephemeris="builtin").get_xyz().to_value("au")
        for body in ("earth", "sun")
    )
    position: NDArray[np.float64] = sun + _L2 * (earth - sun)
    return position


def _sigma_at(stars: CatalogStars, epoch: float) -> NDArray[np.float64]:
    """Return one-sigma errors (n,) in arcsec; NaN where the catalog tells none."""
    years = np.where(np.isfinite(stars.epoch), epoch - stars.epoch, 0.0)
    known = np.isfinite(stars.motion).all(axis=1)
    error = np.where(np.isfinite(stars.motion_sigma), stars.motion_sigma, 0.0)
    rate = np.where(known, error, UNKNOWN_MOTION) * 1e-3
    grown = rate * years
    # of a star without known error only the growth is known: it is not to look exact
    sigma = np.where(np.isnan(stars.sigma) & (grown != 0) & ~known, 0.0, stars.sigma)
    return np.hypot(sigma, grown)


def reference_stars(stars: CatalogStars, epochs: Sequence[float]) -> ReferenceStars:
    """Move the stars of a catalog to the epoch of each image.

    Parameters
    ----------
    stars : CatalogStars
    epochs : sequence of float
        Julian year of each image. An unknown one (NaN) is taken as the mean of the others.

    Returns
    -------
    ReferenceStars
        Its `sigma` is the root mean square over the images. A star whose motion is not known
        stays where it is, and its error grows by 5 mas a year.
    """
    times = np.asarray(epochs, dtype=np.float64)
    sky, sigma = stars.sky, stars.sigma
    if stars.moves and times.size:
        known = np.isfinite(times)
        if not known.any():
            log.warning("%s: the epoch of the images is not known: its stars stay", stars.name)
        else:
            times = np.where(known, times, times[known].mean())
            # images of one visit differ by minutes: a thousandth of a year moves nothing
            rounded, which = np.unique(np.round(times, 4), return_inverse=True)
            sky = np.stack([positions_at(stars, time) for time in rounded])[which]
            squares = [np.square(_sigma_at(stars, time)) for time in rounded]
            sigma = np.sqrt(np.mean(np.stack(squares)[which], axis=0))
    return ReferenceStars(
        sky=sky,
        sigma=sigma,
        weight=stars.weight,
        magnitude=stars.magnitude,
        name=stars.name,
    )
