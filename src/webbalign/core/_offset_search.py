"""The places where an offset between two star lists is looked for, and how each is judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from webbalign.core._offset_fit import Rigid, fit_rigid, mutual_nearest
from webbalign.core._offset_peak import Peak, find_peaks, isolated, log_chance, near_pairs
from webbalign.core._search_list import SearchList
from webbalign.core.matching import Matching

__all__ = ["MATCHED", "Candidate", "OffsetSearch"]

Complex = NDArray[np.complex128]
Indices = NDArray[np.intp]

# Matched stars agree within so many sigma.
MATCHED = 4.0
# Peaks with more chance equivalents than this (log10) are not worth a second look.
_HOPELESS = 2.0
# The same after two were looked at.
_DOUBTFUL = -0.5
# A candidate with fewer (log10) ends the search.
_DECISIVE = -8.0
_CANDIDATES = 6
# Stars that agree, over those that chance would bring together at a given offset. Where a large
# scatter makes a crowd of false pairs, the fit climbs to their densest places.
_CONTRAST = 3.0
_MAX_ROLL = np.deg2rad(4.0)
# Rolls up to about this are found without trying rolls.
_PLAIN_ROLL = np.deg2rad(0.5)
_SHARPEN = 0.4
_WINDOW_RATIO = 2.5
# Pairs that are looked at in the plain search and for each roll; beyond, the brightest stars'.
_MAX_PAIRS = 100_000
_MAX_PAIRS_ROLLED = 20_000


@dataclass(frozen=True)
class Candidate:
    """A possible offset: its fit, the stars that agree, and how many would by chance.

    `log_chance` is the decimal logarithm of the expected number of places, among all searched,
    where chance brings as many together.
    """

    fit: Rigid
    i: Indices
    j: Indices
    n_expected: float
    log_chance: float


class OffsetSearch:
    """Search of the offset of one list from another within a radius.

    Parameters
    ----------
    image, reference : SearchList
        The lists; only what can overlap is kept.
    options : Matching
        searchrad, tolerance, xoffset and yoffset are used.
    pixel_scale : float
        Arcsec; the smallest window is one pixel.
    wider : float
        Factor for the radius. If larger than 1, rolls are expected as well.
    """

    def __init__(
        self,
        image: SearchList,
        reference: SearchList,
        options: Matching,
        pixel_scale: float,
        *,
        wider: float = 1.0,
    ) -> None:
        # both may be 0
        self.tolerance = max(options.tolerance, 0.1 * pixel_scale)
        self.radius = max(options.searchrad * wider, self.tolerance)
        self.separation = options.separation
        self.guess = complex(options.xoffset, options.yoffset)
        self.max_roll = _MAX_ROLL if wider > 1 else _PLAIN_ROLL
        self.floor = max(float(np.hypot(image.sigma, reference.sigma)), 0.05 * pixel_scale)
        self.blurred = max(3 * self.floor, 0.5 * pixel_scale)
        lever = float(np.abs(image.z - image.z.mean()).max(initial=0.0)) if len(image.z) else 0.0
        self.reach = self.radius + (_MAX_ROLL * lever if wider > 1 else 0.0)
        image, reference = _overlapping(image, reference, self.guess, self.reach)
        limit = _MAX_PAIRS_ROLLED if wider > 1 else _MAX_PAIRS
        self.image, self.reference = _brightest(image, reference, self.reach, limit)
        self.empty = not len(self.image.z) or not len(self.reference.z)
        self.centre = complex(self.image.z.mean()) if len(self.image.z) else 0j
        self.lever = float(np.abs(self.image.z - self.centre).max(initial=0.0))
        smallest = min(max(3 * self.floor, pixel_scale), self.tolerance)
        n = 1 + round(np.log(self.tolerance / smallest) / np.log(_WINDOW_RATIO))
        self.widths = np.geomspace(smallest, self.tolerance, max(n, 1)).tolist()

    @cached_property
    def pairs(self) -> tuple[Indices, Indices]:
        """All pairs that can be true."""
        return near_pairs(self.image.z + self.guess, self.reference.z, self.reach)

    def plain(self) -> list[Peak]:
        """Return the peaks of the differences without any roll."""
        i, j = self.pairs
        difference = self.reference.z[j] - self.image.z[i] - self.guess
        return find_peaks(difference, self.pairs, self.radius, self.widths)

    def rolled(self) -> list[Peak]:
        """Return the peaks of the differences at a grid of rolls."""
        i, j = self.pairs
        coarse = [width for width in self.widths if width >= 0.4 * self.tolerance]
        half = 1 + int(_MAX_ROLL * self.lever / (2 * coarse[0])) if self.lever else 0
        rolls = np.linspace(-_MAX_ROLL, _MAX_ROLL, 2 * half + 1) if half else np.zeros(1)
        peaks = []
        for roll in rolls:
            widths = self.widths if roll == 0 else coarse
            turned = Rigid(self.centre, self.guess, float(roll), 0.0).apply(self.image.z)
            difference = self.reference.z[j] - turned[i]
            peaks += find_peaks(
                difference, self.pairs, self.radius, widths, float(roll), len(rolls)
            )
        return peaks

    def best(self, peaks: list[Peak]) -> Candidate:
        """Refine the most promising peaks and return the most significant one."""
        best = self._nothing()
        tried: list[Peak] = []
        for peak in sorted(peaks, key=lambda peak: (peak.log_chance, peak.width)):
            hopeless = peak.log_chance > (_HOPELESS if len(tried) < 2 else _DOUBTFUL)
            if hopeless or len(tried) == _CANDIDATES:
                break
            if any(_same(peak, other) for other in tried):
                continue
            tried.append(peak)
            candidate = self._refined(peak, self.radius, self.max_roll)
            if candidate.log_chance < best.log_chance:
                best = candidate
            if best.log_chance <= _DECISIVE:
                break
        return best

    def at_guess(self) -> Candidate:
        """Refine the initial guess within the tolerance."""
        n_pairs = len(self.pairs[0])
        if not n_pairs:
            return self._nothing()
        density = n_pairs / (np.pi * self.reach**2)
        peak = Peak(0j, 0.0, self.tolerance, density, 0.0)
        return self._refined(peak, self.tolerance, _PLAIN_ROLL)

    def _nothing(self) -> Candidate:
        none = np.empty(0, np.intp)
        rigid = Rigid(self.centre, self.guess, 0.0, self.tolerance)
        return Candidate(rigid, none, none, 0.0, np.inf)

    def _refined(self, peak: Peak, radius: float, max_roll: float) -> Candidate:
        """Fit from a peak, as sharply as is significant."""
        start = Rigid(self.centre, self.guess + peak.shift, peak.roll, peak.width)
        i, j = self.pairs
        away = self.reference.z[j] - start.apply(self.image.z)[i]
        near = np.abs(away) <= 2 * peak.width
        best = self._judged(start, (i[near], j[near]), peak.density, radius, max_roll)
        while best.fit.sigma > self.blurred:
            # the mixture is slow to contract, or caught between a wide and a narrow solution
            sharper = replace(best.fit, sigma=_SHARPEN * best.fit.sigma)
            pairs = self._near(sharper.apply(self.image.z), MATCHED * best.fit.sigma)
            other = self._judged(sharper, pairs, peak.density, radius, max_roll)
            if other.log_chance >= best.log_chance:
                break
            best = other
        return best

    def _near(self, moved: Complex, reach: float) -> tuple[Indices, Indices]:
        """Return the pairs of moved stars with their nearest within reach."""
        points = np.stack([moved.real, moved.imag], axis=1)
        distance, j = self.reference.tree.query(points, distance_upper_bound=reach)
        i = np.flatnonzero(np.isfinite(distance))
        return i, np.asarray(j[i], np.intp)

    def _judged(
        self,
        start: Rigid,
        pairs: tuple[Indices, Indices],
        density: float,
        radius: float,
        max_roll: float,
    ) -> Candidate:
        """Fit from a start and judge what agrees after the fit."""
        fit = fit_rigid(
            self.image.z,
            self.reference.z,
            self.reference.tree,
            start,
            pairs=pairs,
            density=density,
            floor=self.floor,
            limit=self.tolerance,
        )
        reach = min(MATCHED * fit.sigma, self.tolerance)
        moved = fit.apply(self.image.z)
        i, j = mutual_nearest(moved, self.reference.z, self.reference.tree, reach)
        n_expected = density * np.pi * reach**2
        trials = max((radius / reach) ** 2, 1.0) * max(2 * max_roll * self.lever / reach, 1.0)
        chance = np.inf
        if len(i) >= _CONTRAST * n_expected:
            chance = log_chance(self._independent(moved[i]), n_expected, trials)
        return Candidate(fit, i, j, n_expected, chance)

    def _independent(self, z: Complex) -> int:
        """Count stars; those close together may be parts of one thing, and count as one."""
        return len(isolated(z, np.full(len(z), np.nan), self.separation))


def _same(peak: Peak, other: Peak) -> bool:
    """Whether the refinement of both would start from the same pairs."""
    near = abs(peak.shift - other.shift) < 0.5 * max(peak.width, other.width)
    return near and peak.roll == other.roll and peak.width < 1.5 * other.width


def _overlapping(
    image: SearchList, reference: SearchList, guess: complex, reach: float
) -> tuple[SearchList, SearchList]:
    """Return the stars of each list that lie in the box of the other, enlarged by `reach`."""
    if not len(image.z) or not len(reference.z):
        return image, reference
    inside = []
    for one, other in ((image.z + guess, reference.z), (reference.z, image.z + guess)):
        keep = (one.real >= other.real.min() - reach) & (one.real <= other.real.max() + reach)
        keep &= (one.imag >= other.imag.min() - reach) & (one.imag <= other.imag.max() + reach)
        inside.append(keep)
    return image.taken(inside[0]), reference.taken(inside[1])


def _brightest(
    image: SearchList, reference: SearchList, reach: float, limit: int
) -> tuple[SearchList, SearchList]:
    """Return so many of the brightest stars of both that there are about `limit` pairs."""
    if len(image.z) < 2 or len(reference.z) < 2:
        return image, reference
    box = max(float(np.ptp(reference.z.real) * np.ptp(reference.z.imag)), np.pi * reach**2)
    expected = len(image.z) * len(reference.z) * np.pi * reach**2 / box
    if expected <= limit:
        return image, reference
    part = float(np.sqrt(limit / expected))
    return tuple(_part(stars, part) for stars in (image, reference))  # type: ignore[return-value]


def _part(stars: SearchList, part: float) -> SearchList:
    """Return the brightest part of a list; of unknown flux, the stars nearest the middle."""
    z = stars.z - stars.z.mean()
    brightness = np.where(np.isfinite(stars.flux), stars.flux, -np.inf)
    order = np.lexsort((z.imag, z.real, np.abs(z), -brightness))
    return stars.taken(np.sort(order[: max(int(part * len(z)), 2)]))
