"""One correction per exposure and per visit from what was measured in several bands and dithers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from webbalign.core.combining import Combined, combine, disagreement
from webbalign.core.planes import TangentPlane, sky_to_vectors
from webbalign.products.corrector import Correction
from webbalign.products.visits import AdjustKey
from webbalign.products.wcs_adjust_file import AdjustStatus, VisitCorrection

__all__ = [
    "between_planes",
    "brought",
    "by_key",
    "exposures_and_visits",
    "joint_rms",
    "mean_of",
    "middle_plane",
    "visit_key",
]

# Half the width of the field for which a correction is brought from plane to plane, arcsec
_REACH = 150.0
_POINTS = _REACH * np.array([[x, y] for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0)])
# Fit of an affine map to what becomes of these points
_FIT = np.linalg.pinv(np.concatenate([_POINTS / _REACH, np.ones((len(_POINTS), 1))], axis=1))
_UNLIKELY = 1e-4


def brought(
    entry: VisitCorrection, plane: TangentPlane, turn: NDArray[np.float64] | None = None
) -> tuple[Correction, NDArray[np.float64]]:
    """Express a correction in another plane; before that, turn the corrected sky.

    Parameters
    ----------
    entry : VisitCorrection
        With a reference.
    plane : TangentPlane
    turn : ndarray, shape (3, 3), optional
        Rotation that moves corrected unit vectors.

    Returns
    -------
    correction : Correction
        In `plane`.
    cov : ndarray, shape (6, 6)
    """
    source = entry.plane
    assert source is not None
    return between_planes(entry.correction, entry.cov, source, plane, turn)


def between_planes(
    correction: Correction,
    cov: NDArray[np.float64],
    source: TangentPlane,
    plane: TangentPlane,
    turn: NDArray[np.float64] | None = None,
) -> tuple[Correction, NDArray[np.float64]]:
    """Express a correction of one plane, with its covariance, in another; see `brought`."""
    seen = plane if turn is None else TangentPlane(plane.axes @ turn)
    points, _ = plane.map_to(source, _POINTS)
    moved, change = source.map_to(seen, correction.apply(points))
    # the displacements are fitted, so that nothing is lost by rounding
    rows = _FIT @ (moved - _POINTS)
    found = Correction(np.eye(2) + rows[:2].T / _REACH, rows[2])
    # the same fit of the derivatives of the moved points by m11, m12, m21, m22, xshift, yshift
    by_values = np.zeros((len(points), 2, 6))
    by_values[:, 0, :2] = by_values[:, 1, 2:4] = points
    by_values[:, 0, 4] = by_values[:, 1, 5] = 1.0
    derivatives = np.tensordot(_FIT, change @ by_values, axes=1)
    linear = derivatives[:2].transpose(1, 0, 2).reshape(4, 6) / _REACH
    jacobian = np.concatenate([linear, derivatives[2]])
    there = jacobian @ cov @ jacobian.T
    return found, (there + there.T) / 2


def middle_plane(entries: Iterable[VisitCorrection]) -> TangentPlane:
    """Return the plane in the middle of the entries' references, whatever their order."""
    places = sorted({entry.reference for entry in entries if entry.reference is not None})
    if len(places) == 1:
        return TangentPlane.about(*places[0])
    return TangentPlane.around(sky_to_vectors(np.array(places)))


def mean_of(
    entries: Sequence[VisitCorrection], plane: TangentPlane, *, scatter: bool, tolerance: float
) -> Combined:
    """Combine entries in a plane (see `webbalign.core.combining.combine`)."""
    moved = [brought(entry, plane) for entry in entries]
    return combine(
        [correction.matrix for correction, _ in moved],
        [correction.shift for correction, _ in moved],
        [cov for _, cov in moved],
        scatter=scatter,
        tolerance=tolerance,
    )


def visit_key(entry: VisitCorrection) -> AdjustKey:
    """Return the key of the visit (and module) that an entry belongs to."""
    return AdjustKey(entry.key.visit, "", entry.key.module)


def by_key(
    entries: Iterable[VisitCorrection], key: Callable[[VisitCorrection], AdjustKey]
) -> dict[AdjustKey, list[VisitCorrection]]:
    """Sort entries by a key; the order within each group does not depend on theirs."""
    found: dict[AdjustKey, list[VisitCorrection]] = {}
    for entry in sorted(entries, key=lambda entry: (str(entry.key), entry.bands)):
        found.setdefault(key(entry), []).append(entry)
    return found


def exposures_and_visits(
    entries: Iterable[VisitCorrection], tolerance: float
) -> list[VisitCorrection]:
    """Combine the entries of one frame.

    Parameters
    ----------
    entries : iterable of VisitCorrection
        Each of one exposure or visit in one band, all with a reference.
    tolerance : float
        Arcsec; what differs by less is not called inconsistent.

    Returns
    -------
    list of VisitCorrection
        Of each exposure, and of each visit. They are INCONSISTENT, with a reason that names
        what differs, if bands or exposures disagree by more than their errors and `tolerance`.
    """
    given = list(entries)
    found: list[VisitCorrection] = []
    for group in by_key(given, visit_key).values():
        exposures = [
            _of_exposure(key, members, tolerance)
            for key, members in by_key(group, lambda entry: entry.key).items()
        ]
        visit, outliers = _of_visit(group, exposures, tolerance)
        found.append(visit)
        for entry in exposures:
            if not entry.key.exposure:
                continue
            found.append(_named(entry, outliers[entry.key]) if entry.key in outliers else entry)
    return found


