"""Images with a corrected WCS: GWCS, SIP header and S_REGION renewed, all the rest untouched.

A product is the copy of its input file in which two headers and the ASDF extension are replaced;
the arrays are copied by the operating system and never loaded. Models in memory are changed in
place and saved as any other.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stdatamodels.jwst.datamodels import ImageModel, JwstDataModel

from webbalign.products._patched_images import write_patched
from webbalign.products._renewed_wcs import Renewal, renewed
from webbalign.products.atomic import Seal, atomic_path, refuse_input
from webbalign.products.corrector import Correction
from webbalign.products.image_files import read_info
from webbalign.products.models import add_history, refuse_existing, write_model
from webbalign.products.sip import SipApproximation, SipHeader
from webbalign.products.wcs_keywords import is_fitted_keyword

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = ["CorrectedImage", "correct_model", "save_corrected"]


@dataclass(frozen=True, eq=False)
class CorrectedImage:
    """What has become of an image.

    Attributes
    ----------
    path : Path or None
        The product; None for a model in memory.
    wcs : gwcs.WCS
    s_region : str
    sip_error, sip_inverse_error : float
        Largest difference between header and GWCS, pixels.
    """

    path: Path | None
    wcs: WCS = field(repr=False)
    s_region: str
    sip_error: float
    sip_inverse_error: float


def _reported(renewal: Renewal, path: Path | None) -> CorrectedImage:
    sip = renewal.sip
    return CorrectedImage(path, renewal.wcs, renewal.s_region, sip.error, sip.inverse_error)


def save_corrected(
    source: str | Path | JwstDataModel,
    path: str | Path,
    correction: Correction | None,
    *,
    status: str = "COMPLETE",
    sip: SipApproximation | None = None,
    history: str | Sequence[str] = (),
    catalog: str | None = None,
    overwrite: bool = True,
    recipe: Seal | None = None,
) -> CorrectedImage:
    """Write an image with a corrected WCS.

    Parameters
    ----------
    source : str, Path or ImageModel
        The image; a file is left as it is, a model is changed.
    path : str or Path
        The product. It appears whole or not at all.
    correction : Correction or None
        In the plane of the image, `corrector.image_plane`. None: the GWCS stays as it is; the
        SIP header and S_REGION are renewed all the same.
    status : str
        For S_TWKREG: COMPLETE, FAILED or SKIPPED.
    sip : SipApproximation, optional
    history : str or sequence of str
        For HISTORY.
    catalog : str, optional
        For TCATFILE (``meta.tweakreg_catalog``): the custom catalog that was used; empty: none
        was; None: it stays as it is.
    overwrite : bool
        Whether an existing product may be replaced. An input never is.
    recipe : Recipe, optional
        What the product was made from, to be written into it.

    Returns
    -------
    CorrectedImage

    Raises
    ------
    InputError
        If the input cannot be used, or the product may not be written.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    if isinstance(source, JwstDataModel):
        done = correct_model(
            source, correction, status=status, sip=sip, history=history, catalog=catalog
        )
        with atomic_path(path, recipe) as temporary:
            write_model(source, temporary)
        source.meta.filename = path.name
        return CorrectedImage(path, done.wcs, done.s_region, done.sip_error, done.sip_inverse_error)
    source = Path(source)
    refuse_input(path, [source])
    info = read_info(source)
    renewal = renewed(info, correction, sip, status, history, catalog)
    with atomic_path(path, recipe) as temporary:
        if source.suffix == ".gz":
            unpacked = temporary.with_suffix(".unpacked")
            with gzip.open(source) as packed, open(unpacked, "wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
            write_patched(unpacked, temporary, path.name, renewal)
        else:
            write_patched(source, temporary, path.name, renewal)
    return _reported(renewal, path)


def correct_model(
    model: ImageModel,
    correction: Correction | None,
    *,
    status: str = "COMPLETE",
    sip: SipApproximation | None = None,
    history: str | Sequence[str] = (),
    catalog: str | None = None,
) -> CorrectedImage:
    """Correct the WCS of a model in memory; parameters as of :func:`save_corrected`."""
    renewal = renewed(read_info(model), correction, sip, status, history, catalog)
    model.meta.wcs = renewal.wcs
    wcsinfo = model.meta.wcsinfo.instance
    for key in [key for key in wcsinfo if is_fitted_keyword(key)]:
        del wcsinfo[key]
    for key, value in renewal.wcsinfo.items():
        setattr(model.meta.wcsinfo, key, value)
    _set_extra_cards(model, renewal.sip)
    model.meta.cal_step.tweakreg = status
    if catalog is not None:
        model.meta.tweakreg_catalog = catalog or None
    for text in renewal.history:
        add_history(model, text)
    return _reported(renewal, None)


# What the data models' schema does not know and would leave out of the header: the errors, and the
# linear terms of the inverse.
_UNKNOWN = ("SIPMXERR", "SIPIVERR", "AP_0_1", "AP_1_0", "BP_0_1", "BP_1_0", "LONPOLE", "LATPOLE")


def _set_extra_cards(model: ImageModel, sip: SipHeader) -> None:
    extras = model._instance.setdefault("extra_fits", {}).setdefault("SCI", {})
    kept = [card for card in extras.get("header", []) if not is_fitted_keyword(card[0])]
    extras["header"] = kept + [list(card) for card in sip.cards if card[0] in _UNKNOWN]
