"""Which pairs of images agree with one another, and what their misclosures say about their errors.

Unknown are a shift and a rotation of each image in the common plane, to first order about the
solution: about zero, images an arcsecond apart and rolled by 0.01 degrees would miss closure by
0.2 mas, which no pair's error knows of. The least sum of distances, not of squares, finds the
largest part of the pairs that is consistent. A pair outside it is rejected if nothing else explains
the contradiction: its two images are connected otherwise, and stay so whichever other pair is left
out. Else it cannot be said which is wrong; all of them then count little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from webbalign.core._pair_types import ImagePair

__all__ = ["Agreement", "PairNetwork"]

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

_ROUNDS, _L1_STEPS = 12, 60
# arcsec: what the first order leaves out, and no error of a pair tells
_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Agreement:
    """What is to be made of the pairs.

    Attributes
    ----------
    used : ndarray of bool (pairs,)
    extra : ndarray (pairs,)
        One-axis error to be added to each, arcsec: `floor`, and the contradiction where it cannot
        be said which pair is wrong.
    floor : float
        One-axis error of all pairs beyond the stated ones, arcsec.
    chi2 : float
        Reduced chi-square of the pairs used with the stated errors; NaN without freedom.
    freedom : int
    """

    used: Bools
    extra: Array = field(repr=False)
    floor: float
    chi2: float
    freedom: int


class PairNetwork:
    """Images and the pairs between them, linearised.

    Parameters
    ----------
    names : sequence of str
        Images.
    pairs : sequence of ImagePair
        Between them; finite.
    radius : float
        Of the images, arcsec: rotations count by what they do there.
    """

    def __init__(self, names: Sequence[str], pairs: Sequence[ImagePair], radius: float) -> None:
        index = {name: k for k, name in enumerate(names)}
        self.ends = np.array([[index[p.first], index[p.second]] for p in pairs]).reshape(-1, 2)
        self.n_images, self.radius = len(names), radius
        points, shifts = (
            np.array(of).reshape(-1, 2)
            for of in ([p.point for p in pairs], [p.shift for p in pairs])
        )
        self._middle = (points + 0.5 * shifts).mean(axis=0) if len(points) else np.zeros(2)
        self._points = points - self._middle
        self.turns = np.array([np.isfinite(p.rotation_error) for p in pairs], dtype=bool)
        self.values = np.zeros((len(pairs), 3))
        self.covs = np.zeros((len(pairs), 3, 3))
        self._rows = np.zeros((len(pairs), 3, 3 * len(names)))
        for k, pair in enumerate(pairs):
            # half of the way, so that it does not matter which is first
            x, y = (pair.point + 0.5 * pair.shift - self._middle) / radius
            block = np.array([[1.0, 0.0, -y], [0.0, 1.0, x], [0.0, 0.0, 1.0]])
            i, j = self.ends[k]
            self._rows[k, :, 3 * i : 3 * i + 3] -= block
            self._rows[k, :, 3 * j : 3 * j + 3] += block
            self.values[k] = *pair.shift, radius * pair.rotation
            self.covs[k, :2, :2] = pair.shift_cov
            # a rotation that is not measured says nothing
            self.covs[k, 2, 2] = (radius * pair.rotation_error) ** 2 if self.turns[k] else 1e6
        self._measured = self.values.copy()

    def agreement(self, sigma: float) -> Agreement:
        """Find the pairs that agree within `sigma` errors."""
        number = len(self.values)
        extra, floor = np.zeros(number), 0.0
        self._linearise(self._least_sum())
        distance = self._distances(self._least_sum(), extra)
        # as many pairs as there are images, less one, are met exactly: the others tell the scale
        others = np.sort(distance)[self.n_images - 1 :]
        scale = max(float(others[(len(others) - 1) // 2]), 1.0) if len(others) else 1.0
        used = distance <= sigma**2 * scale
        for _ in range(_ROUNDS):
            used = self._spanning(used, distance)
            chi2, freedom = self._chi2(used, extra)
            floor = self._floor(used, extra) if freedom > 0 else 0.0
            total = np.hypot(extra, floor)
            distance = self._distances(self._solution(used, total), total, used)
            now = distance <= sigma**2
            if (now == used).all():
                break
            used = now
        used, extra = self._named(used, sigma, floor)
        chi2, freedom = self._chi2(used, np.zeros(number))
        if extra.any():
            floor = 0.0
        return Agreement(used, np.hypot(extra, floor), floor, chi2, freedom)

    # Least squares and least sums -----------------------------------------------------------------

    def _weights(self, extra: Array) -> Array:
        grown = self.covs + (extra**2)[:, None, None] * np.eye(3)
        return np.asarray(np.linalg.inv(grown))

    def _system(self, used: Bools, extra: Array, soft: Array | None = None) -> tuple[Array, Array]:
        """Inverse normal matrix, and the solution."""
        weights = self._weights(extra)[used]
        if soft is not None:
            weights = weights * soft[used, None, None]
        rows = self._rows[used]
        weighted = np.einsum("kij,kjm->kim", weights, rows)
        matrix = np.einsum("kim,kin->mn", rows, weighted)
        right = np.einsum("kim,ki->m", weighted, self.values[used])
        scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
        # all images may move together: the shortest solution
        inverse = np.linalg.pinv(matrix / np.outer(scale, scale), rcond=1e-9, hermitian=True)
        inverse = inverse / np.outer(scale, scale)
        return inverse, inverse @ right

    def _solution(self, used: Bools, extra: Array) -> Array:
        return self._system(used, extra)[1]

    def _least_sum(self) -> Array:
        """Solution with the least sum of distances (iteratively reweighted)."""
        everything = np.ones(len(self.values), dtype=bool)
        none = np.full(len(self.values), _TOLERANCE)
        soft = np.ones(len(self.values))
        found = np.zeros(3 * self.n_images)
        for step in range(_L1_STEPS):
            found = self._system(everything, none, soft)[1]
            distance = np.sqrt(self._distances(found, none))
            # towards the least sum little by little, lest an early guess holds itself
            soft = 1.0 / np.maximum(distance, max(1e-3, 10.0 * 0.8**step))
        return found

    def _linearise(self, found: Array) -> None:
        """Make the equations exact about a solution."""
        places = found.reshape(-1, 3)
        for k, (i, j) in enumerate(self.ends.tolist()):
            here = _back(places[i], self.radius, self._points[k])
            there = _back(places[j], self.radius, self._points[k] + self._measured[k, :2])
            # turned as halfway between both images, so that it does not matter which is first
            apart = _turn(0.5 * (places[i] + places[j]), self.radius) @ (there - here)
            turned = self._measured[k, 2] - (places[j, 2] - places[i, 2])
            self.values[k] = [*apart, turned] + self._rows[k] @ found

    def _left(self, found: Array) -> Array:
        left: Array = self.values - self._rows @ found
        left[~self.turns, 2] = 0.0
        return left

    def _distances(self, found: Array, extra: Array, used: Bools | None = None) -> Array:
        """Squared distances (pairs,) per degree of freedom, from closure, in errors."""
        grown = self.covs + (extra**2 + _TOLERANCE**2)[:, None, None] * np.eye(3)
        if used is not None:
            inverse = self._system(used, extra)[0]
            spread = np.einsum("kim,mn,kjn->kij", self._rows, inverse, self._rows)
            # what was used is nearer to the solution than its error, what was not is farther
            grown = grown + np.where(used, -0.99, 1.0)[:, None, None] * spread
        left = self._left(found)
        squared = np.einsum("ki,ki->k", left, np.linalg.solve(grown, left[..., None])[..., 0])
        return np.asarray(squared / np.where(self.turns, 3.0, 2.0))

    def _chi2(self, used: Bools, extra: Array) -> tuple[float, int]:
        """Reduced chi-square of the pairs used, and the degrees of freedom."""
        numbers = np.where(self.turns, 3, 2)
        spans = self.n_images - len(set(self._parts(used).tolist()))
        freedom = int(numbers[used].sum()) - spans * (3 if self.turns[used].any() else 2)
        if freedom <= 0:
            return float("nan"), freedom
        left = self._left(self._solution(used, extra))[used]
        weighted = np.einsum("kij,kj->ki", self._weights(extra)[used], left)
        return float(np.sum(left * weighted)) / freedom, freedom

    def _floor(self, used: Bools, extra: Array) -> float:
        """Error to add so that the reduced chi-square is 1 (Paule & Mandel 1982)."""
        if not self._chi2(used, extra)[0] > 1.0:
            return 0.0
        low, high = 0.0, 1e-6
        while self._chi2(used, np.hypot(extra, high))[0] > 1.0 and high < 1e3:
            high *= 4.0
        for _ in range(40):
            middle = 0.5 * (low + high)
            above = self._chi2(used, np.hypot(extra, middle))[0] > 1.0
            low, high = (middle, high) if above else (low, middle)
        return 0.5 * (low + high)

    # Connections ----------------------------------------------------------------------------------

    def _parts(self, used: Bools) -> NDArray[np.intp]:
        """Label (images,) of the connected part of each image."""
        label = np.arange(self.n_images)
        for i, j in self.ends[used]:
            label[label == label[j]] = label[i]
        return label

    def _spanning(self, used: Bools, distance: Array) -> Bools:
        """Add the nearest pairs until no image is lost."""
        used = used.copy()
        for k in np.argsort(distance, kind="stable"):
            label = self._parts(used)
            if label[self.ends[k, 0]] != label[self.ends[k, 1]]:
                used[k] = True
        return used

    def _named(self, used: Bools, sigma: float, floor: float) -> tuple[Bools, Array]:
        """Keep the pairs of which it cannot be said that they, and not others, are wrong."""
        extra = np.zeros(len(used))
        left = self._left(self._solution(used, np.full(len(used), floor)))
        doubtful = used.copy()
        for k in np.flatnonzero(~used).tolist():
            others = [
                e for e in np.flatnonzero(used).tolist() if self._between(self._without(used, e), k)
            ]
            if others:
                doubtful[k] = True
                apart = float(np.abs(left[k]).max())
                extra[[k, *others]] = np.maximum(extra[[k, *others]], apart)
        return doubtful, extra

    def _without(self, used: Bools, pair: int) -> Bools:
        fewer = used.copy()
        fewer[pair] = False
        return fewer

    def _between(self, used: Bools, pair: int) -> bool:
        """Whether the two images of a pair are in different parts."""
        label = self._parts(used)
        return bool(label[self.ends[pair, 0]] != label[self.ends[pair, 1]])


def _turn(place: Array, radius: float) -> Array:
    angle = place[2] / radius
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _back(place: Array, radius: float, xy: Array) -> Array:
    """Which point of the plane an image at a place (dx, dy, rotation times radius) shows there."""
    return np.asarray(_turn(place, radius).T @ (xy - place[:2]))
