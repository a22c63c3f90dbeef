"""All groups of images put where their pairs say, in one solution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from webbalign.core._image_fits import ImageStatus
from webbalign.core._pair_errors import independent_part, own_errors, relative_errors
from webbalign.core._pair_links import pair_links
from webbalign.core._pair_network import Agreement, PairNetwork
from webbalign.core._pair_types import GroupFit, ImagePair, PairSolution
from webbalign.core.correlation import CorrelationStatus
from webbalign.core.network import (
    GroupFrame,
    Link,
    NetworkSolution,
    Observations,
    PlaneCorrection,
    solve_network,
)
from webbalign.core.planes import TangentPlane, apply_map

__all__ = ["solve_pairs"]

Array = NDArray[np.float64]


def solve_pairs(
    frames: Sequence[GroupFrame],
    pairs: Sequence[ImagePair],
    plane: TangentPlane,
    *,
    reference: str | None = None,
    sigma: float = 4.0,
    group_error: float = 0.0,
) -> PairSolution:
    """Solve for all groups at once.

    Parameters
    ----------
    frames : sequence of GroupFrame
        One for each group; the geometry of the one that becomes the reference is not used.
    pairs : sequence of ImagePair
        Of any bands.
    plane : TangentPlane
        In which the pairs were measured.
    reference : str, optional
        The group that stays where it is; default: that with the most pixels in pairs within the
        largest connected part (of equal ones that with the most pixels), then the first by its
        place on the sky.
    sigma : float
        Pairs farther than this from closure, in errors, are rejected.
    group_error : float
        One-axis error, arcsec, of each group's place, of its middle and again of its edge about
        the middle, beyond what pairs and images say of theirs. Added to the covariances of
        corrections relative to the reference.

    Returns
    -------
    PairSolution
    """
    ordered = sorted(frames, key=lambda frame: frame.name)
    pairs = sorted(pairs, key=lambda p: (p.first, p.second, p.band))
    usable = np.array([pair.status is CorrelationStatus.OK for pair in pairs], dtype=bool)
    part, held = _main_part(ordered, pairs, usable, reference)
    members = [
        replace(f, geometry=None) if f.name == held else f for f in ordered if f.name in part
    ]
    rows = [k for k, p in enumerate(pairs) if usable[k] and p.first in part and p.second in part]
    fits = {frame.name: _unconnected(frame, held) for frame in ordered}
    used, closure = np.zeros(len(pairs), dtype=bool), np.full((len(pairs), 2), np.nan)
    agreed = Agreement(np.zeros(0, dtype=bool), np.zeros(0), 0.0, float("nan"), 0)
    independent, own = 1.0, dict[str, Array]()
    if len(members) > 1:
        inside = [pairs[k] for k in rows]
        agreed = _agreement(members, inside, sigma)
        used[rows] = agreed.used
        solution = _solved(members, inside, agreed, plane)
        closure[rows] = [_closure(solution, members, pair, plane) for pair in inside]
        independent = independent_part(agreed.chi2, agreed.freedom)
        right = [pair for pair, use in zip(inside, agreed.used, strict=True) if use]
        own = own_errors(members, right, plane, independent=independent)
        (holder,) = (frame for frame in members if frame.name == held)
        for g, frame in enumerate(members):
            count = sum(frame.name in (p.first, p.second) for p in right)
            correction = solution.correction(g, frame.plane, frame.centre)
            status = ImageStatus.REFERENCE
            if frame is not holder:
                status = ImageStatus.ALIGNED
                more = relative_errors(frame, holder, own, plane, group_error)
                correction = replace(correction, cov=independent * correction.cov + more)
            fits[frame.name] = GroupFit(frame.name, status, "", count, correction)
    return PairSolution(
        groups=tuple(fits[frame.name] for frame in frames),
        pairs=tuple(pairs),
        used=used,
        closure=closure,
        floor=agreed.floor,
        chi2_reduced=agreed.chi2,
        independent=independent,
        own=own,
    )


def _agreement(frames: Sequence[GroupFrame], pairs: Sequence[ImagePair], sigma: float) -> Agreement:
    radius = float(np.median([frame.radius for frame in frames]))
    return PairNetwork([frame.name for frame in frames], pairs, radius).agreement(sigma)


def _solved(
    frames: Sequence[GroupFrame],
    pairs: Sequence[ImagePair],
    agreed: Agreement,
    plane: TangentPlane,
) -> NetworkSolution:
    """Solve for the pairs that agree, each with its error."""
    links: list[Link] = []
    for pair, use, extra in zip(pairs, agreed.used, agreed.extra.tolist(), strict=True):
        if use:
            links += pair_links(pair, frames, plane, extra)
    none = np.empty(0)
    nothing = Observations(
        none.astype(np.intp), none.astype(np.intp), none.reshape(0, 2), none, none,
        none.reshape(0, 2),
    )  # fmt: skip
    return solve_network(frames, nothing, plane, 0, links=links, nclip=0)


def _closure(
    solution: NetworkSolution,
    frames: Sequence[GroupFrame],
    pair: ImagePair,
    plane: TangentPlane,
) -> Array:
    """Return what a solution leaves of the shift of a pair (2,), arcsec."""
    link = pair_links(replace(pair, rotation_error=np.inf), frames, plane)[0]
    ends = ((link.first, link.xy_first), (link.second, link.xy_second))
    first, second = (apply_map(solution.way(g), xy)[0][0] for g, xy in ends)
    return np.asarray(first - second)


def _main_part(
    frames: Sequence[GroupFrame],
    pairs: Sequence[ImagePair],
    used: NDArray[np.bool_],
    reference: str | None,
) -> tuple[set[str], str | None]:
    """Names in the part that holds the reference (else the largest), and the reference."""
    part = {frame.name: frame.name for frame in frames}
    pixels = dict.fromkeys(part, 0)
    for pair, use in zip(pairs, used, strict=True):
        if not use or pair.first not in part or pair.second not in part:
            continue
        pixels[pair.first] += pair.n_pixels
        pixels[pair.second] += pair.n_pixels
        old, new = sorted((part[pair.first], part[pair.second]))[::-1]
        part = {name: new if label == old else label for name, label in part.items()}
    if not part:
        return set(), None
    if reference is None or reference not in part:
        # a pair alone has as many pixels in both: it is not to matter how images are called
        places = {frame.name: frame.plane.to_vectors(frame.centre)[0].tolist() for frame in frames}
        labels = list(part.values())
        told = {label: sum(pixels[name] for name in part if part[name] == label) for label in part}
        first = {label: min(places[n] for n in part if part[n] == label) for label in set(labels)}
        if len(first) == len(labels):  # nothing is connected, so that it makes no difference
            first = {label: [] for label in first}
        largest = min(
            set(labels), key=lambda one: (-labels.count(one), -told[one], first[one], one)
        )
        inside = [name for name in part if part[name] == largest]
        reference = min(inside, key=lambda name: (-pixels[name], places[name], name))
    return {name for name in part if part[name] == part[reference]}, reference


def _unconnected(frame: GroupFrame, held: str | None) -> GroupFit:
    nothing = PlaneCorrection(np.eye(2), np.zeros(2), np.full((6, 6), np.nan))
    if frame.name == held:
        unmoved = replace(nothing, cov=np.zeros((6, 6)))
        return GroupFit(frame.name, ImageStatus.REFERENCE, "no other image to compare", 0, unmoved)
    reason = f"no pair of images connects it with {held}"
    return GroupFit(frame.name, ImageStatus.UNCHANGED, reason, 0, nothing)
