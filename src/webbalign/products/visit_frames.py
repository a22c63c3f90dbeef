"""Corrections of a target from those of its bands: as few frames as the bands allow.

Each band is measured by itself. Bands that no catalog ties have a frame of their own; they are
brought together by the visits that they share, by a rotation of the sphere for each band.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from webbalign.core.planes import ARCSEC, TangentPlane
from webbalign.products._band_turns import plane_rotation, rigid_turn
from webbalign.products.corrector import Correction
from webbalign.products.visit_means import (
    brought,
    by_key,
    exposures_and_visits,
    mean_of,
    middle_plane,
    visit_key,
)
from webbalign.products.visits import AdjustKey
from webbalign.products.wcs_adjust_file import AdjustStatus, VisitCorrection

__all__ = ["MeasuredBand", "combined_visits"]

_GOOD = (AdjustStatus.ALIGNED, AdjustStatus.REFERENCE, AdjustStatus.RELATIVE_ONLY)


@dataclass(frozen=True, eq=False)
class MeasuredBand:
    """What was measured in one band.

    Attributes
    ----------
    band : str
    entries : tuple of VisitCorrection
        One for each exposure or visit (module).
    catalog : str
        To which the band is tied; empty: its frame is its own.
    """

    band: str
    entries: tuple[VisitCorrection, ...]
    catalog: str = ""

    @property
    def good(self) -> tuple[VisitCorrection, ...]:
        """The entries that are in the frame of the band."""
        wanted = (AdjustStatus.ALIGNED,) if self.catalog else _GOOD
        return tuple(
            entry
            for entry in self.entries
            if entry.status in wanted and entry.reference is not None
        )

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Rank of the band: ties to a catalog first, then the number of stars."""
        return (not self.catalog, -sum(entry.n_used for entry in self.good), self.band)


def combined_visits(
    bands: Iterable[MeasuredBand], *, tolerance: float = 0.02
) -> tuple[VisitCorrection, ...]:
    """Combine what was measured in all bands.

    Parameters
    ----------
    bands : iterable of MeasuredBand
        Their order has no influence.
    tolerance : float
        Arcsec. Bands and exposures that differ by less are not called inconsistent, however small
        their errors.

    Returns
    -------
    tuple of VisitCorrection
        One for each exposure that was measured and one for each visit (per module where modules
        are apart), in the order of their keys. Where there is no catalog, the reference visit of
        each frame is the identity, with status REFERENCE. A visit of which nothing was measured
        is UNCHANGED or FAILED, with the reason.
    """
    ordered = sorted(bands, key=lambda band: band.rank)
    found: list[VisitCorrection] = []
    for frame in _frames(ordered):
        entries = exposures_and_visits(_entries_of(frame), tolerance)
        catalog = frame[0].catalog
        found += (
            [replace(entry, frame=catalog, status=_absolute(entry)) for entry in entries]
            if catalog
            else _held(entries, frame[0])
        )
    found = _with_missing(found, ordered)
    return tuple(sorted(found, key=lambda entry: str(entry.key)))


def _absolute(entry: VisitCorrection) -> AdjustStatus:
    """Return the status in a frame that a catalog holds."""
    inconsistent = entry.status is AdjustStatus.INCONSISTENT
    return AdjustStatus.INCONSISTENT if inconsistent else AdjustStatus.ALIGNED


# Frames -------------------------------------------------------------------------------------------


def _frames(bands: Sequence[MeasuredBand]) -> list[list[MeasuredBand]]:
    """Put the bands, best first, into frames; a band that joins one is moved to it."""
    frames = []
    left = [band for band in bands if band.good]
    while left:
        frame = [left.pop(0)]
        if frame[0].catalog:  # what is tied to a catalog is in one frame
            frame += [band for band in left if band.catalog]
            left = [band for band in left if not band.catalog]
        while linked := [band for band in left if _visits([band]) & _visits(frame)]:
            band = min(linked, key=lambda band: (-len(_visits([band]) & _visits(frame)), band.rank))
            left.remove(band)
            frame.append(_moved(band, frame))
        frames.append(frame)
    return frames


def _visits(bands: Iterable[MeasuredBand]) -> set[AdjustKey]:
    return {visit_key(entry) for band in bands for entry in band.good}


def _moved(band: MeasuredBand, frame: Sequence[MeasuredBand]) -> MeasuredBand:
    """Turn the sky of a band so that it agrees with a frame where they share visits."""
    theirs, ours = (by_key(_entries_of(bands), visit_key) for bands in (frame, [band]))
    common = sorted(set(theirs) & set(ours), key=str)
    plane = middle_plane(entry for key in common for entry in theirs[key] + ours[key])
    places, rolls = [], []
    for key in common:
        here, there = (_visit_mean(entries[key], plane) for entries in (ours, theirs))
        at = plane.from_vectors(middle_plane(ours[key]).axes[2:])
        places.append([at[0], here.apply(at)[0], there.apply(at)[0]])
        rolls.append(np.radians(there.rotation - here.rotation))
    turn = plane.axes.T @ rigid_turn(np.array(places), np.array(rolls)) @ plane.axes
    good = set(map(id, band.good))
    return replace(
        band,
        entries=tuple(
            _turned(entry, turn) if id(entry) in good else entry for entry in band.entries
        ),
    )


