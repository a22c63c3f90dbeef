"""Which of several agreements of a star list with a catalog is that of the stars.

What lies beside a star because of it is fainter than it: a spike, a ghost. So at the right offset
the sources are brighter, compared with the catalog's stars, than at a wrong one; and if one star
has a source at both, the brighter source is the star. A catalog can have spikes as well, then it is
the catalog's brighter entry. Where brightness does not tell, numbers may; where they do not either,
nothing is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webbalign.core._rival_offsets import Agreement

__all__ = ["Brightness", "Choice", "choose", "is_unlikely"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

# What is fainter by less (mag) may be as much a star as the other.
_FAINTER = 1.0
# A difference of two medians counts if it is so many of its errors.
_SIGNIFICANT = 4.0
# Rivals with this part of the stars, or less, do not matter if brightness does not tell.
_FEW = 0.1
# The same if they have the stars of the catalog, or the sources, in common.
_FEW_SHARED = 0.5
# A relation of fluxes and magnitudes with a smaller scatter (mag) predicts the one from the other.
_TIGHT = 0.75
# If less than these parts of what should be in the other list are there, and so many are missing,
# the match explains neither list.
_CATALOG_FOUND, _LIST_FOUND = 0.7, 0.25
_MISSING = 20


@dataclass(frozen=True, eq=False)
class Brightness:
    """Of all stars of both lists.

    Attributes
    ----------
    image, reference : ndarray, shape (n,), (m,)
        Magnitudes (-2.5 log10 of the flux, any zero point); NaN: unknown.
    repeated : ndarray of bool, shape (n,)
        Which sources of the list were seen more than once: the others may be nothing.
    """

    image: Array
    reference: Array
    repeated: NDArray[np.bool_]

    @classmethod
    def of(
        cls, image_flux: Array, reference_flux: Array, times: NDArray[np.intp] | None = None
    ) -> Brightness:
        """Take fluxes; those that are not positive are unknown. `times`: how often seen."""
        image = _magnitude(image_flux)
        repeated = np.ones(len(image), bool) if times is None else times > 1
        return cls(image, _magnitude(reference_flux), repeated)

    def excess(self, agreement: Agreement) -> Array:
        """Magnitude in the list less that in the catalog, of the pairs for which both are known."""
        found = self.image[agreement.i] - self.reference[agreement.j]
        return found[np.isfinite(found)]


@dataclass(frozen=True, eq=False)
class Choice:
    """The agreement of the stars.

    Attributes
    ----------
    agreement : Agreement or None
        None: it cannot be told which it is.
    beside : ndarray of int, shape (k,)
        Stars of the catalog that are not in the list, but that have a fainter source in it, at the
        same place beside each.
    rivals : tuple of Agreement
        The others; if nothing was chosen, those that it cannot be told from.
    """

    agreement: Agreement | None
    beside: Indices
    rivals: tuple[Agreement, ...]


def choose(found: Sequence[Agreement], brightness: Brightness) -> Choice:
    """Choose the agreement of the stars.

    Parameters
    ----------
    found : sequence of Agreement
    brightness : Brightness
    """
    none = np.empty(0, np.intp)
    for one in sorted(found, key=len, reverse=True):
        others = [other for other in found if other is not one]
        verdicts = [_compared(one, other, brightness) for other in others]
        if all(verdict is not None and verdict >= 0 for verdict in verdicts):
            faint = [o.j for o, verdict in zip(others, verdicts, strict=True) if verdict]
            beside = np.setdiff1d(np.concatenate([none, *faint]), one.j)
            return Choice(one, beside, tuple(others))
    first = found[0]
    rivals = tuple(o for o in found[1:] if _compared(first, o, brightness) in (None, -1))
    return Choice(None, none, rivals)


def _compared(one: Agreement, other: Agreement, brightness: Brightness) -> int | None:
    """1: the other is of fainter things beside stars; -1: the one is; 0: no matter; None: doubt."""
    verdict = _by_brightness(one, other, brightness)
    if verdict is not None:
        return verdict
    shared = max(len(np.intersect1d(one.j, other.j)), len(np.intersect1d(one.i, other.i)))
    few = _FEW_SHARED if 2 * shared >= min(len(one), len(other)) else _FEW
    if len(other) <= few * len(one):
        return 0
    return None


def _by_brightness(one: Agreement, other: Agreement, brightness: Brightness) -> int | None:
    """Compare the sources beside the same stars, else those beside different ones."""
    least = max(3.0, 0.5 * min(len(one), len(other)))
    for mine, yours, values in (("j", "i", brightness.image), ("i", "j", brightness.reference)):
        _, a, b = np.intersect1d(getattr(one, mine), getattr(other, mine), return_indices=True)
        fainter = values[getattr(other, yours)[b]] - values[getattr(one, yours)[a]]
        fainter = fainter[np.isfinite(fainter)]
        if len(fainter) >= least:
            return _sign(float(np.median(fainter)), 0.0)
    first, second = brightness.excess(one), brightness.excess(other)
    if min(len(first), len(second)) < least:
        return None
    error = np.hypot(_error(first), _error(second))
    verdict = _sign(float(np.median(second) - np.median(first)), float(error))
    if verdict is None:
        return None
    # sources beside the catalog's stars would look too bright, but would not be most of the bright
    right, wrong = (one, other) if verdict > 0 else (other, one)
    most, some = (
        _part_of_list(right, brightness, wrong)[0],
        _part_of_list(wrong, brightness, right)[0],
    )
    alone = _part_of_list(right, brightness)[0] >= _part_of_list(wrong, brightness)[0]
    return verdict if alone or some <= min(most, _CATALOG_FOUND) else None


def is_unlikely(agreement: Agreement, inside: NDArray[np.bool_], brightness: Brightness) -> bool:
    """Tell if a match leaves unexplained most of what should match in both lists.

    Where a list is deeper than the catalog, or the catalog holds a part of the stars only, most of
    the catalog is found; where many stars are saturated, most of the list is in the catalog.

    Parameters
    ----------
    agreement : Agreement
    inside : ndarray of bool, shape (m,)
        Which stars of the catalog lie in the images.
    brightness : Brightness
    """
    excess = brightness.excess(agreement)
    if len(excess) < 3 or _spread(excess) > _TIGHT:
        return False
    in_list, missing = _part_of_list(agreement, brightness)
    if in_list > _LIST_FOUND or missing < _MISSING:
        return False
    known = brightness.reference[agreement.j]
    with np.errstate(invalid="ignore"):
        near = (brightness.reference >= np.nanmin(known)) & (
            brightness.reference <= np.nanmax(known)
        )
    expected = inside & near
    found = np.count_nonzero(expected[agreement.j])
    return bool(found < _CATALOG_FOUND * np.count_nonzero(expected))


def _part_of_list(
    agreement: Agreement, brightness: Brightness, apart: Agreement | None = None
) -> tuple[float, int]:
    """Part of the sources as bright as those that agree that do; number of the others.

    Those of another agreement, `apart`, are left out.
    """
    offset = np.median(brightness.excess(agreement))
    known = brightness.reference[agreement.j]
    predicted = brightness.image - offset
    with np.errstate(invalid="ignore"):
        expected = (predicted >= np.nanmin(known)) & (predicted <= np.nanmax(known))
    if np.mean(brightness.repeated[agreement.i]) > 0.5:
        expected &= brightness.repeated
    if apart is not None:
        expected[np.setdiff1d(apart.i, agreement.i)] = False
    n_expected = int(np.count_nonzero(expected))
    n_found = int(np.count_nonzero(expected[agreement.i]))
    return (n_found / n_expected if n_expected else 1.0), n_expected - n_found


def _sign(fainter: float, error: float) -> int | None:
    if abs(fainter) < max(_FAINTER, _SIGNIFICANT * error):
        return None
    return 1 if fainter > 0 else -1


def _spread(values: Array) -> float:
    """One sigma, from the median of the absolute deviations."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _error(values: Array) -> float:
    """Error of the median; that of few values is not believed to be small."""
    return max(1.25 * _spread(values), 0.3) / float(np.sqrt(len(values)))


def _magnitude(flux: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        found = -2.5 * np.log10(np.asarray(flux, float))
    return np.where(np.isfinite(found), found, np.nan)
