"""Visits aligned by their images: all overlapping pairs measured, then solved for together.

The pairs' shifts and rotations enter the least squares that also takes stars
(:mod:`webbalign.core.network`), as links between groups: each pair is two points of the field, laid
so that together they carry exactly the shift, the rotation and their covariance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from webbalign.core._image_fits import ImageStatus
from webbalign.core.correlation import Correlating, CorrelationStatus, ImageShift, correlate
from webbalign.core.network import (
    GroupFrame,
    Link,
    NetworkSolution,
    Observations,
    PlaneCorrection,
    solve_network,
)
from webbalign.core.planes import TangentPlane, apply_map

__all__ = [
    "GridImage",
    "GroupFit",
    "ImagePair",
    "PairSolution",
    "measure_pairs",
    "overlapping_pairs",
    "pair_links",
    "solve_pairs",
]

Array = NDArray[np.float64]

# pixels that two images must have in common to be compared
_MIN_COMMON = 1024
# median of chi-square with two degrees of freedom
_MEDIAN_CHI2 = 2.0 * math.log(2.0)
# rounds in which the floor under the stated errors and the rejected pairs settle
_ROUNDS = 6


@dataclass(frozen=True, eq=False)
class GridImage:
    """An image on a common grid that has no end.

    Attributes
    ----------
    name : str
        Of the group (visit) that it shows.
    data, weight : ndarray (ny, nx)
        NaN, or weight 0, where there is nothing.
    origin : tuple of int
        Row and column of the first pixel on the grid.
    n_images : int
        Images in it.
    """

    name: str
    data: NDArray[np.float32] = field(repr=False)
    weight: NDArray[np.float32] = field(repr=False)
    origin: tuple[int, int]
    n_images: int = 1


@dataclass(frozen=True, eq=False)
class ImagePair:
    """The displacement between two groups on the common plane.

    What the first group shows at p, the second shows at ``point + R(rotation) (p - point) +
    shift``.

    Attributes
    ----------
    first, second : str
        Names of the groups.
    status : CorrelationStatus
        Only OK takes part in a solution.
    point : ndarray (2,)
        In the field's plane, arcsec: where shift and rotation are independent of each other.
    shift : ndarray (2,)
        Arcsec.
    rotation : float
        Radians from the plane's x to y; 0 if not measured.
    shift_cov : ndarray (2, 2)
        Arcsec squared.
    rotation_error : float
        Radians; infinite if not measured.
    n_pixels : int
    significance : float
        Of the correlation's peak.
    band : str
        In which it was measured.
    """

    first: str
    second: str
    status: CorrelationStatus
    point: Array
    shift: Array
    rotation: float
    shift_cov: Array
    rotation_error: float
    n_pixels: int
    significance: float
    band: str = ""


@dataclass(frozen=True, eq=False)
class GroupFit:
    """What became of one group.

    Attributes
    ----------
    name : str
    status : ImageStatus
        ALIGNED, REFERENCE, or UNCHANGED for one that is not connected with the reference.
    reason : str
    n_pairs : int
        Pairs used.
    correction : PlaneCorrection
        In the group's own plane.
    """

    name: str
    status: ImageStatus
    reason: str
    n_pairs: int
    correction: PlaneCorrection


@dataclass(frozen=True, eq=False)
class PairSolution:
    """All groups solved for.

    Attributes
    ----------
    groups : tuple of GroupFit
        In the order of the frames given.
    pairs : tuple of ImagePair
        Sorted by their names.
    used : ndarray of bool (pairs,)
    closure : ndarray (pairs, 2)
        Arcsec in the field's plane: what is left of each pair's shift; NaN for pairs not in the
        solution.
    floor : float
        One-axis error that was added to every pair's, arcsec.
    chi2_reduced : float
        With the errors as stated; NaN without freedom.
    """

    groups: tuple[GroupFit, ...]
    pairs: tuple[ImagePair, ...]
    used: NDArray[np.bool_]
    closure: Array
    floor: float
    chi2_reduced: float


def overlapping_pairs(images: Sequence[GridImage]) -> list[tuple[int, int]]:
    """Return the indices of the pairs of images whose boxes overlap, each ordered by name."""
    order = sorted(range(len(images)), key=lambda k: images[k].name)
    found = []
    for at, i in enumerate(order):
        for j in order[at + 1 :]:
            rows, columns = _common(images[i], images[j])
            if min(rows[1] - rows[0], columns[1] - columns[0]) > 0 and (
                images[i].data.size and images[j].data.size
            ):
                found.append((i, j))
    return found


def measure_pairs(
    images: Sequence[GridImage],
    pixel_scale: float,
    options: Correlating | None = None,
    *,
    band: str = "",
    run: Callable[..., Iterable[ImagePair]] = map,
) -> list[ImagePair]:
    """Correlate all overlapping pairs.

    Parameters
    ----------
    images : sequence of GridImage
    pixel_scale : float
        Arcsec. Pixel (x, y) of the grid lies at (-x, y) * pixel_scale in the field's plane.
    options : Correlating, optional
    band : str
        Noted with each pair.
    run : callable
        A map: serial, threads or processes.
    """
    options = options or Correlating()
    pairs = overlapping_pairs(images)

    def one(pair: tuple[int, int]) -> ImagePair:
        return measure_pair(images[pair[0]], images[pair[1]], pixel_scale, options, band=band)

    return list(run(one, pairs))


def measure_pair(
    first: GridImage,
    second: GridImage,
    pixel_scale: float,
    options: Correlating | None = None,
    *,
    band: str = "",
) -> ImagePair:
    """Correlate two images of the common grid; see `measure_pairs`."""
    options = options or Correlating()
    reach = options.corr_searchrad / pixel_scale
    rows, columns = _common(first, second)
    margin = math.ceil(reach) + 2
    rows, columns = ((a - margin, b + margin) for a, b in (rows, columns))
    one, two = (_window(image, rows, columns) for image in (first, second))
    if np.count_nonzero(np.isfinite(one) & np.isfinite(two)) < _MIN_COMMON:
        nan2 = np.full(2, np.nan)
        cov = np.full((2, 2), np.nan)
        status = CorrelationStatus.NO_OVERLAP
        return ImagePair(
            first.name, second.name, status, nan2, nan2, 0.0, cov, np.inf, 0, 0.0, band
        )
    found = correlate(one, two, max_shift=reach, options=options)
    return _on_plane(first.name, second.name, found, (rows[0], columns[0]), pixel_scale, band)


def _common(first: GridImage, second: GridImage) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last + 1 row and column of the grid that both have."""
    ranges = []
    for axis in range(2):
        low = max(first.origin[axis], second.origin[axis])
        high = min(image.origin[axis] + image.data.shape[axis] for image in (first, second))
        ranges.append((low, high))
    return ranges[0], ranges[1]


