"""The corrected WCS of an image in all the forms in which a product holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from webbalign.products.corrector import Correction, corrected_wcs
from webbalign.products.image_files import ImageInfo
from webbalign.products.sip import SipApproximation, SipHeader, sip_header
from webbalign.products.wcs_keywords import s_region

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = ["Renewal", "renewed"]


@dataclass(frozen=True, eq=False)
class Renewal:
    """The new WCS of an image, in all its forms."""

    wcs: WCS
    sip: SipHeader
    s_region: str
    status: str
    history: Sequence[str]
    catalog: str | None
    changed: bool
    was_corrected: bool

    @property
    def wcsinfo(self) -> dict[str, Any]:
        """The keywords as ``meta.wcsinfo`` holds them."""
        words = {key.lower(): value for key, value, _ in self.sip.cards}
        return words | {"s_region": self.s_region}


def renewed(
    info: ImageInfo,
    correction: Correction | None,
    sip: SipApproximation | None,
    status: str,
    history: str | Sequence[str],
    catalog: str | None,
) -> Renewal:
    """Correct the WCS of an image; parameters as of `corrected.save_corrected`.

    Raises
    ------
    InputError
        If the WCS is none of a JWST image.
    """
    wcs = info.wcs
    if correction is not None:
        wcs = corrected_wcs(wcs, info.wcsinfo, correction, info.name)
    crpix = info.wcsinfo.get("crpix1"), info.wcsinfo.get("crpix2")
    at = (crpix[0], crpix[1]) if crpix[0] is not None and crpix[1] is not None else None
    return Renewal(
        wcs=wcs,
        sip=sip_header(wcs, info.shape, sip, at),
        s_region=s_region(wcs, info.shape),
        status=status,
        history=(history,) if isinstance(history, str) else tuple(history),
        catalog=catalog,
        changed=correction is not None,
        was_corrected="v2v3corr" in info.wcs.available_frames,
    )
