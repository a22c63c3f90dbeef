"""Shifts and rolls of groups of images from the star pairs of overlapping groups, all at once.

Unknown are a shift and a roll for each group; the data are pairs of stars of two groups, whose
positions have to agree afterwards. A pair of groups that was matched wrongly contradicts the
others in the loops it is part of: it is found by its residuals and left out. Positions are complex
numbers x + iy, in arcsec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

__all__ = ["GroupSolution", "Link", "connected", "solve_groups"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

# What is known of the groups beforehand fixes what the pairs leave open: the common motion.
_SHIFT_PRIOR = 10.0
_ROLL_PRIOR = np.deg2rad(1.0)
_ITERATIONS = 4
# Stars beyond this many sigma count less (Huber).
_HUBER = 2.5
# A pair of groups whose stars disagree by this many times the usual scatter is wrong.
_CONTRADICTION = 5.0
# The median of a Rayleigh distribution, and its quantile of 95 %, in sigma.
_MEDIAN = 1.1774
_QUANTILE_95 = 2.4477


@dataclass(frozen=True)
class Link:
    """Star pairs of two groups: `a`, `b` their numbers, `za`, `zb` (n,) the positions."""

    a: int
    b: int
    za: Complex
    zb: Complex


@dataclass(frozen=True)
class GroupSolution:
    """Motion of each group: a turn by `roll` (g,) about `centre` (g,), then `shift` (g,) complex.

    Attributes
    ----------
    residual : ndarray (n_links,)
        Median distance in arcsec of the star pairs of each link, used or not.
    used : ndarray (n_links,)
        False for links that contradict the others.
    sigma : float
        One-axis scatter in arcsec of the star pairs of the links used; nan if there are none.
    """

    centre: Complex
    shift: Complex
    roll: Array
    residual: Array
    used: NDArray[np.bool_]
    sigma: float

    def apply(self, group: int, z: Complex) -> Complex:
        """Return positions of a group after its motion."""
        return _moved(z, self.centre[group], self.shift[group], self.roll[group])


def connected(n_groups: int, links: Sequence[tuple[int, int]]) -> NDArray[np.intp]:
    """Return the number (n_groups,) of the component of each group."""
    ends = np.array(links, np.intp).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n_groups, n_groups))
    return np.asarray(connected_components(graph, directed=False)[1], np.intp)


def solve_groups(centre: Complex, links: Sequence[Link], floor: float) -> GroupSolution:
    """Solve for the motions of all groups, leaving out links that contradict the others.

    Parameters
    ----------
    centre : ndarray (g,) of complex
        Point about which each group is turned.
    links : sequence of Link
        Star pairs.
    floor : float
        Scatter in arcsec (one axis) below which links are not compared.
    """
    used = np.ones(len(links), bool)
    while True:
        shift, roll = _solve(centre, [link for link, use in zip(links, used, strict=True) if use])
        distances = [_distances(link, centre, shift, roll) for link in links]
        residual = np.array([np.median(distance) for distance in distances])
        sigma = _scatter([d for d, use in zip(distances, used, strict=True) if use])
        if used.sum() < 3:
            break
        usual = max(float(np.median(residual[used])), _MEDIAN * floor)
        wrong = used & (residual > _CONTRADICTION * usual)
        if not wrong.any():
            break
        used[np.argmax(np.where(wrong, residual, 0.0))] = False
    return GroupSolution(centre, shift, roll, residual, used, sigma)


def _moved(z: Complex, centre: complex, shift: complex, roll: float) -> Complex:
    return np.asarray(np.exp(1j * roll) * (z - centre) + centre + shift)


def _distances(link: Link, centre: Complex, shift: Complex, roll: Array) -> Array:
    za = _moved(link.za, centre[link.a], shift[link.a], roll[link.a])
    zb = _moved(link.zb, centre[link.b], shift[link.b], roll[link.b])
    return np.abs(za - zb)


def _scatter(distances: Sequence[Array]) -> float:
    """One-axis scatter: of most pairs, and wide enough for the worse ones."""
    if not distances:
        return float("nan")
    middle, tail = np.quantile(np.concatenate(distances), [0.5, 0.95])
    return float(max(middle / _MEDIAN, tail / _QUANTILE_95))


def _solve(centre: Complex, links: Sequence[Link]) -> tuple[Complex, Array]:
    """Gauss-Newton iterations with Huber's weights; the rotation is applied exactly."""
    n = len(centre)
    total = np.zeros((n, 3))
    prior = np.tile([_SHIFT_PRIOR**-2.0, _SHIFT_PRIOR**-2.0, _ROLL_PRIOR**-2.0], n)
    sigma = np.inf
    for _ in range(_ITERATIONS):
        shift, roll = total[:, 0] + 1j * total[:, 1], total[:, 2]
        distances = [_distances(link, centre, shift, roll) for link in links]
        # misfits of arcsec in the first iteration are no errors of stars
        sigma = min(sigma, max(_scatter(distances), 1e-4)) if links else 1.0
        normal = np.diag(prior)
        right = -prior * total.ravel()
        for link, distance in zip(links, distances, strict=True):
            weight = 1.0 / np.maximum(1.0, distance / (_HUBER * sigma)) / sigma**2
            rows = [3 * link.a, 3 * link.a + 1, 3 * link.a + 2]
            rows += [3 * link.b, 3 * link.b + 1, 3 * link.b + 2]
            matrix, vector = _normal_equations(link, centre, shift, roll, weight)
            normal[np.ix_(rows, rows)] += matrix
            right[rows] += vector
        total += np.linalg.solve(normal, right).reshape(n, 3)
    return total[:, 0] + 1j * total[:, 1], total[:, 2]


def _normal_equations(
    link: Link, centre: Complex, shift: Complex, roll: Array, weight: Array
) -> tuple[Array, Array]:
    """Return normal matrix (6, 6) and right-hand side (6,): x, y, roll of both groups."""
    za = _moved(link.za, centre[link.a], shift[link.a], roll[link.a])
    zb = _moved(link.zb, centre[link.b], shift[link.b], roll[link.b])
    arm_a = za - centre[link.a] - shift[link.a]
    arm_b = zb - centre[link.b] - shift[link.b]
    one, zero = np.ones(len(za)), np.zeros(len(za))
    # moved a minus moved b; a turn moves a point by i times its arm
    along_x = np.stack([one, zero, -arm_a.imag, -one, zero, arm_b.imag])
    along_y = np.stack([zero, one, arm_a.real, zero, -one, -arm_b.real])
    difference = zb - za
    matrix = (along_x * weight) @ along_x.T + (along_y * weight) @ along_y.T
    vector = along_x @ (weight * difference.real) + along_y @ (weight * difference.imag)
    return matrix, vector
