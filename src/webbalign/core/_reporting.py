"""From solved components to what is reported of each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from webbalign.core._catalog_tie import Refusal, Tie
from webbalign.core._components import Component
from webbalign.core._image_fits import (
    AbsoluteFit,
    AstrometricSolution,
    CatalogResiduals,
    ClosureOfGroups,
    ImageFit,
    ImageStatus,
    Residuals,
)
from webbalign.core._image_links import ImagePairs, pair_closures
from webbalign.core._network_maps import PlaneCorrection
from webbalign.core._relative import Note
from webbalign.core._star_field import StarField
from webbalign.core.fitting import AbsFitting, Fitting

__all__ = ["report"]


@dataclass(frozen=True, eq=False)
class _Verdict:
    """Status and reason of a component; whether its corrections are applied."""

    component: Component
    tie: Tie | Refusal | None
    status: ImageStatus
    reason: str

    @property
    def applied(self) -> bool:
        return self.status in (ImageStatus.ALIGNED, ImageStatus.RELATIVE_ONLY)


def report(
    field: StarField,
    components: Sequence[Component],
    ties: Sequence[Tie | Refusal] | None,
    notes: Mapping[int, Note],
    fitting: Fitting,
    abs_fitting: AbsFitting,
    images: ImagePairs | None = None,
) -> AstrometricSolution:
    """Gather the solution.

    Parameters
    ----------
    field : StarField
    components : sequence of Component
        The largest first.
    ties : sequence of Tie or Refusal, optional
        What became of each with the reference catalog, if there is one.
    notes : mapping
        Why groups are alone.
    fitting, abs_fitting
        Options, to say where a simpler geometry was taken.
    images : ImagePairs, optional
        Pairs that entered.
    """
    verdicts = _verdicts(field, components, ties, notes)
    pairs = _Pairs(verdicts, images)
    fits: list[ImageFit | None] = [None] * len(field.lists)
    for verdict in verdicts:
        for number, g in enumerate(verdict.component.groups):
            for k in field.groups[g].lists:
                reasons = [verdict.reason, _simpler(verdict, g, fitting, abs_fitting)]
                reason = "; ".join(text for text in reasons if text)
                fits[field.came[k]] = _image_fit(field, verdict, number, k, reason)
    whole = tuple(fit for fit in fits if fit is not None)
    held = verdicts[0].component.reference if verdicts and verdicts[0].applied else None
    names = [group.name for group in field.groups]
    return AstrometricSolution(
        images=whole,
        components=tuple(tuple(names[g] for g in c.groups) for c in components),
        reference_group=None if held is None else names[held],
        absolute=tuple(_absolute(v, names) for v in verdicts if v.tie is not None),
        residuals=_residuals(field, verdicts),
        closures=_closures(verdicts, names),
        floor=max((v.component.solution.floor for v in verdicts if v.applied), default=0.0),
        catalog=_catalog_residuals(verdicts),
        pair_used=pairs.used,
        pair_closure=pairs.closure,
    )


class _Pairs:
    """What became of the pairs of images."""

    def __init__(self, verdicts: Sequence[_Verdict], images: ImagePairs | None) -> None:
        count = 0 if images is None else len(images.pairs)
        self.used = np.zeros(count, bool)
        self.closure = np.full((count, 2), np.nan)
        for verdict in verdicts:
            if images is None or not verdict.applied:
                continue
            component, solution = verdict.component, verdict.component.solution
            self.used[list(component.pairs_used)] = True
            frames = solution.frames[: len(component.groups)]
            for k, left in pair_closures(images, frames, solution).items():
                self.closure[k] = left


def _verdicts(
    field: StarField,
    components: Sequence[Component],
    ties: Sequence[Tie | Refusal] | None,
    notes: Mapping[int, Note],
) -> list[_Verdict]:
    any_tie = any(isinstance(tie, Tie) for tie in ties or ())
    found = []
    for k, component in enumerate(components):
        tie = None if ties is None else ties[k]
        alone = len(component.groups) == 1
        note = notes.get(component.groups[0]) if alone else None
        only = len(field.groups) == 1 and bool((field.weight > 0).any())
        largest = k == 0 and (not alone or only)
        if isinstance(tie, Tie):
            found.append(_Verdict(tie.component, tie, ImageStatus.ALIGNED, ""))
        elif largest:
            status = ImageStatus.ALIGNED if tie is None else ImageStatus.RELATIVE_ONLY
            reason = note.reason if note and tie is None else tie.reason if tie else ""
            found.append(_Verdict(component, tie, status, reason))
        else:
            status = note.status if note else ImageStatus.UNCHANGED
            reason = note.reason if note else _apart(field, components, k)
            if tie is not None:
                reason = f"{reason}; {tie.reason}"
            elif any_tie:
                reason = f"{reason}; not tied to the reference catalog"
            found.append(_Verdict(component, tie, status, reason))
    return found


def _apart(field: StarField, components: Sequence[Component], k: int) -> str:
    """Name what a part is not connected with."""
    names = [field.groups[g].name for g in components[k].groups]
    largest = field.groups[components[0].reference].name
    return (
        f"{len(names)} groups ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''}) have no "
        f"stars in common with the largest part, that of {largest}"
    )


def _simpler(verdict: _Verdict, g: int, fitting: Fitting, abs_fitting: AbsFitting) -> str:
    """Say so where the stars did not fix the geometry that was asked for."""
    if not verdict.applied:
        return ""
    found = []
    component, tie = verdict.component, verdict.tie
    own = component.geometry.get(g, fitting.fitgeometry)
    if g != component.reference and own != fitting.fitgeometry:
        found.append(f"its stars do not fix {fitting.fitgeometry}: fitted with {own}")
    if isinstance(tie, Tie) and tie.geometry != abs_fitting.abs_fitgeometry:
        found.append(
            f"catalog stars do not fix {abs_fitting.abs_fitgeometry}: moved with {tie.geometry}"
        )
    return "; ".join(found)


def _image_fit(field: StarField, verdict: _Verdict, number: int, k: int, reason: str) -> ImageFit:
    """Numbers of one image (index `k` of the field) of a component's group."""
    component, solution = verdict.component, verdict.component.solution
    stars = field.lists[k]
    group = field.groups[component.groups[number]]
    mine = field.image[component.rows] == k
    used = mine & solution.used
    left = np.sum(solution.residual[used] ** 2, axis=1)
    status = verdict.status
    correction = PlaneCorrection(np.eye(2), np.zeros(2), np.full((6, 6), np.nan))
    n_reference, chi2, chi2_with_floor = 0, np.nan, np.nan
    if verdict.applied:
        middle = stars.outline.mean(axis=0) if len(stars.outline) else np.zeros(2)
        correction = solution.correction(number, stars.plane, middle)
        chi2 = float(solution.chi2_of_group[number])
        chi2_with_floor = float(solution.chi2_with_floor[number])
        held = component.groups[number] == component.reference
        if isinstance(verdict.tie, Tie):
            fixed = np.zeros(len(solution.stars), bool)
            fixed[verdict.tie.fixed_track[solution.fixed_used]] = True
            n_reference = int(fixed[component.track[used]].sum())
        elif held:
            # exactly, not but for rounding
            correction = PlaneCorrection(np.eye(2), np.zeros(2), np.zeros((6, 6)))
            if status is ImageStatus.ALIGNED:
                status = ImageStatus.REFERENCE
    return ImageFit(
        name=stars.name,
        group=group.name,
        status=status,
        reason=reason,
        n_found=len(stars),
        n_matched=int(mine.sum()),
        n_used=int(used.sum()) if verdict.applied else 0,
        n_reference=n_reference,
        rms=float(np.sqrt(left.mean())) if len(left) and verdict.applied else np.nan,
        matrix=correction.matrix,
        shift=correction.shift,
        cov=correction.cov,
        chi2_reduced=chi2,
        chi2_with_floor=chi2_with_floor,
    )


