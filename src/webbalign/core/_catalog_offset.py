"""The offset of the reference catalog as seen from a solved component, or why there is none.

The most significant offset need not be that of the stars: see
:mod:`webbalign.core._rival_offsets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webbalign.core._catalog_stars import CatalogStars, JoinedStars
from webbalign.core._rival_choice import Brightness, choose, is_unlikely
from webbalign.core._rival_offsets import Agreement, agreements
from webbalign.core.matching import Matching
from webbalign.core.offsets import Offset, OffsetStatus, SearchList, search_offset

__all__ = ["CatalogOffset", "Refusal", "find_catalog_offset"]

# So many stars must be in both lists themselves, whatever lies beside others; and so many must
# have something beside them for it to be mentioned.
_LEAST_DIRECT = 5


@dataclass(frozen=True)
class Refusal:
    """Why the catalog was not used."""

    reason: str
    n_matched: int = 0


@dataclass(frozen=True, eq=False)
class CatalogOffset:
    """Where the catalog lies, and what supports that.

    `beside` are stars of the catalog that are seen in the images only by what lies beside them:
    they support the match, but are not used.
    """

    offset: Offset
    beside: NDArray[np.intp]
    roll_known: bool
    note: str = ""

    def support(self, pairs: int) -> int:
        """Return the number of stars that speak for the match."""
        return pairs + len(self.beside) if pairs >= _LEAST_DIRECT else pairs


def find_catalog_offset(
    joined: JoinedStars,
    stars: NDArray[np.float64],
    catalog: CatalogStars,
    options: Matching,
    pixel_scale: float,
    name: str,
) -> CatalogOffset | Refusal:
    """Offset of the catalog, if it is that of the stars and not of what lies beside them."""
    found = _offset(joined, stars, catalog, options, pixel_scale, name)
    if isinstance(found, Refusal):
        return found
    images = SearchList.of(stars, flux=joined.flux, sigma=joined.sigma)
    others = SearchList.of(catalog.xy, flux=catalog.flux, sigma=catalog.sigma)
    rivals = agreements(images, others, found, options, pixel_scale)
    brightness = Brightness.of(joined.flux, catalog.flux, joined.times)
    choice = choose(rivals, brightness)
    if choice.agreement is None:
        return Refusal(_undecided(rivals[0], choice.rivals, name), len(rivals[0]))
    chosen = choice.agreement
    inside = _inside(chosen.offset.apply(stars), catalog.xy, options.separation)
    if is_unlikely(chosen, inside, brightness):
        return Refusal(
            f"{len(chosen)} stars agree with {name}, but most of its stars in the images, and most "
            "sources that are as bright, are not matched: these may be sources beside stars",
            len(chosen),
        )
    known = chosen.offset is found
    return CatalogOffset(chosen.offset, choice.beside, known, _note(len(choice.beside), name))


def _undecided(first: Agreement, rivals: Sequence[Agreement], name: str) -> str:
    places = ", ".join(
        f"{len(one)} at ({one.beside.real:.2f}, {one.beside.imag:.2f}) arcsec from there"
        for one in rivals
    )
    return (
        f"several offsets agree with {name}, and the brightness does not tell which is that of the "
        f"stars: {len(first)} stars at one, {places}"
    )


def _note(n_beside: int, name: str) -> str:
    # fewer are no pattern
    if n_beside < _LEAST_DIRECT:
        return ""
    return (
        f"{n_beside} stars of {name} are not in the images, but a fainter source is always at the "
        "same place beside them: it was not used"
    )


def _inside(
    stars: NDArray[np.float64], catalog: NDArray[np.float64], separation: float
) -> NDArray[np.bool_]:
    """Which stars of the catalog lie where the images have stars."""
    spread = SearchList.of(stars, flux=np.ones(len(stars)), separation=separation)
    if len(spread.z) < 2:
        return np.zeros(len(catalog), bool)
    nearest = spread.tree.query(spread.tree.data, k=2)[0][:, 1]
    # between randomly placed points a circle of this radius holds three on average
    reach = 2.1 * float(np.median(nearest))
    return np.asarray(np.isfinite(spread.tree.query(catalog, distance_upper_bound=reach)[0]))


def _offset(
    joined: JoinedStars,
    stars: NDArray[np.float64],
    catalog: CatalogStars,
    options: Matching,
    pixel_scale: float,
    name: str,
) -> Offset | Refusal:
    """Offset of the catalog as seen from the component, if it is significant."""
    apart = options.separation
    images = SearchList.of(stars, flux=joined.flux, sigma=joined.sigma, separation=apart)
    others = SearchList.of(catalog.xy, flux=catalog.flux, sigma=catalog.sigma, separation=apart)
    offset, pairs, _ = search_offset(images, others, options, pixel_scale=pixel_scale)
    if offset.status is OffsetStatus.TOO_FEW:
        few = min(len(images.z), len(others.z))
        return Refusal(f"too few stars ({few}) to find the offset from {name}", few)
    if not offset.status.usable:
        return Refusal(f"no significant offset from {name} within {offset.searchrad:g} arcsec")
    if not len(pairs):
        return Refusal(f"no star agrees with {name} at the offset given")
    return offset
