"""Stars of the dithers of a visit at the visit's mean place, as its stacks are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core.astrometry import Fitting, ImageFit, ImageStatus, align_starlists
from webbalign.core.matching import Matching
from webbalign.products.visits import visit_of
from webbalign.steps._find_in_image import FoundStars

__all__ = ["MeanPlaces", "at_mean_places"]

# arcsec: more than this is no jitter, and stays as it is
_LARGEST = 0.1
_GOOD = (ImageStatus.ALIGNED, ImageStatus.REFERENCE)


@dataclass(frozen=True, eq=False)
class MeanPlaces:
    """Stars without the jitter of their exposures.

    Attributes
    ----------
    found : list of FoundStars
        In the order in which they came.
    jitter : mapping of str to float
        What was taken out, by visit: rms of an exposure along each axis, arcsec, beyond the errors
        of the stars. Visits that were left as they are, are not among them.
    """

    found: list[FoundStars]
    jitter: Mapping[str, float]


def at_mean_places(found: Sequence[FoundStars], options: Any) -> MeanPlaces:
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
    MeanPlaces
        A visit is left as it is unless all of its exposures can be compared, and differ by jitter.
    """
    result, jitter = list(found), {}
    visits: dict[str, list[int]] = {}
    for k, item in enumerate(found):
        visits.setdefault(item.stars.group, []).append(k)
    for name, members in visits.items():
        exposures = {visit_of(found[k].info).exposure for k in members}
        if len(exposures) < 2 or "" in exposures:
            continue
        moves = _moves([found[k] for k in members], options)
        if moves is None:
            continue
        jitter[name] = moves.jitter
        for k, move in zip(members, moves.of_image, strict=True):
            stars = found[k].stars
            moved = stars.xy + stars.plane.axes[:2] @ move
            result[k] = replace(found[k], stars=replace(stars, xy=moved))
    return MeanPlaces(result, jitter)


@dataclass(frozen=True, eq=False)
class _Moves:
    """Displacements (3,) on the sky of images from their mean place, arcsec; their true rms."""

    of_image: list[NDArray[np.float64]]
    jitter: float


def _moves(items: Sequence[FoundStars], options: Any) -> _Moves | None:
    """Return by how much each image lies beside the mean place of its visit."""
    names = [visit_of(item.info).exposure for item in items]
    lists = [replace(item.stars, group=name) for item, name in zip(items, names, strict=True)]
    fits = align_starlists(
        lists,
        matching=Matching.from_mapping(vars(options)),
        fitting=Fitting(fitgeometry="shift", nclip=options.nclip, sigma=options.sigma),
    ).images
    by_exposure: dict[str, NDArray[np.float64]] = {}
    errors: dict[str, float] = {}
    for name, item, fit in zip(names, lists, fits, strict=True):
        if fit.status not in _GOOD:
            return None
        by_exposure.setdefault(name, _at_middle(fit, item.outline) @ item.plane.axes[:2])
        if fit.status is ImageStatus.ALIGNED:  # relative to the reference: the errors of two
            errors.setdefault(name, float(np.trace(fit.cov[4:, 4:])) / 2.0)
    mean = np.mean([by_exposure[name] for name in sorted(by_exposure)], axis=0)
    moves = [by_exposure[name] - mean for name in names]
    if max(float(np.linalg.norm(move)) for move in moves) >= _LARGEST:
        return None
    total = sum(float(np.sum((by_exposure[name] - mean) ** 2)) for name in sorted(by_exposure))
    known = [errors[name] for name in sorted(errors)]
    shown = total / (len(by_exposure) - 1) - (float(np.mean(known)) if known else 0.0)
    return _Moves(moves, float(np.sqrt(max(shown, 0.0) / 2.0)))


def _at_middle(fit: ImageFit, outline: NDArray[np.float64]) -> NDArray[np.float64]:
    middle = outline.mean(axis=0) if len(outline) else np.zeros(2)
    return np.asarray(fit.matrix @ middle + fit.shift - middle)
