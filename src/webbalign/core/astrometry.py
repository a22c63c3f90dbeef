"""Align star lists with one another and with a reference catalog.

Match, solve, match again with what the solution tells about the errors, solve; then the same with
the reference catalog. Every image ends with a status; what is not supported by stars stays as it
was.
"""

from __future__ import annotations

from collections.abc import Sequence

from webbalign.core._catalog_tie import tie_to_catalog
from webbalign.core._components import Component
from webbalign.core._image_fits import (
    AbsoluteFit,
    AstrometricSolution,
    ClosureOfGroups,
    ImageFit,
    ImageStatus,
    Residuals,
)
from webbalign.core._relative import Note, solve_relative
from webbalign.core._reporting import report
from webbalign.core._star_field import StarField
from webbalign.core.errors import InputError
from webbalign.core.fitting import AbsFitting, Fitting, Solving
from webbalign.core.matching import AbsMatching, Matching
from webbalign.core.sequential import solve_in_sequence
from webbalign.core.starlists import ReferenceStars, StarList

__all__ = [
    "AbsFitting",
    "AbsoluteFit",
    "AstrometricSolution",
    "ClosureOfGroups",
    "Fitting",
    "ImageFit",
    "ImageStatus",
    "Residuals",
    "Solving",
    "align_starlists",
]


def align_starlists(
    lists: Sequence[StarList],
    reference: ReferenceStars | None = None,
    *,
    matching: Matching | None = None,
    fitting: Fitting | None = None,
    solving: Solving | None = None,
    abs_matching: AbsMatching | None = None,
    abs_fitting: AbsFitting | None = None,
) -> AstrometricSolution:
    """Find the correction of each image.

    Parameters
    ----------
    lists : sequence of StarList
        One for each image.
    reference : ReferenceStars, optional
        Reference catalog; with one, corrections are absolute.
    matching, fitting, solving, abs_matching, abs_fitting
        Options; defaults where None.

    Returns
    -------
    solution : AstrometricSolution
        Its images are in the order of `lists`, which has no other influence (but with
        ``enforce_user_order``).

    Raises
    ------
    InputError
        If there is no list, or two have one name.
    """
    if not lists:
        raise InputError(None, "no star list", "one for each image")
    matching, fitting = matching or Matching(), fitting or Fitting()
    abs_matching, abs_fitting = abs_matching or AbsMatching(), abs_fitting or AbsFitting()
    solving = solving or Solving()
    field = StarField.of(lists)
    components, notes = _relative(field, lists, matching, fitting, solving, reference is not None)
    ties = None
    if reference is not None:
        rigid = solving.solver == "sequential"
        ties = [
            tie_to_catalog(
                field, component, reference, abs_matching, fitting, abs_fitting, rigid=rigid
            )
            for component in components
        ]
    return report(field, components, ties, notes, fitting, abs_fitting)


def _relative(
    field: StarField,
    lists: Sequence[StarList],
    matching: Matching,
    fitting: Fitting,
    solving: Solving,
    absolute: bool,
) -> tuple[list[Component], dict[int, Note]]:
    """Solve without the catalog, by the solver that was asked for."""
    order = None
    if solving.enforce_user_order:
        names = [group.name for group in field.groups]
        order = list(dict.fromkeys(names.index(stars.group) for stars in lists))
    if solving.solver == "global":
        return solve_relative(field, matching, fitting, None if order is None else order[0])
    expand = solving.expand_refcat or absolute
    return solve_in_sequence(field, matching, fitting, order=order, expand=expand)
