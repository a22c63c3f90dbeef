"""Other offsets at which a star list and a catalog agree better than by chance.

The sources beside stars (diffraction spikes, ghosts) lie at one place from each of them. If the
stars themselves are not in the list, being saturated, such sources agree with the catalog at an
offset that is wrong by that place, and with one another as well as stars do. So an offset is not
to be judged alone: what else the lists have in common is looked for, after the roll is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from webbalign.core._offset_fit import mutual_nearest
from webbalign.core._offset_peak import find_peaks, isolated, log_chance
from webbalign.core._offset_search import MATCHED, OffsetSearch
from webbalign.core._search_list import SearchList
from webbalign.core.matching import Matching
from webbalign.core.offsets import Offset

__all__ = ["Agreement", "agreements"]

Complex = NDArray[np.complex128]
Indices = NDArray[np.intp]

# A rival is taken for real if chance makes one as good once in so many searches (log10).
_FALSE_ALARM = -4.0
# In a crowd that agrees badly, those that agree well are believed sooner if they are most of it.
_FALSE_ALARM_INSIDE, _MOST_OF_IT = -2.0, 0.5
# Most sources beside a star are within this distance of it (arcsec): a search that is small is
# sensitive to few of them.
_BESIDE = 2.0
_WINDOW_RATIO = 2.5
_MOST = 6


@dataclass(frozen=True, eq=False)
class Agreement:
    """An offset and the stars that agree at it.

    Attributes
    ----------
    offset : Offset
    i, j : ndarray of int, shape (k,)
        Numbers of the stars in the list and in the catalog, one to one.
    beside : complex
        Where its sources lie as seen from those of the first agreement, x + iy in arcsec.
    """

    offset: Offset
    i: Indices
    j: Indices
    beside: complex = 0j

    def __len__(self) -> int:
        return len(self.i)


def agreements(
    image: SearchList,
    reference: SearchList,
    offset: Offset,
    options: Matching,
    pixel_scale: float,
) -> list[Agreement]:
    """Find the stars that agree at an offset, and the other offsets at which stars agree.

    Parameters
    ----------
    image, reference : SearchList
        All stars, those with close neighbours, too.
    offset : Offset
        Supported by stars.
    options : Matching
    pixel_scale : float
        Arcsec.

    Returns
    -------
    list of Agreement
        The given one first, then its rivals, the most significant one first.
    """
    offset = _sharpened(image, reference, offset, options, pixel_scale)
    image = _moved_list(image, offset)
    sigma = max(offset.sigma, 0.05 * pixel_scale)
    width = min(max(3.0 * sigma, pixel_scale), options.tolerance)
    reach = min(max(MATCHED * sigma, 0.1 * pixel_scale), options.tolerance)
    i, j = _paired(image.z, reference, 0j, reach)
    found = [Agreement(offset, image.index[i], reference.index[j])]
    radius = offset.searchrad if options.use2dhist else options.tolerance
    search = _around(image, reference, options, radius, pixel_scale)
    if search.empty:
        return found
    first, second = search.pairs
    away = search.reference.z[second] - search.image.z[first]
    # the pairs of the given offset, and what a roll that is not quite right adds to them
    left = np.abs(away) > reach + 2.0 * width
    while len(found) < _MOST:
        rival = _best(search, (first[left], second[left]), away[left], radius, width)
        if rival is None:
            break
        shift, i, j, scatter, _ = rival
        there = _moved(offset, shift, len(i), scatter)
        found.append(Agreement(there, search.image.index[i], search.reference.index[j], -shift))
        left &= np.abs(away - shift) > 2.0 * _WINDOW_RATIO * width
    return found


def _sharpened(
    image: SearchList, reference: SearchList, offset: Offset, options: Matching, pixel_scale: float
) -> Offset:
    """Return an offset as sharp as the stars are.

    Stars and the sources beside them may have been taken for one crowd that agrees badly.
    """
    moved = _moved_list(image, offset)
    radius = min(MATCHED * offset.sigma, options.tolerance)
    search = _around(moved, reference, options, radius, pixel_scale)
    width = search.widths[0]
    if search.empty or offset.sigma < 0.5 * width:
        return offset
    first, second = search.pairs
    away = search.reference.z[second] - search.image.z[first]
    core = _best(search, search.pairs, away, radius, width, _FALSE_ALARM_INSIDE)
    if core is None:
        return offset
    shift, i, _, scatter, chance = core
    if chance > _FALSE_ALARM:
        crowd, _ = _paired(moved.z, reference, 0j, radius)
        if len(i) < _MOST_OF_IT * len(crowd):
            return offset
    return _moved(offset, shift, len(i), scatter)


def _around(
    moved: SearchList, reference: SearchList, options: Matching, radius: float, pixel_scale: float
) -> OffsetSearch:
    """Return the search within a radius of an offset that has been applied."""
    around = replace(options, searchrad=radius, xoffset=0.0, yoffset=0.0)
    return OffsetSearch(moved, reference, around, pixel_scale)


def _moved_list(image: SearchList, offset: Offset) -> SearchList:
    """Return a list moved to where the reference has its stars."""
    moved = offset.apply(np.stack([image.z.real, image.z.imag], axis=1))
    return replace(image, z=moved[:, 0] + 1j * moved[:, 1])


def _best(
    search: OffsetSearch,
    pairs: tuple[Indices, Indices],
    away: Complex,
    radius: float,
    width: float,
    least: float = _FALSE_ALARM,
) -> tuple[complex, Indices, Indices, float, float] | None:
    """Return the most significant place: shift, pairs, one-axis scatter, chance (log10)."""
    best, chance = None, least
    for reach in sorted({min(_BESIDE, radius), radius}):
        for peak in find_peaks(away, pairs, reach, [width, _WINDOW_RATIO * width]):
            if peak.log_chance > least:
                continue
            shift = _centred(away, peak.shift, peak.width)
            i, j = _paired(search.image.z, search.reference, shift, width)
            if not len(i):
                continue
            expected = peak.density * np.pi * width**2
            trials = max(np.pi * (reach / width) ** 2, 1.0)
            # what is close together may be parts of one thing
            ones = isolated(search.image.z[i], np.full(len(i), np.nan), search.separation)
            how = log_chance(len(ones), expected, trials)
            if how <= chance:
                left = search.reference.z[j] - search.image.z[i] - shift
                scatter = float(np.sqrt(np.mean(np.abs(left) ** 2) / 2.0))
                best, chance = (shift, i, j, scatter, how), how
    return best


def _centred(away: Complex, shift: complex, width: float) -> complex:
    """Return the middle of the differences in a window: the densest place, then their median."""
    near = away[np.maximum(np.abs((away - shift).real), np.abs((away - shift).imag)) <= width]
    tree = KDTree(np.stack([near.real, near.imag], axis=1))
    crowd = np.array([len(k) for k in tree.query_ball_point(tree.data, 0.4 * width)])
    core = near[np.abs(near - near[int(crowd.argmax())]) <= 0.4 * width]
    return complex(np.median(core.real), np.median(core.imag))


def _paired(
    z: Complex, reference: SearchList, shift: complex, reach: float
) -> tuple[Indices, Indices]:
    """Pairs, one to one, of moved stars and reference stars within reach."""
    if not len(z) or not len(reference.z):
        none = np.empty(0, np.intp)
        return none, none
    return mutual_nearest(z + shift, reference.z, reference.tree, reach)


def _moved(offset: Offset, shift: complex, n_pairs: int, scatter: float) -> Offset:
    """Return an offset moved by a shift."""
    return replace(
        offset,
        dx=offset.dx + shift.real,
        dy=offset.dy + shift.imag,
        n_pairs=n_pairs,
        sigma=scatter,
    )
