"""Search of the offset (and roll) between two star lists on a plane, with its significance.

The differences of all pairs of stars are collected in windows of several sizes, since a roll
or a distortion smears their peak. The best peaks are refined by a fit of shift and roll, which is
not biased by the bins, and the number of stars that then agree is judged by the number that
chance would bring together at the best of all places searched. If nothing is significant, a
radius three times as large and rolls of up to 4 degrees are searched once. Stars with a
brighter one nearby do not take part, so that the detections in the wings of one bright star, alike
in all images, do not pass for many stars.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core._offset_fit import Rigid
from webbalign.core._offset_search import MATCHED, Candidate, OffsetSearch
from webbalign.core._search_list import SearchList
from webbalign.core.matching import Matching, match

__all__ = ["Offset", "OffsetStatus", "SearchList", "find_offset", "search_offset"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

# An offset is believed if chance brings as many stars together in one search of so many (log10).
_FALSE_ALARM = -4.0
# Where the user says: one place, not many.
_FALSE_ALARM_GIVEN = -3.0
_WIDER = 3.0
# A scatter beyond this part of the tolerance comes from a roll that was found in part only.
_BLURRED = 0.125


class OffsetStatus(enum.Enum):
    """How an offset was found."""

    FOUND = "found"
    GIVEN = "given by the user, and the stars agree there"
    FALLBACK = "no significant peak; the stars agree at the initial guess"
    NO_PEAK = "no significant peak"
    TOO_FEW = "too few objects"

    @property
    def usable(self) -> bool:
        """Whether the offset is supported by stars."""
        return self in (OffsetStatus.FOUND, OffsetStatus.GIVEN, OffsetStatus.FALLBACK)


@dataclass(frozen=True)
class Offset:
    """Where the reference lies as seen from the image.

    Attributes
    ----------
    dx, dy : float
        Arcsec: image + (dx, dy) = reference at `centre`. The initial guess if the status is
        NO_PEAK, or TOO_FEW and nothing was found.
    roll : float
        Turn of the image about `centre` in radian, from x to y.
    centre : tuple of float
        Point (x, y) in arcsec about which the image is turned.
    status : OffsetStatus
        How it was found.
    false_alarm : float
        Expected number of offsets that agree as well by chance, in all that was searched.
    n_pairs : int
        Pairs of stars, one to one, that agree.
    n_expected : float
        Pairs that would agree by chance at a given offset.
    sigma : float
        One-axis scatter of the pairs in arcsec.
    searchrad : float
        Radius that was searched, in arcsec.
    """

    dx: float
    dy: float
    roll: float
    centre: tuple[float, float]
    status: OffsetStatus
    false_alarm: float
    n_pairs: int
    n_expected: float
    sigma: float
    searchrad: float

    def apply(self, xy: ArrayLike) -> Array:
        """Return image positions (n, 2) moved to where the reference has them."""
        points = np.asarray(xy, float)
        rigid = Rigid(complex(*self.centre), complex(self.dx, self.dy), self.roll, self.sigma)
        moved = rigid.apply(points[..., 0] + 1j * points[..., 1])
        return np.stack([moved.real, moved.imag], axis=-1)


def find_offset(
    image_xy: ArrayLike,
    reference_xy: ArrayLike,
    *,
    options: Matching,
    sigma_image: ArrayLike | None = None,
    sigma_reference: ArrayLike | None = None,
    flux_image: ArrayLike | None = None,
    flux_reference: ArrayLike | None = None,
    pixel_scale: float = 0.03,
) -> Offset:
    """Find the offset and the roll that bring an image's stars onto those of a reference.

    Parameters
    ----------
    image_xy, reference_xy : array_like (n, 2), (m, 2)
        Positions in arcsec on one plane; those that are not finite do not count.
    options : Matching
        Search radius, initial guess, tolerance, smallest number of objects.
    sigma_image, sigma_reference : array_like (n,), (m,), optional
        One-axis errors in arcsec.
    flux_image, flux_reference : array_like (n,), (m,), optional
        Fluxes in any unit, to tell the brighter of two close stars; larger is brighter.
    pixel_scale : float
        Arcsec; the smallest window is one pixel.

    Returns
    -------
    Offset

    Raises
    ------
    InputError
        If the positions have a wrong shape.
    """
    apart = options.separation
    image = SearchList.of(image_xy, flux=flux_image, sigma=sigma_image, separation=apart)
    reference = SearchList.of(
        reference_xy, flux=flux_reference, sigma=sigma_reference, separation=apart
    )
    offset, i, _ = search_offset(image, reference, options, pixel_scale=pixel_scale)
    if not len(i):
        return offset
    # the crowded stars did not take part, but they count
    moved = offset.apply(np.asarray(image_xy, float))
    pairs = match(moved, reference_xy, tolerance=min(MATCHED * offset.sigma, options.tolerance))
    n_pairs = max(len(pairs), len(i))
    status = OffsetStatus.TOO_FEW if n_pairs < options.minobj else offset.status
    return Offset(**{**vars(offset), "n_pairs": n_pairs, "status": status})


def search_offset(
    image: SearchList,
    reference: SearchList,
    options: Matching,
    *,
    pixel_scale: float = 0.03,
    widen: bool = True,
) -> tuple[Offset, Indices, Indices]:
    """Find the offset as :func:`find_offset` does, and the numbers of the stars that agree.

    ``minobj`` is compared with the lengths of the lists, not with the pairs. `widen` says whether
    to search farther and for rolls if there is no peak. The indices refer to the whole lists.
    """
    search = OffsetSearch(image, reference, options, pixel_scale)
    if search.empty:
        return _failure(search, OffsetStatus.TOO_FEW, options)
    if not options.use2dhist:
        best = search.at_guess()
        if best.log_chance <= _FALSE_ALARM_GIVEN:
            return _result(search, best, OffsetStatus.GIVEN)
        return _failure(search, _unsupported(image, reference, options), options)
    best = search.best(search.plain())
    found = best.log_chance <= _FALSE_ALARM
    if widen and not (found and best.fit.sigma < _BLURRED * options.tolerance):
        farther = OffsetSearch(image, reference, options, pixel_scale, wider=_WIDER)
        other = farther.best(farther.rolled())
        if other.log_chance <= min(_FALSE_ALARM, best.log_chance):
            return _result(farther, other, OffsetStatus.FOUND)
    if found:
        return _result(search, best, OffsetStatus.FOUND)
    best = search.at_guess()
    if best.log_chance <= _FALSE_ALARM:
        return _result(search, best, OffsetStatus.FALLBACK)
    return _failure(search, _unsupported(image, reference, options), options)


def _unsupported(image: SearchList, reference: SearchList, options: Matching) -> OffsetStatus:
    """Return the status for lists in which nothing significant agrees."""
    few = min(len(image.z), len(reference.z)) < options.minobj
    return OffsetStatus.TOO_FEW if few else OffsetStatus.NO_PEAK


def _result(
    search: OffsetSearch, found: Candidate, status: OffsetStatus
) -> tuple[Offset, Indices, Indices]:
    """Return a candidate as an offset, with its pairs."""
    fit = found.fit
    offset = Offset(
        dx=fit.shift.real,
        dy=fit.shift.imag,
        roll=fit.roll,
        centre=(fit.centre.real, fit.centre.imag),
        status=status,
        false_alarm=10.0 ** min(found.log_chance, 300.0),
        n_pairs=len(found.i),
        n_expected=found.n_expected,
        sigma=fit.sigma,
        searchrad=search.radius,
    )
    return offset, search.image.index[found.i], search.reference.index[found.j]


def _failure(
    search: OffsetSearch, status: OffsetStatus, options: Matching
) -> tuple[Offset, Indices, Indices]:
    """Return the initial guess, which nothing supports."""
    none = np.empty(0, np.intp)
    offset = Offset(
        dx=options.xoffset,
        dy=options.yoffset,
        roll=0.0,
        centre=(search.centre.real, search.centre.imag),
        status=status,
        false_alarm=float("inf"),
        n_pairs=0,
        n_expected=0.0,
        sigma=float("nan"),
        searchrad=search.radius,
    )
    return offset, none, none