def _visit_mean(entries: Sequence[VisitCorrection], plane: TangentPlane) -> Correction:
    mean = mean_of(entries, plane, scatter=True, tolerance=np.inf)
    return Correction(mean.matrix, mean.shift)


def _turned(entry: VisitCorrection, turn: NDArray[np.float64]) -> VisitCorrection:
    plane = entry.plane
    assert plane is not None
    correction, cov = brought(entry, plane, turn)
    # what held its own band does not hold the frame
    held = entry.status is AdjustStatus.REFERENCE
    status = AdjustStatus.ALIGNED if held else entry.status
    return replace(entry, correction=correction, cov=cov, status=status)


def _entries_of(bands: Sequence[MeasuredBand]) -> list[VisitCorrection]:
    return [entry for band in bands for entry in _with_reference_errors(band.good)]


def _with_reference_errors(entries: Sequence[VisitCorrection]) -> list[VisitCorrection]:
    """Give what holds a band the errors of its neighbours.

    Its own are zero by definition, which does not tell how well its stars were measured.
    """
    others = sorted(
        (entry.cov for entry in entries if entry.cov.any()),
        key=lambda cov: (float(np.trace(cov[4:, 4:])), cov.ravel().tolist()),
    )
    if not others:
        return list(entries)
    typical = others[len(others) // 2]
    return [entry if entry.cov.any() else replace(entry, cov=typical) for entry in entries]


# What holds a frame, and what was not measured ----------------------------------------------------


def _held(entries: Sequence[VisitCorrection], band: MeasuredBand) -> list[VisitCorrection]:
    """Make a visit of the frame's best band the identity, and move the others with it."""
    visits = {entry.key: entry for entry in entries if not entry.key.exposure}
    fixed = [entry for entry in band.good if not entry.cov.any()] or list(band.good)
    # by where they lie if they are equally well measured: it is not to matter how they are called
    first = min(
        fixed,
        key=lambda one: (-one.n_used, float(np.trace(one.cov)), one.reference, str(one.key)),
    )
    reference = visits[visit_key(first)]
    # both modules of the visit may stand there apart: the first one holds them
    plane = reference.plane
    assert plane is not None
    shift = -reference.correction.shift * ARCSEC
    back = plane_rotation(shift[0], shift[1], -float(np.radians(reference.correction.rotation)))
    turn = plane.axes.T @ back @ plane.axes
    frame = str(reference.key)
    found = []
    for entry in entries:
        same = visit_key(entry) == reference.key
        # the only exposure of the reference visit is the reference, too
        if entry is reference or (same and entry.correction is reference.correction):
            found.append(replace(_identity(entry), frame=frame))
        else:
            found.append(replace(_turned(entry, turn), frame=frame))
    return found


def _identity(entry: VisitCorrection) -> VisitCorrection:
    right = entry.status in (AdjustStatus.ALIGNED, AdjustStatus.REFERENCE)
    status = AdjustStatus.REFERENCE if right else entry.status
    return replace(entry, correction=Correction.none(), cov=np.zeros((6, 6)), status=status)


def _with_missing(
    found: Sequence[VisitCorrection], bands: Sequence[MeasuredBand]
) -> list[VisitCorrection]:
    """Name what was not measured: in the entry of its visit, or in one of its own."""
    known = {entry.key: entry for entry in found}
    missing: dict[AdjustKey, list[tuple[str, VisitCorrection]]] = {}
    for band in bands:
        good = set(map(id, band.good))
        for entry in band.entries:
            if id(entry) not in good and entry.key not in known:
                missing.setdefault(visit_key(entry), []).append((band.band, entry))
    for key, lacking in missing.items():
        lacking.sort(key=lambda item: (str(item[1].key), item[0]))
        text = "; ".join(
            f"{entry.key} not measured in {band}: {entry.reason or entry.status}"
            for band, entry in lacking
        )
        if key in known:
            reason = "; ".join(filter(None, (known[key].reason, text)))
            known[key] = replace(known[key], reason=reason)
            continue
        entries = [entry for _, entry in lacking]
        failed = all(entry.status is AdjustStatus.FAILED for entry in entries)
        known[key] = VisitCorrection(
            key=key,
            correction=Correction.none(),
            reference=entries[0].reference,
            status=AdjustStatus.FAILED if failed else AdjustStatus.UNCHANGED,
            reason=text,
            n_images=sum(entry.n_images for entry in entries),
            bands=tuple(sorted({band for entry in entries for band in entry.bands})),
            methods=tuple(sorted({name for entry in entries for name in entry.methods})),
        )
    return list(known.values())