def _window(image: GridImage, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Cut a window of the grid out of an image, NaN where it has nothing."""
    window = np.full((max(rows[1] - rows[0], 0), max(columns[1] - columns[0], 0)), np.nan)
    into, out = [], []
    for axis, (a, b) in enumerate((rows, columns)):
        start = image.origin[axis]
        low, high = max(a, start), min(b, start + image.data.shape[axis])
        if high <= low:
            return window
        into.append(slice(low - a, high - a))
        out.append(slice(low - start, high - start))
    part = np.where(image.weight[tuple(out)] > 0, image.data[tuple(out)], np.nan)
    window[tuple(into)] = part
    return window


def _on_plane(
    first: str,
    second: str,
    found: ImageShift,
    corner: tuple[int, int],
    pixel_scale: float,
    band: str,
) -> ImagePair:
    """Turn a shift in pixels into one on the plane, at the point where the rotation is apart."""
    mirror = np.array([-pixel_scale, pixel_scale])
    point = (found.centre + np.array([corner[1], corner[0]])) * mirror
    shift = np.array([found.dx, found.dy]) * mirror
    # the grid is mirrored against the plane: its rotation is the other way round
    scale = np.array([*mirror, -1.0])
    cov = found.cov * np.outer(scale, scale)
    rotation, error = -found.rotation, np.inf
    if cov[2, 2] > 0:
        error = float(np.sqrt(cov[2, 2]))
        slope = cov[:2, 2] / cov[2, 2]
        # the shift at point + a is shift + rotation * (-a_y, a_x)
        step = np.array([-slope[1], slope[0]])
        turn = np.array([[0.0, -1.0], [1.0, 0.0]])
        moved = turn @ step
        big = np.array(
            [[np.cos(rotation) - 1, -np.sin(rotation)], [np.sin(rotation), np.cos(rotation) - 1]]
        )
        point, shift = point + step, shift + big @ step
        change = np.concatenate([np.eye(2), moved[:, None]], axis=1)
        cov = change @ cov @ change.T
    return ImagePair(
        first,
        second,
        found.status,
        point,
        shift,
        rotation,
        cov[:2, :2],
        error,
        found.n_pixels,
        found.significance,
        band,
    )


def pair_links(
    pair: ImagePair, frames: Sequence[GroupFrame], plane: TangentPlane, floor: float = 0.0
) -> list[Link]:
    """Express a pair by links between points of the two groups.

    Parameters
    ----------
    pair : ImagePair
    frames : sequence of GroupFrame
        Those of the solution; the pair's names are among theirs.
    plane : TangentPlane
        The field's.
    floor : float
        One-axis error to be added, arcsec.

    Returns
    -------
    list of Link
        One if the pair has no rotation; else two, at distances +-L from the point: their mean
        carries the shift, their difference the rotation, if L is the ratio of the errors of both.
    """
    names = [frame.name for frame in frames]
    i, j = names.index(pair.first), names.index(pair.second)
    cov = pair.shift_cov + floor**2 * np.eye(2)
    if not np.isfinite(pair.rotation_error):
        places, share = [pair.point], 1.0
    else:
        # a displacement of the whole field that is not measured turns it as well
        radius = min(frames[i].radius, frames[j].radius)
        error = math.hypot(pair.rotation_error, floor / (0.5 * radius))
        lever = 1.0 / math.sqrt(error**2 * np.linalg.inv(cov)[1, 1])
        places = [pair.point + np.array([s * lever, 0.0]) for s in (1.0, -1.0)]
        share = 2.0
    cos, sin = math.cos(pair.rotation), math.sin(pair.rotation)
    turn = np.array([[cos, -sin], [sin, cos]])
    links = []
    for place in places:
        there = pair.point + turn @ (place - pair.point) + pair.shift
        here = plane.map_to(frames[i].plane, place)[0][0]
        there = plane.map_to(frames[j].plane, there)[0][0]
        links.append(Link(i, j, here, there, share * cov))
    return links


def solve_pairs(
    frames: Sequence[GroupFrame],
    pairs: Sequence[ImagePair],
    plane: TangentPlane,
    *,
    reference: str | None = None,
    nclip: int = 3,
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
        largest connected part, then the first by name.
    nclip : int
        Clipping iterations of each round of the solver.
    sigma : float
        Pairs farther than this from closure, in errors, are rejected.
    group_error : float
        One-axis error, arcsec, of each group's place that all its pairs have in common, so that no
        closure shows it: of the middle, and again of the edge about the middle. Added to the
        covariances of corrections relative to the reference.

    Returns
    -------
    PairSolution
    """
    by_name = sorted(range(len(frames)), key=lambda k: frames[k].name)
    ordered = [frames[k] for k in by_name]
    pairs = sorted(pairs, key=lambda p: (p.first, p.second, p.band))
    usable = np.array([pair.status is CorrelationStatus.OK for pair in pairs], dtype=bool)
    part, held = _main_part(ordered, pairs, usable, reference)
    members = [
        replace(f, geometry=None) if f.name == held else f for f in ordered if f.name in part
    ]
    state = _rounds(members, pairs, usable, plane, nclip, sigma, held)
    fits = {frame.name: _unconnected(frame, held) for frame in ordered}
    if state.solution is not None:
        used = [p for p, u in zip(pairs, state.used, strict=True) if u]
        for g, frame in enumerate(state.frames):
            count = sum(frame.name in (p.first, p.second) for p in used)
            correction = state.solution.correction(g, frame.plane, frame.centre)
            if frame.name != held:
                more = _common_error(frame, math.sqrt(2.0) * group_error)
                correction = replace(correction, cov=correction.cov + more)
            status = ImageStatus.REFERENCE if frame.name == held else ImageStatus.ALIGNED
            fits[frame.name] = GroupFit(frame.name, status, "", count, correction)
    return PairSolution(
        groups=tuple(fits[frame.name] for frame in frames),
        pairs=tuple(pairs),
        used=state.used,
        closure=state.closure,
        floor=state.floor,
        chi2_reduced=state.chi2,
    )


@dataclass(eq=False)
class _Rounds:
    """Where the rounds of a solution stand."""

    frames: list[GroupFrame]
    used: NDArray[np.bool_]
    closure: Array
    floor: float = 0.0
    chi2: float = float("nan")
    solution: NetworkSolution | None = None


def _rounds(
    frames: list[GroupFrame],
    pairs: Sequence[ImagePair],
    usable: NDArray[np.bool_],
    plane: TangentPlane,
    nclip: int,
    sigma: float,
    held: str | None,
) -> _Rounds:
    """Solve, find the floor, reject pairs, until nothing changes."""
    names = {frame.name for frame in frames}
    inside = np.array([p.first in names and p.second in names for p in pairs], dtype=bool)
    state = _Rounds(frames, usable & inside, np.full((len(pairs), 2), np.nan))
    if len(frames) < 2 or not state.used.any():
        return replace(state, used=np.zeros(len(pairs), bool))
    for _ in range(_ROUNDS):
        before = (state.used.copy(), state.floor)
        rows = np.flatnonzero(usable & inside)
        links, owner = [], []
        for k in rows.tolist():
            if state.used[k]:
                made = pair_links(pairs[k], state.frames, plane, state.floor)
                links += made
                owner += [k] * len(made)
        state.solution = _solved(state.frames, links, plane, nclip, sigma)
        _judge(state, pairs, rows, plane, sigma)
        dropped = np.array(owner)[~state.solution.link_used]
        state.used[dropped] = False
        lost, _ = _main_part(state.frames, pairs, state.used, held)
        if len(lost) < len(state.frames):
            state.frames = [frame for frame in state.frames if frame.name in lost]
            inside &= np.array([p.first in lost and p.second in lost for p in pairs], dtype=bool)
            state.used &= inside
            if len(state.frames) < 2:
                state.solution = None
                break
        elif (before[0] == state.used).all() and abs(before[1] - state.floor) < 1e-6:
            break
    return state


def _judge(
    state: _Rounds,
    pairs: Sequence[ImagePair],
    rows: NDArray[np.intp],
    plane: TangentPlane,
    sigma: float,
) -> None:
    """Set closures, the floor and which pairs are used, from a solution."""
    assert state.solution is not None
    names = [frame.name for frame in state.frames]
    squared, bare = [], []
    for k in rows.tolist():
        i, j = names.index(pairs[k].first), names.index(pairs[k].second)
        link = pair_links(replace(pairs[k], rotation_error=np.inf), state.frames, plane)[0]
        ends = [
            _through(state.solution.way(g), xy)
            for g, xy in ((i, link.xy_first), (j, link.xy_second))
        ]
        state.closure[k] = ends[0] - ends[1]
        cov = link.cov
        bare.append(float(state.closure[k] @ np.linalg.solve(cov, state.closure[k])))
        squared.append(float(state.closure[k] @ state.closure[k]))
    freedom = 2 * len(rows) - 2 * (len(names) - 1)
    state.chi2 = float(np.sum(bare)) / freedom if freedom > 0 else float("nan")
    if freedom <= 0:
        return
    variance = np.array([np.trace(pairs[k].shift_cov) / 2 for k in rows.tolist()])
    share = freedom / (2 * len(rows))
    distances = np.array(squared)
    state.floor = _floor(distances / share, variance)
    limit = 2.0 * sigma**2 * share
    state.used[rows] = distances / (variance + state.floor**2) <= limit


def _floor(squared: Array, variance: Array) -> float:
    """Error to add so that the median squared distance is what it should be."""
    low, high = 0.0, float(np.sqrt(squared.max(initial=0.0))) + 1e-12
    if np.median(squared / variance) <= _MEDIAN_CHI2:
        return 0.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = np.median(squared / (variance + middle**2)) > _MEDIAN_CHI2
        low, high = (middle, high) if above else (low, middle)
    return 0.5 * (low + high)


def _through(way: Array, xy: Array) -> Array:
    return apply_map(way, xy)[0][0]


def _solved(
    frames: Sequence[GroupFrame],
    links: Sequence[Link],
    plane: TangentPlane,
    nclip: int,
    sigma: float,
) -> NetworkSolution:
    none = np.empty(0)
    nothing = Observations(
        none.astype(np.intp), none.astype(np.intp), none.reshape(0, 2), none, none,
        none.reshape(0, 2),
    )  # fmt: skip
    return solve_network(frames, nothing, plane, 0, links=links, nclip=nclip, sigma=sigma)


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
        labels = list(part.values())
        largest = min(set(labels), key=lambda label: (-labels.count(label), label))
        inside = [name for name in part if part[name] == largest]
        reference = min(inside, key=lambda name: (-pixels[name], name))
    return {name for name in part if part[name] == part[reference]}, reference


def _common_error(frame: GroupFrame, error: float) -> Array:
    """Covariance (6, 6) of a shift and a turn about the middle of a group."""
    x, y = frame.centre
    slopes = np.zeros((6, 3))
    slopes[4, 0] = slopes[5, 1] = 1.0
    slopes[:, 2] = np.array([0.0, -1.0, 1.0, 0.0, y, -x]) / frame.radius
    if frame.geometry == "shift":
        slopes[:, 2] = 0.0
    return error**2 * slopes @ slopes.T


def _unconnected(frame: GroupFrame, held: str | None) -> GroupFit:
    nothing = PlaneCorrection(np.eye(2), np.zeros(2), np.full((6, 6), np.nan))
    if frame.name == held:
        unmoved = replace(nothing, cov=np.zeros((6, 6)))
        return GroupFit(frame.name, ImageStatus.REFERENCE, "no other image to compare", 0, unmoved)
    reason = f"no pair of images connects it with {held}"
    return GroupFit(frame.name, ImageStatus.UNCHANGED, reason, 0, nothing)
