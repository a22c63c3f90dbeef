"""Robust iterations over a network: weights, clipping, the floor under the stated errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webbalign.core._network_equations import Equations, normal_equations, right_hand_side
from webbalign.core._network_floors import Floors, found_floors
from webbalign.core._network_parts import FixedStars, State
from webbalign.core._network_problem import Problem
from webbalign.core._robust_tracks import SMALLEST, Repeats, huber_weights
from webbalign.core.affine import MIN_STARS

__all__ = ["Slopes", "Solver"]

# mean squared step, in errors of the unknowns, after which it is time to clip
_COARSE = 1e-4
# largest step, in arcsec, after which nothing is left to do
_FINE = 1e-11
# steps as small as this, in arcsec, that do not get smaller are made of rounding errors
_ROUNDING = 1e-9
# largest step, in arcsec, after which the derivatives have to be made anew
_STALE = 1e-2
# variance, arcsec squared, of measurements of unknown error that are too few to tell it
_UNKNOWN = 1e-4


@dataclass(frozen=True, eq=False)
class Slopes:
    """Derivatives of the stars' positions, by group, and of the links' differences."""

    stars: list[NDArray[np.float64]]
    links: NDArray[np.float64]


class Solver:
    """The measurements of a problem, images' first, then the catalog's, with their weights.

    Attributes
    ----------
    state : State
        The corrections.
    active : ndarray of bool, shape (n + m,)
        What counts; images' stars, then catalog stars.
    link_weight : ndarray
        How much each link counts, 0 to 1.
    lost : ndarray of bool, shape (groups,)
        Groups with too few stars left: they do not move and do not count.
    floors : Floors
        Variances added to those of images' stars and catalog stars.
    spent : float
        Degrees of freedom of images' stars that the corrections of the groups have taken: all of
        these unknowns, without links; less where links tell a part of them.
    n_iter : int
        Steps taken.
    converged : bool
    """

    def __init__(self, problem: Problem, fixed: FixedStars, n_tracks: int) -> None:
        seen = problem.observations
        self.problem = problem
        self.fixed = fixed
        self.n_image = len(seen.track)
        self.repeats = Repeats(np.concatenate([seen.track, fixed.track]), n_tracks)
        self.image_repeats = Repeats(seen.track, n_tracks)
        sigma = np.concatenate([seen.sigma, fixed.sigma])
        self.stated = np.where(np.isfinite(sigma), sigma, 0.0) ** 2
        self.weight = np.concatenate([seen.weight, fixed.weight])
        self.group = np.concatenate([seen.group, np.full(len(fixed.track), -1)])
        self.is_image = self.group >= 0
        self.state: State = problem.start()
        self.lost = np.zeros(len(problem.frames), bool)
        self.valid = self.weight > 0
        self.active = self.valid & (self.repeats.members(self.valid)[self.repeats.track] > 1)
        self.links = problem.links
        self.link_weight = np.ones(len(problem.links))
        self._firm = np.array([link.firm for link in self.links], dtype=bool)
        bundles = [x.bundle if x.bundle >= 0 else -1 - k for k, x in enumerate(self.links)]
        self._bundle = np.unique(np.array(bundles, dtype=np.intp), return_inverse=True)[1]
        # where nothing is stated, and too few measurements to tell
        self.floors = Floors(
            0.0 if self.stated[self.is_image].all() else _UNKNOWN,
            0.0 if self.stated[~self.is_image].all() else _UNKNOWN,
        )
        self.spent = float(problem.n_groups_columns)
        if self.links:
            seen_in = np.unique(seen.group[self.active[: self.n_image]])
            self.spent = float(sum(len(problem.directions[g]) for g in seen_in.tolist()))
        self.n_iter = 0
        self._slopes: Slopes | None = None
        self._moved = np.inf
        self.converged = True

    def run(
        self,
        nclip: int,
        limit: float,
        fixed_limit: float,
        *,
        rough: bool = False,
        near: bool = False,
    ) -> None:
        """Huber's loss first, then clipping, then least squares with what is left.

        A `rough` run stops when the steps are small compared with the errors; one that begins
        `near` the solution needs Huber's loss no more.
        """
        limits = np.where(self.is_image, limit, fixed_limit)
        self._drop_poor_groups()
        if nclip:
            self._huber(0 if near else 30)
            for _ in range(nclip):
                if self._clip(limits, limit):
                    break
                self._settle()
        self._settle()
        if not rough:
            self._finish()

    def positions(self) -> NDArray[np.float64]:
        """Return positions (n + m, 2) in the field's plane, arcsec."""
        return np.concatenate([self.problem.positions(self.state), self.fixed.xy])

    def variance(self) -> NDArray[np.float64]:
        """Return variances (n + m,), the floor included, divided by the users' weights."""
        floor = np.where(self.is_image, self.floors.images, self.floors.catalog)
        stated = self.stated * np.where(self.is_image, self.floors.stretch, 1.0)
        safe = np.where(self.weight > 0, self.weight, 1.0)
        return np.maximum(stated + floor, SMALLEST**2) / safe

    def normal(
        self, weight: NDArray[np.float64], *, fresh: bool = True
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Slopes]:
        """Return normal matrix, right-hand side and derivatives for weights (n + m,).

        Unless they have to be `fresh`, the derivatives are the last ones.
        """
        n = self.n_image
        if fresh or self._slopes is None:
            self._slopes = Slopes(
                self.problem.derivatives(self.state), self.problem.link_derivatives(self.state)
            )
        slopes = self._slopes
        more = np.bincount(self.fixed.track, weight[n:], self.repeats.count).astype(np.float64)
        matrix, right = normal_equations(
            self.problem,
            slopes.stars,
            self._residual(weight),
            weight[:n],
            self.image_repeats,
            more,
        )
        if self.links:
            stars = matrix.copy()
            for k in np.flatnonzero(self.link_weight).tolist():
                weighted = self.link_weight[k] * np.linalg.solve(self.links[k].cov, slopes.links[k])
                matrix += slopes.links[k].T @ weighted
            self.spent = self._spent(stars, matrix)
        return matrix, right + self._from_links(slopes), slopes

    def _spent(self, stars: NDArray[np.float64], matrix: NDArray[np.float64]) -> float:
        """Trace, over the groups' unknowns, of the part of the normal matrix that stars made."""
        moving = np.flatnonzero(self.moving()[: self.problem.n_groups_columns])
        scale = np.sqrt(np.maximum(np.diag(matrix)[moving], 0.0))
        moving, scale = moving[scale > 0], scale[scale > 0]
        own, size = np.ix_(moving, moving), np.outer(scale, scale)
        inverse = np.linalg.pinv(matrix[own] / size, rcond=1e-10, hermitian=True)
        return float(np.sum(inverse * (stars[own] / size)))

    def _residual(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of the star less position (n, 2) of images' measurements."""
        positions = self.positions()
        mean = self.repeats.means(positions, weight)[0]
        return (mean[self.repeats.track] - positions)[: self.n_image]

    def _from_links(self, slopes: Slopes) -> NDArray[np.float64]:
        """Part of the right-hand side that the links contribute."""
        right = np.zeros(self.problem.n_columns)
        difference = self.problem.link_differences(self.state)
        for k in np.flatnonzero(self.link_weight).tolist():
            weighted = self.link_weight[k] * np.linalg.solve(self.links[k].cov, difference[k])
            right -= slopes.links[k].T @ weighted
        return right

    def moving(self) -> NDArray[np.bool_]:
        """Return which unknowns (k,) are solved for."""
        moving = np.ones(self.problem.n_columns, bool)
        for g in np.flatnonzero(self.lost):
            moving[self.problem.columns[g]] = False
        return moving

    def _step(self, weight: NDArray[np.float64]) -> tuple[float, float]:
        """Take one Gauss-Newton step.

        Returns
        -------
        size : float
            Its mean square in units of the unknowns' errors.
        largest : float
            Its largest component, arcsec.
        """
        matrix, right, _ = self.normal(weight, fresh=self._moved > _STALE)
        step = self._take(Equations(matrix, self.moving()), right)
        size = float(right @ step) / max(int(self.moving().sum()), 1)
        return size, float(np.abs(step).max(initial=0.0))

    def _take(self, equations: Equations, right: NDArray[np.float64]) -> NDArray[np.float64]:
        step = equations.solve(right)
        self.state = self.problem.stepped(self.state, step)
        self._moved = float(np.abs(step).max(initial=0.0))
        self.n_iter += 1
        return step

    def _huber(self, steps: int) -> None:
        """Minimise Huber's loss; in any case set the floors for clipping."""
        robust = np.ones(len(self.weight))
        for _ in range(steps):
            positions = self.positions()
            weight = self.active * robust / self.variance()
            distance = self._standardised(positions, weight, median=True)
            robust = huber_weights(distance)
            trusted = np.where(self._firm, 1.0, huber_weights(self._link_distances()))
            self.link_weight = trusted * self._links_kept()
            if self._step(self.active * robust / self.variance())[0] < _COARSE:
                break
        positions = self.positions()
        self._standardised(positions, self.active * robust / self.variance(), median=True)

    def _clip(self, limits: NDArray[np.float64], link_limit: float) -> bool:
        """Reject what does not agree; return whether that is what was rejected before."""
        before, links = self.active, self.link_weight
        near = self._firm | (self._link_distances() <= link_limit)
        self.link_weight = (near & self._links_kept()).astype(float)
        self.active = self.repeats.clip(self.positions(), self.variance(), self.valid, limits)
        self._drop_poor_groups()
        return bool((before == self.active).all() and (links == self.link_weight).all())

    def _link_distances(self) -> NDArray[np.float64]:
        """Return the distances (links,) from closure in their errors, one for each bundle."""
        difference = self.problem.link_differences(self.state)
        squared = [
            d @ np.linalg.solve(link.cov, d) for d, link in zip(difference, self.links, strict=True)
        ]
        count = np.bincount(self._bundle)
        mean = np.bincount(self._bundle, np.array(squared, dtype=np.float64)) / count
        return np.sqrt(mean[self._bundle])

    def _links_kept(self) -> NDArray[np.bool_]:
        """Return which links (m,) join groups that are not lost."""
        kept = [not (self.lost[link.first] or self.lost[link.second]) for link in self.links]
        return np.array(kept, dtype=bool)

    def _settle(self) -> None:
        """Least squares with what is active; the floor follows the residuals."""
        for _ in range(4):
            self._standardised(self.positions(), self.active / self.variance(), median=False)
            if self._step(self.active / self.variance())[0] < _COARSE:
                return

    def _finish(self) -> None:
        """Converge to the last digit, with the floor and the derivatives as they are by now."""
        weight = self.active / self.variance()
        matrix, right, slopes = self.normal(weight)
        equations = Equations(matrix, self.moving())
        n, last = self.n_image, np.inf
        for _ in range(20):
            step = self._take(equations, right)
            largest = np.abs(step).max(initial=0.0)
            if largest < _FINE or last / 2 < largest < _ROUNDING:
                return
            last = largest
            # the same derivatives: their change is of the second order in these steps
            right = right_hand_side(
                self.problem, slopes.stars, self._residual(weight), weight[:n]
            ) + self._from_links(slopes)
        self.converged = False

    def _standardised(
        self, positions: NDArray[np.float64], weight: NDArray[np.float64], *, median: bool
    ) -> NDArray[np.float64]:
        """Set the floors; return the distances (n + m,) from the stars' means in their errors."""
        self.floors = found_floors(self, positions, weight, median=median)
        variance = self.variance()
        mean, total = self.repeats.means(positions, weight)
        apart = positions - mean[self.repeats.track]
        lever = weight / np.where(total > 0, total, 1.0)[self.repeats.track]
        free = variance * np.maximum(1.0 - lever, 1e-3)
        return np.sqrt(np.sum(apart**2, axis=1) / free)

    def _drop_poor_groups(self) -> None:
        """Leave groups out that have fewer stars in common with others than they need."""
        self.valid = self.weight > 0
        n = self.n_image
        n_groups = len(self.lost)
        linked = np.zeros(n_groups, bool)
        for link, weight in zip(self.links, self.link_weight, strict=True):
            linked[[link.first, link.second]] |= weight > 0
        needed = np.array([MIN_STARS[frame.geometry or "shift"] for frame in self.problem.frames])
        while True:
            kept = np.append(~self.lost, True)[self.group]
            self.active = self.active & kept
            self.active &= self.repeats.members(self.active)[self.repeats.track] > 1
            counts = np.bincount(self.group[:n][self.active[:n]], minlength=n_groups)
            poor = (counts < needed) & ~linked & ~self.lost
            if not poor.any():
                break
            self.lost = self.lost | poor
        self.valid = self.valid & np.append(~self.lost, True)[self.group]