def _absolute(verdict: _Verdict, names: Sequence[str]) -> AbsoluteFit:
    groups = tuple(names[g] for g in verdict.component.groups)
    tie = verdict.tie
    if isinstance(tie, Tie):
        floor = verdict.component.solution.fixed_floor
        return AbsoluteFit(groups, True, tie.note, len(tie.star), tie.n_used, tie.rms, floor)
    assert tie is not None
    return AbsoluteFit(groups, False, tie.reason, tie.n_matched)


def _residuals(field: StarField, verdicts: Sequence[_Verdict]) -> Residuals:
    """Residuals of the components whose corrections are applied, tracks numbered through."""
    parts: list[tuple[NDArray[np.intp], ...]] = []
    left, used = [np.empty((0, 2))], [np.empty(0, bool)]
    came = np.array(field.came, dtype=np.intp)
    first = 0
    for verdict in verdicts:
        if not verdict.applied:
            continue
        component, solution = verdict.component, verdict.component.solution
        reference = np.full(len(solution.stars), -1, np.intp)
        if isinstance(verdict.tie, Tie):
            reference[verdict.tie.fixed_track] = verdict.tie.star
        rows, track = component.rows, component.track
        parts.append((came[field.image[rows]], field.star[rows], track + first, reference[track]))
        left.append(solution.residual)
        used.append(solution.used)
        first += len(solution.stars)
    none = np.empty(0, np.intp)
    image, star, tracks, catalog = (
        np.concatenate([none, *(part[c] for part in parts)]) for c in range(4)
    )
    dx, dy = np.concatenate(left).T
    return Residuals(image, star, tracks, catalog, dx, dy, np.concatenate(used))


def _catalog_residuals(verdicts: Sequence[_Verdict]) -> CatalogResiduals:
    """Residuals of the catalog's stars, tracks numbered as in `_residuals`."""
    parts = [CatalogResiduals.none()]
    first = 0
    for verdict in verdicts:
        if not verdict.applied:
            continue
        tie, solution = verdict.tie, verdict.component.solution
        if isinstance(tie, Tie):
            dx, dy = solution.fixed_residual.T
            parts.append(
                CatalogResiduals(tie.fixed_track + first, tie.star, dx, dy, solution.fixed_used)
            )
        first += len(solution.stars)
    names = [item.name for item in fields(CatalogResiduals)]
    return CatalogResiduals(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )


def _closures(verdicts: Sequence[_Verdict], names: Sequence[str]) -> tuple[ClosureOfGroups, ...]:
    found = []
    for verdict in verdicts:
        if verdict.applied:
            groups = verdict.component.groups
            for c in verdict.component.solution.closures():
                first, second = names[groups[c.first]], names[groups[c.second]]
                dx, dy = c.difference.tolist()
                found.append(ClosureOfGroups(first, second, c.n, dx, dy, c.error))
    return tuple(found)
