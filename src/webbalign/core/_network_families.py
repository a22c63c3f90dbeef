"""Groups that were taken with one attitude share their roll: that of each is drawn to the others'.

Between the exposures of a visit the telescope moves, and guiding leaves a jitter, but its roll and
the scale of its cameras stay. How far that holds is found from the groups themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webbalign.core._network_parts import GroupFrame, State
from webbalign.core._network_problem import Problem
from webbalign.core.affine import PARAMETERS
from webbalign.core.shrinking import shrink_together

__all__ = ["Families", "drawn_together"]

_SHIFTS = 2  # the first parameters of each geometry


@dataclass(frozen=True, eq=False)
class Families:
    """A network whose groups are drawn together.

    Attributes
    ----------
    state : State
    covariance : ndarray, shape (k, k)
    roll_scatter : float
        Of the rolls of a family, radians; NaN: nothing tells it.
    """

    state: State
    covariance: NDArray[np.float64]
    roll_scatter: float


def drawn_together(problem: Problem, state: State, covariance: NDArray[np.float64]) -> Families:
    """Draw rolls, and whatever else is fitted beside shifts, together within families of groups.

    Parameters
    ----------
    problem : Problem
        Its frames tell the families.
    state : State
        The corrections.
    covariance : ndarray, shape (k, k)
        Of the unknowns; NaN for those that nothing fixes.

    Returns
    -------
    Families
        The shifts follow the rolls by their covariance with them.
    """
    fixed = np.isfinite(np.diag(covariance))
    found, scatter = covariance.copy(), np.nan
    for number in range(_SHIFTS, max(PARAMETERS.values())):
        members = [g for g in range(len(problem.frames)) if _takes_part(problem, g, number, fixed)]
        values = np.array([_linear(state.groups[g])[number - _SHIFTS] for g in members])
        rows = np.zeros((len(members), len(covariance)))
        for row, g in zip(rows, members, strict=True):
            frame, columns = problem.frames[g], problem.columns[g]
            if frame.geometry is not None:
                row[columns.start + number] = 1.0 / frame.radius
        families = _numbers([problem.frames[g] for g in members])
        known = np.ix_(fixed, fixed)
        shrunk = shrink_together(values, rows[:, fixed], found[known], families)
        if not shrunk.n_differences:
            continue
        step = np.zeros(len(covariance))
        step[fixed] = shrunk.step
        state, found[known] = problem.stepped(state, step), shrunk.covariance
        scatter = shrunk.scatter if number == _SHIFTS else scatter
    return Families(state, found, scatter)


def _takes_part(problem: Problem, g: int, number: int, fixed: NDArray[np.bool_]) -> bool:
    """Whether a group is of a family, and this parameter of it is known."""
    frame, columns = problem.frames[g], problem.columns[g]
    if not frame.family:
        return False
    if frame.geometry is None:  # what holds the network has the corrections of the identity
        return True
    return number < PARAMETERS[frame.geometry] and bool(fixed[columns].all())


def _numbers(frames: list[GroupFrame]) -> list[int]:
    names = sorted({frame.family for frame in frames})
    return [names.index(frame.family) for frame in frames]


def _linear(matrix: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Rotation, scale and the two shears of a correction (3, 3), as the generators have them."""
    (a, b), (c, d) = matrix[:2, :2]
    rotation = np.arctan2(c - b, a + d)
    scale = 0.5 * np.log(a * d - b * c)
    return float(rotation), float(scale), float(a - d) / 2, float(b + c) / 2
