"""Align star lists with one another and with a reference catalog.

Match, solve, match again with what the solution tells about the errors, solve; then the same with
the reference catalog. Every image ends with a status; what is not supported by stars stays as it
was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from webbalign.core._catalog_tie import tie_to_catalog
from webbalign.core._components import Component
from webbalign.core._detector_artefacts import without_artefacts
from webbalign.core._image_fits import (
    AbsoluteFit,
    AstrometricSolution,
    CatalogResiduals,
    ClosureOfGroups,
    ImageFit,
    ImageStatus,
    Residuals,
)
from webbalign.core._image_links import ImagePairs
from webbalign.core._relative import Note, solve_relative
from webbalign.core._reporting import report
from webbalign.core._star_field import StarField
from webbalign.core.errors import InputError, OptionError
from webbalign.core.fitting import AbsFitting, Fitting, Solving
from webbalign.core.matching import AbsMatching, Matching
from webbalign.core.sequential import solve_in_sequence
from webbalign.core.starlists import ReferenceStars, StarList

__all__ = [
    "AbsFitting",
    "AbsoluteFit",
    "AstrometricSolution",
    "CatalogResiduals",
    "ClosureOfGroups",
    "Fitting",
    "ImageFit",
    "ImagePairs",
    "ImageStatus",
    "Residuals",
    "Solving",
    "align_starlists",
]

# geometries of which the correlation of images tells all
_RIGID = ("shift", "rshift")


def align_starlists(
    lists: Sequence[StarList],
    reference: ReferenceStars | None = None,
    *,
    matching: Matching | None = None,
    fitting: Fitting | None = None,
    solving: Solving | None = None,
    abs_matching: AbsMatching | None = None,
    abs_fitting: AbsFitting | None = None,
    images: ImagePairs | None = None,
    families: Mapping[str, str] | None = None,
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
    images : ImagePairs, optional
        Relative places of groups by the correlation of their images. They enter the same least
        squares as the stars, and connect groups that have no stars in common. With the global
        solver, and geometries that are rigid.
    families : mapping, optional
        Group to family: groups of one family were taken with one roll, such as the exposures of a
        visit. What is fitted beside shifts is drawn together as far as they agree. With the global
        solver.

    Returns
    -------
    solution : AstrometricSolution
        Its images are in the order of `lists`, which has no other influence (but with
        ``enforce_user_order``).

    Raises
    ------
    InputError
        If there is no list, or two have one name.
    OptionError
        If options do not go with pairs of images.
    """
    if not lists:
        raise InputError(None, "no star list", "one for each image")
    matching, fitting = matching or Matching(), fitting or Fitting()
    abs_matching, abs_fitting = abs_matching or AbsMatching(), abs_fitting or AbsFitting()
    solving = solving or Solving()
    stars = without_artefacts(lists, matching, reference, abs_matching.matching())
    field = StarField.of(stars, families)
    if images is not None and (solving.solver != "global" or fitting.fitgeometry not in _RIGID):
        raise OptionError(
            "pairs of images are given - give solver=global and fitgeometry=shift or rshift"
        )
    components, notes = _relative(
        field, lists, matching, fitting, solving, reference is not None, images
    )
    ties = None
    if reference is not None:
        rigid = solving.solver == "sequential"
        ties = [
            tie_to_catalog(
                field, component, reference, abs_matching, fitting, abs_fitting, rigid=rigid
            )
            for component in components
        ]
    return report(field, components, ties, notes, fitting, abs_fitting, images)


def _relative(
    field: StarField,
    lists: Sequence[StarList],
    matching: Matching,
    fitting: Fitting,
    solving: Solving,
    absolute: bool,
    images: ImagePairs | None,
) -> tuple[list[Component], dict[int, Note]]:
    """Solve without the catalog, by the solver that was asked for."""
    order = None
    if solving.enforce_user_order:
        names = [group.name for group in field.groups]
        order = list(dict.fromkeys(names.index(stars.group) for stars in lists))
    if solving.solver == "global":
        first = None if order is None else order[0]
        return solve_relative(field, matching, fitting, first, images)
    expand = solving.expand_refcat or absolute
    return solve_in_sequence(field, matching, fitting, order=order, expand=expand)
