"""What the astrometric solution is made from: stars of each image, stars of a reference catalog."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core.errors import InputError
from webbalign.core.planes import TangentPlane

__all__ = ["ReferenceStars", "StarList"]


@dataclass(frozen=True, eq=False)
class StarList:
    """The stars of one image, in its own tangent plane, before any correction.

    Attributes
    ----------
    name : str
        Name of the image, different for each.
    group : str
        Images of one group get one correction.
    plane : TangentPlane
        The plane in which a correction acts: ``xy' = matrix @ xy + shift``.
    xy : ndarray, shape (n, 2)
        Positions in that plane, arcsec.
    sigma : ndarray, shape (n,)
        One-sigma error of each coordinate, arcsec; NaN: unknown (then the residuals tell).
    flux : ndarray, shape (n,)
        In any unit that is the same for all images of a filter; NaN: unknown.
    weight : ndarray, shape (n,)
        Divides the variance; 0: ignored. Only the ratios within a list count.
    outline : ndarray, shape (k, 2)
        Polygon of the image's footprint in the plane, arcsec.
    pixel_scale : float
        Arcsec per pixel.
    fwhm : float
        Of a star, arcsec.
    pixels : ndarray, shape (n, 2)
        0-based positions in the image, to tell of them; NaN: unknown.

    Raises
    ------
    InputError
        If the shapes disagree or a position is not a number.
    """

    name: str
    group: str
    plane: TangentPlane
    xy: NDArray[np.float64]
    sigma: NDArray[np.float64]
    flux: NDArray[np.float64]
    weight: NDArray[np.float64]
    outline: NDArray[np.float64]
    pixel_scale: float
    fwhm: float
    pixels: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))

    def __post_init__(self) -> None:
        xy = np.array(self.xy, dtype=np.float64).reshape(-1, 2)
        object.__setattr__(self, "xy", xy)
        for name in ("sigma", "flux", "weight"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, _per_star(self.name, name, values, len(xy)))
        outline = np.array(self.outline, dtype=np.float64).reshape(-1, 2)
        object.__setattr__(self, "outline", outline)
        pixels = np.array(self.pixels, dtype=np.float64).reshape(-1, 2)
        if len(pixels) != len(xy):
            pixels = np.full_like(xy, np.nan)
        object.__setattr__(self, "pixels", pixels)
        if not np.isfinite(xy).all():
            raise InputError(self.name, "positions that are not numbers", "finite positions")

    def __len__(self) -> int:
        return len(self.xy)

    @property
    def sky(self) -> NDArray[np.float64]:
        """Uncorrected right ascension and declination, degrees, shape (n, 2)."""
        return self.plane.to_sky(self.xy)


@dataclass(frozen=True, eq=False)
class ReferenceStars:
    """Stars of an astrometric catalog: they do not move.

    Attributes
    ----------
    sky : ndarray, shape (n, 2) or (n_images, n, 2)
        Right ascension and declination, degrees; the second form gives the positions at the epoch
        of each image.
    sigma : ndarray, shape (n,)
        One-sigma error of each coordinate, arcsec; NaN: unknown.
    weight : ndarray, shape (n,)
        Divides the variance; 0: ignored.
    magnitude : ndarray, shape (n,)
        NaN: unknown.
    name : str
        Of the catalog, for messages.

    Raises
    ------
    InputError
        If the shapes disagree or a position is not a number.
    """

    sky: NDArray[np.float64]
    sigma: NDArray[np.float64]
    weight: NDArray[np.float64]
    magnitude: NDArray[np.float64]
    name: str = "the reference catalog"

    def __post_init__(self) -> None:
        sky = np.array(self.sky, dtype=np.float64)
        sky = sky.reshape(-1, 2) if sky.ndim < 3 else sky
        if sky.shape[-1] != 2 or not np.isfinite(sky).all():
            raise InputError(
                self.name, "positions that are not numbers", "RA and Dec for every star"
            )
        object.__setattr__(self, "sky", sky)
        for name in ("sigma", "weight", "magnitude"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, _per_star(self.name, name, values, len(self)))

    def __len__(self) -> int:
        return int(self.sky.shape[-2])

    def sky_at(self, image: int) -> NDArray[np.float64]:
        """Positions (n, 2) in degrees at the epoch of an image (index in the list of images)."""
        return self.sky if self.sky.ndim == 2 else self.sky[image]


def _per_star(owner: str, name: str, values: ArrayLike, count: int) -> NDArray[np.float64]:
    """One value for each star, from as many or from one for all."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim and array.shape != (count,):
        raise InputError(owner, f"{name} of shape {array.shape}", f"one for each of {count} stars")
    return np.array(np.broadcast_to(array, (count,)))
