"""Match and solve: from the stars of images to the table of their corrections."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from webbalign.core.astrometry import (
    AbsFitting,
    AstrometricSolution,
    Fitting,
    ImageFit,
    ImagePairs,
    ImageStatus,
    Solving,
    align_starlists,
)
from webbalign.core.matching import AbsMatching, Matching
from webbalign.core.starlists import ReferenceStars
from webbalign.products import models
from webbalign.products.catalog_options import AbsoluteCatalog
from webbalign.products.gaia import CatalogUnavailable
from webbalign.products.proper_motion import reference_stars
from webbalign.products.reference_catalogs import load_reference
from webbalign.products.remote import shown
from webbalign.products.solutions import Solution, solved
from webbalign.products.solved_stars import solved_stars
from webbalign.steps._find_in_image import FoundStars

__all__ = ["SOLUTION_FILE", "solve_starlists"]

log = logging.getLogger(__name__)

SOLUTION_FILE = "tweakreg_solution.ecsv"


def solve_starlists(
    found: Sequence[FoundStars],
    options: Any,
    save_reference: Callable[[Any, str], None] = lambda stars, name: None,
    images: ImagePairs | None = None,
    families: Mapping[str, str] | None = None,
) -> Solution:
    """Match and solve.

    Parameters
    ----------
    found : sequence of FoundStars
        The stars of each image.
    options : Solve or TweakReg
    save_reference : callable
        Called with the reference catalog (`CatalogStars`) and the name that the user gave it.
    images : ImagePairs, optional
        Pairs of the groups' images, which enter the same solution. What became of each stands in
        the solution's ``meta["image_pairs"]``, in their order.
    families : mapping, optional
        Group to family: groups of one family were taken with one roll (see `align_starlists`).

    Returns
    -------
    Solution
        One row for each image. If a service does not give the catalog, the images are aligned
        with one another, and their status is RELATIVE_ONLY.

    Raises
    ------
    InputError
        If the reference catalog is a file that cannot be used.
    """
    given = vars(options)
    lists = [item.stars for item in found]
    wanted = AbsoluteCatalog.from_mapping(given)
    abs_matching = AbsMatching.from_mapping(given)
    stars, reference, unavailable = None, None, ""
    try:
        stars = load_reference(
            wanted, lists, [item.info.epoch for item in found], 3 * abs_matching.abs_searchrad
        )
        if stars is not None:
            save_reference(stars, wanted.name)
            reference = reference_stars(stars, [item.info.epoch for item in found])
    except CatalogUnavailable as error:
        log.warning("%s", error)
        unavailable = str(error)
    fitted = align_starlists(
        lists,
        reference,
        matching=Matching.from_mapping(given),
        fitting=Fitting.from_mapping(given),
        solving=Solving.from_mapping(given),
        abs_matching=abs_matching,
        abs_fitting=AbsFitting.from_mapping(given),
        images=images,
        families=families,
    )
    fits = [
        _with_problem(fit, item, unavailable)
        for fit, item in zip(fitted.images, found, strict=True)
    ]
    rows = solved(fits, lists, [item.info for item in found])
    meta = _meta(fitted, options, wanted, reference)
    if images is not None:
        meta["image_pairs"] = _pairs(fitted, images)
    sigma = None if reference is None else reference.sigma
    shapes = [item.info.shape for item in found]
    return Solution(tuple(rows), meta, solved_stars(fitted, lists, shapes, stars, sigma))


def _pairs(fitted: AstrometricSolution, images: ImagePairs) -> list[dict[str, Any]]:
    return [
        {
            "first": pair.first, "second": pair.second, "band": pair.band, "used": bool(used),
            "closure_mas": (1e3 * closure).tolist(),
        }
        for pair, used, closure in zip(
            images.pairs, fitted.pair_used, fitted.pair_closure, strict=True
        )
    ]  # fmt: skip


def _with_problem(fit: ImageFit, found: FoundStars, unavailable: str) -> ImageFit:
    """Add to the verdict what the solver could not know."""
    if fit.aligned and unavailable:
        return replace(fit, status=ImageStatus.RELATIVE_ONLY, reason=unavailable)
    if found.failed and not fit.aligned:
        return replace(fit, status=ImageStatus.FAILED, reason=found.problem)
    if found.problem and not fit.n_found:
        reason = f"{fit.reason} ({found.problem})" if fit.reason else found.problem
        return replace(fit, reason=reason)
    return fit


def _meta(
    fitted: AstrometricSolution,
    options: Any,
    wanted: AbsoluteCatalog,
    reference: ReferenceStars | None,
) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "webbalign": models.describe(options),
        "reference_group": fitted.reference_group or "",
        "components": [list(component) for component in fitted.components],
        "floor_mas": float(fitted.floor * 1e3),
        "closures": [
            {
                "first": closure.first, "second": closure.second, "n": int(closure.n),
                "dx_mas": float(closure.dx * 1e3), "dy_mas": float(closure.dy * 1e3),
                "error_mas": float(closure.error * 1e3),
            }
            for closure in fitted.closures
        ],
    }  # fmt: skip
    if wanted.name:
        meta["abs_refcat"] = shown(wanted.name)
        meta["n_catalog"] = 0 if reference is None else len(reference)
        meta["absolute"] = [
            {
                "tied": bool(tie.tied), "reason": tie.reason, "n_matched": int(tie.n_matched),
                "n_used": int(tie.n_used), "rms_mas": float(tie.rms * 1e3),
            }
            for tie in fitted.absolute
        ]  # fmt: skip
    return meta
