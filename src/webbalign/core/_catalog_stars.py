"""The stars of a solved component, and those of the catalog near it, ready to be matched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webbalign.core._components import Component
from webbalign.core._star_field import StarField
from webbalign.core.network import NetworkSolution
from webbalign.core.starlists import ReferenceStars

__all__ = ["CatalogStars", "JoinedStars", "stars_near"]


@dataclass(frozen=True, eq=False)
class CatalogStars:
    """The reference stars near a component, in the field's plane.

    Attributes
    ----------
    index : ndarray of int, shape (n,)
        Of the stars in the catalog.
    xy : ndarray, shape (n, 2)
        Mean over the epochs of the component's images, arcsec.
    motion : ndarray, shape (images, n, 2), or None
        What is to be added for each image, arcsec, if the epochs differ.
    sigma, weight, flux : ndarray, shape (n,)
        As of stars in images.
    """

    index: NDArray[np.intp]
    xy: NDArray[np.float64]
    motion: NDArray[np.float64] | None
    sigma: NDArray[np.float64]
    weight: NDArray[np.float64]
    flux: NDArray[np.float64]


class JoinedStars:
    """Stars of a component as the catalog is compared with them.

    Attributes
    ----------
    rows : ndarray of int, shape (k,)
        Measurements of the field: those of the component's solution, then stars seen once.
    track : ndarray of int, shape (k,)
        Number of the star of each; what is seen once has a number of its own.
    count : int
        Number of stars.
    flux, sigma : ndarray, shape (count,)
        Mean flux, and error of the mean position, arcsec.
    times : ndarray of int, shape (count,)
        How often each was seen.
    """

    def __init__(self, field: StarField, component: Component) -> None:
        self.field = field
        self.component = component
        n_tracks = len(component.solution.stars)
        mine = np.isin(field.group, component.groups) & (field.weight > 0)
        mine[component.rows] = False
        self.single = np.flatnonzero(mine)
        self.rows = np.concatenate([component.rows, self.single])
        self.track = np.concatenate(
            [component.track, n_tracks + np.arange(len(self.single), dtype=np.intp)]
        )
        self.count = n_tracks + len(self.single)
        self.times = np.bincount(self.track, minlength=self.count)
        # of a star all of whose measurements disagree there is no position
        self.flux = _mean(self.track, field.flux[self.rows], self.count)
        weight = 1.0 / np.maximum(np.nan_to_num(field.sigma[self.rows]) ** 2, 1e-8)
        total = np.bincount(self.track, weight, self.count)
        self.sigma = np.hypot(1.0 / np.sqrt(total), component.solution.floor)

    def positions(self, solution: NetworkSolution) -> NDArray[np.float64]:
        """Positions (count, 2) by a solution of the component or of the component and catalog."""
        ways = self.field.to_field
        for number, g in enumerate(self.component.groups):
            ways[g] = solution.way(number)
        xy = np.full((self.count, 2), np.nan)
        n_tracks = len(self.component.solution.stars)
        xy[:n_tracks] = solution.stars[:n_tracks]
        xy[n_tracks:] = self.field.positions(ways)[self.single]
        return xy


def stars_near(
    field: StarField, component: Component, reference: ReferenceStars, margin: float
) -> CatalogStars:
    """Catalog stars in the box of a component, at the mean of its images' epochs."""
    ways = component.ways(field)
    corners = np.concatenate([field.outlines(ways)[g] for g in component.groups])
    low, high = corners.min(axis=0) - margin, corners.max(axis=0) + margin
    images = [k for g in component.groups for k in field.groups[g].lists]
    with np.errstate(invalid="ignore"):
        xy = field.plane.from_sky(reference.sky_at(field.came[images[0]]))
    index = np.flatnonzero(((xy >= low) & (xy <= high)).all(axis=1) & (reference.weight > 0))
    motion = None
    xy = xy[index]
    if reference.sky.ndim == 3:
        at = np.zeros((len(field.lists), len(index), 2))
        for k in images:
            at[k] = field.plane.from_sky(reference.sky_at(field.came[k])[index])
        xy = at[images].mean(axis=0)
        motion = at - xy
    weight = reference.weight[index]
    flux = 10.0 ** (-0.4 * reference.magnitude[index])
    weight = weight / weight.mean() if len(weight) else weight
    return CatalogStars(index, xy, motion, reference.sigma[index], weight, flux)


def _mean(number: NDArray[np.intp], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Mean of the known values of each number, shape (count,); NaN without one."""
    known = np.isfinite(values)
    n = np.bincount(number[known], minlength=count)
    total = np.bincount(number[known], values[known], count)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)