def _named(entry: VisitCorrection, reason: str) -> VisitCorrection:
    text = f"{entry.reason}; {reason}" if entry.reason else reason
    return replace(entry, status=AdjustStatus.INCONSISTENT, reason=text)


def _of_exposure(
    key: AdjustKey, members: Sequence[VisitCorrection], tolerance: float
) -> VisitCorrection:
    """Combine the bands of one exposure: they had the same pointing."""
    if len(members) == 1:
        return members[0]
    plane = middle_plane(members)
    mean = mean_of(members, plane, scatter=False, tolerance=tolerance)
    entry = _joined(key, members, plane, mean)
    return _judged(entry, members, plane, tolerance)


def _of_visit(
    measured: Sequence[VisitCorrection], exposures: Sequence[VisitCorrection], tolerance: float
) -> tuple[VisitCorrection, dict[AdjustKey, str]]:
    """Combine the exposures of a visit; tell the outliers among them."""
    key = visit_key(measured[0])
    if len(exposures) == 1:
        return replace(exposures[0], key=key), {}
    plane = middle_plane(exposures)
    mean = mean_of(exposures, plane, scatter=True, tolerance=tolerance)
    entry = _joined(key, exposures, plane, mean)
    outliers = {}
    for item, used in zip(exposures, mean.used, strict=True):
        if not used:
            off = brought(item, plane)[0].shift - mean.shift
            outliers[item.key] = (
                f"{1e3 * float(np.hypot(*off)):.1f} mas from the other exposures of the visit"
            )
    entry = replace(entry, reason=_without(outliers))
    bands: dict[str, list[VisitCorrection]] = {}
    for item in measured:
        bands.setdefault(",".join(item.bands), []).append(item)
    if len(bands) > 1:
        means = [
            _joined(key, group, plane, mean_of(group, plane, scatter=True, tolerance=tolerance))
            for _, group in sorted(bands.items())
        ]
        entry = _judged(entry, means, plane, tolerance)
    return entry, outliers


def _without(outliers: dict[AdjustKey, str]) -> str:
    if not outliers:
        return ""
    return "without " + ", ".join(f"{key} ({text})" for key, text in outliers.items())


def _judged(
    entry: VisitCorrection,
    members: Sequence[VisitCorrection],
    plane: TangentPlane,
    tolerance: float,
) -> VisitCorrection:
    """Name the two bands that disagree most, if any do, and let the errors cover both."""
    moved = [brought(member, plane) for member in members]
    worst, text, between = tolerance, "", np.zeros(2)
    for (one, (a, cov_a)), (two, (b, cov_b)) in combinations(
        list(zip(members, moved, strict=True)), 2
    ):
        apart = float(np.hypot(*(a.shift - b.shift)))
        chance = disagreement(a.shift, b.shift, (cov_a + cov_b)[4:, 4:])
        if apart > worst and chance < _UNLIKELY:
            worst, between = apart, (a.shift - b.shift) / 2
            text = f"{_bands(one)} and {_bands(two)} differ by {1e3 * apart:.1f} mas"
    if not text:
        return entry
    cov = entry.cov.copy()
    cov[4:, 4:] += np.outer(between, between)
    return _named(replace(entry, cov=cov), text)


def _bands(entry: VisitCorrection) -> str:
    return "+".join(entry.bands) or "measurements"


class _Measured(Protocol):
    """What has stars, and a scatter of them."""

    @property
    def n_used(self) -> int: ...

    @property
    def rms(self) -> float: ...


def joint_rms(members: Sequence[_Measured]) -> float:
    """Return the rms of all stars of several measurements; NaN if none is known."""
    known = [item for item in members if np.isfinite(item.rms) and item.n_used]
    if not known:
        return float("nan")
    squares = [item.rms**2 for item in known]
    return float(np.sqrt(np.average(squares, weights=[item.n_used for item in known])))


def _joined(
    key: AdjustKey, members: Sequence[VisitCorrection], plane: TangentPlane, mean: Combined
) -> VisitCorrection:
    """Make the entry of a mean."""
    statuses = {member.status for member in members}
    status = AdjustStatus.ALIGNED
    for worse in (AdjustStatus.RELATIVE_ONLY, AdjustStatus.INCONSISTENT):
        status = worse if worse in statuses else status
    ra, dec = plane.centre.tolist()
    return VisitCorrection(
        key=key,
        correction=Correction(mean.matrix, mean.shift),
        reference=(ra, dec),
        cov=mean.cov,
        status=status,
        n_images=sum(member.n_images for member in members),
        n_used=sum(member.n_used for member in members),
        n_pairs=sum(member.n_pairs for member in members),
        rms=joint_rms(members),
        chi2_reduced=mean.chi2_reduced,
        scatter=mean.scatter,
        bands=tuple(sorted({band for member in members for band in member.bands})),
        methods=tuple(sorted({method for member in members for method in member.methods})),
        frame=members[0].frame,
    )
