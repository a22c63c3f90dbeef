"""Stars of the dithers of a visit at the visit's mean place, as its stacks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core.astrometry import Fitting, ImageFit, ImageStatus, align_starlists
from webbalign.core.matching import Matching
from webbalign.products.visits import visit_of
from webbalign.steps._find_in_image import FoundStars

__all__ = ["at_mean_places"]

# arcsec: more than this is no jitter, and stays as it is
_LARGEST = 0.1
_GOOD = (ImageStatus.ALIGNED, ImageStatus.REFERENCE)


def at_mean_places(found: Sequence[FoundStars], options: Any) -> list[FoundStars]:
    """Take the jitter between the exposures of each visit out of the stars' positions.

    Stars that only some of the dithers show would otherwise lie elsewhere than those that all
    show, which errors of single stars do not tell.

    Parameters
    ----------
    found : sequence of FoundStars
        The group of each is its visit.
    options : TweakReg

    Returns
    -------
    list of FoundStars
        In the same order. A visit is left as it is unless all of its exposures can be compared,
        and differ by jitter.
    """
    result = list(found)
    visits: dict[str, list[int]] = {}
    for k, item in enumerate(found):
        visits.setdefault(item.stars.group, []).append(k)
    for members in visits.values():
        exposures = {visit_of(found[k].info).exposure for k in members}
        if len(exposures) < 2 or "" in exposures:
            continue
        moves = _moves([found[k] for k in members], options)
        if moves is None:
            continue
        for k, move in zip(members, moves, strict=True):
            stars = found[k].stars
            moved = stars.xy + stars.plane.axes[:2] @ move
            result[k] = replace(found[k], stars=replace(stars, xy=moved))
    return result


def _moves(items: Sequence[FoundStars], options: Any) -> list[NDArray[np.float64]] | None:
    """Displacement (3,) on the sky, arcsec, by which each image lies beside the mean place."""
    names = [visit_of(item.info).exposure for item in items]
    lists = [replace(item.stars, group=name) for item, name in zip(items, names, strict=True)]
    fits = align_starlists(
        lists,
        matching=Matching.from_mapping(vars(options)),
        fitting=Fitting(fitgeometry="shift", nclip=options.nclip, sigma=options.sigma),
    ).images
    by_exposure: dict[str, NDArray[np.float64]] = {}
    for name, item, fit in zip(names, lists, fits, strict=True):
        if fit.status not in _GOOD:
            return None
        by_exposure.setdefault(name, _at_middle(fit, item.outline) @ item.plane.axes[:2])
    mean = np.mean([by_exposure[name] for name in sorted(by_exposure)], axis=0)
    moves = [by_exposure[name] - mean for name in names]
    return moves if max(float(np.linalg.norm(move)) for move in moves) < _LARGEST else None


def _at_middle(fit: ImageFit, outline: NDArray[np.float64]) -> NDArray[np.float64]:
    middle = outline.mean(axis=0) if len(outline) else np.zeros(2)
    return np.asarray(fit.matrix @ middle + fit.shift - middle)
