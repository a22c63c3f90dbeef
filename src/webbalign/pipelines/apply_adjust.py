"""Apply a table of corrections to the images of any band."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from webbalign.core.errors import InputError
from webbalign.pipelines._star_bands import Map
from webbalign.products.addresses import is_address
from webbalign.products.atomic import refuse_input, sweep
from webbalign.products.corrector import Correction, existing_correction, image_plane, transported
from webbalign.products.image_files import ImageInfo, read_info
from webbalign.products.models import refuse_existing
from webbalign.products.names import flat_name
from webbalign.products.remote import images_elsewhere, local, names_image, shown
from webbalign.products.sip import SipApproximation
from webbalign.products.wcs_adjust_file import (
    AdjustStatus,
    VisitCorrection,
    WcsAdjust,
    read_wcs_adjust,
)
from webbalign.steps._correct_image import save_once
from webbalign.steps._runtime import Runtime, bytes_of, image_map

__all__ = ["AdjustedImage", "apply_wcs_adjust", "images_in"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdjustedImage:
    """What has become of an image.

    Attributes
    ----------
    path : Path
        The product.
    key : str
        The entry of the table that was applied; empty: the table has none for this image, which
        was copied.
    status : AdjustStatus
        Of the entry; UNCHANGED without one.
    reason : str
    error : float
        Arcsec, of bringing the correction into the plane of the image.
    kept : bool
        Whether an earlier run has made it.
    before : bool
        Whether its WCS had a correction already, to which this one is added.
    """

    path: Path
    key: str
    status: AdjustStatus
    reason: str = ""
    error: float = 0.0
    kept: bool = False
    before: bool = False

    @property
    def is_aligned(self) -> bool:
        """Whether the image is aligned now."""
        return bool(self.key) and self.status in (
            AdjustStatus.ALIGNED, AdjustStatus.REFERENCE, AdjustStatus.UNKNOWN,
        )  # fmt: skip


def images_in(places: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the images among files and folders (of which all ``*_cal.fits`` are taken).

    What lies elsewhere (addresses) is fetched.

    Raises
    ------
    InputError
        If there is none, or one is given twice.
    """
    given = [places] if isinstance(places, str | Path) else list(places)
    found: list[Path] = []
    for name in given:
        if is_address(name) and not names_image(name):
            found += images_elsewhere(name)
            continue
        place = local(name)
        if not place.is_dir():
            found.append(place)
            continue
        here = sorted([*place.glob("*_cal.fits"), *place.glob("*_cal.fits.gz")])
        if not here:
            log.warning("%s: no *_cal.fits in it", place)
        found += here
    if not found:
        raise InputError(None, "no images", "_cal.fits files, or folders with such files")
    places = [path.resolve() for path in found]
    twice = sorted({place for place in places if places.count(place) > 1})
    if twice:
        raise InputError(twice[0], "given twice", "every image once")
    return found


def _products(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Name the products: in folders like those of the images, if these lie in several.

    Raises
    ------
    InputError
        If two would have one name.
    """
    places = [PurePath(_place_of(path)) for path in paths]
    several = len({place.parent for place in places}) > 1
    found: dict[Path, Path] = {}
    for path, place in zip(paths, places, strict=True):
        # (a folder of an address may have any name)
        product = (folder / flat_name(place.parent.name) if several else folder) / path.name
        product = product.with_name(product.name.removesuffix(".gz"))
        if product in found:
            what = f"becomes {product}, as does {shown(found[product])}"
            raise InputError(path, what, "images of different names, or in folders of such")
        found[product] = path
    return list(found)


def _place_of(path: Path) -> str:
    """Return where an image lies: its path, or that within its address."""
    text = shown(path)
    return urlsplit(text).path if is_address(text) else os.path.abspath(path)


def apply_wcs_adjust(
    adjust: WcsAdjust | str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    output_dir: str | Path = ".",
    overwrite: bool = True,
    resume: bool = False,
    map: Map = map,
    executor: Any = None,
    workers: int | None = None,
    memory: int | str | None = None,
    advance: Callable[[], None] = lambda: None,
    **options: Any,
) -> list[AdjustedImage]:
    """Write images with the corrections of a table; they keep their file names.

    Images of one folder go straight into `output_dir`; where they come from several, as from those
    of the bands of a target, they go into folders of the same names in it.

    Parameters
    ----------
    adjust : WcsAdjust, str or Path
        ``{target}_wcs_adjust.toml``, ours or PJPipe's.
    images : files, or folders with ``*_cal.fits``
        Of any band. An image takes the correction of its exposure, else that of its visit; one for
        its NIRCam module goes before one for both.
    output_dir : str or Path
    overwrite : bool
        Whether existing products may be replaced. An input never is.
    resume : bool
        Whether products that an earlier run has made of the same are kept; the others are replaced.
    map : callable
        ``map(function, items)``.
    executor, workers, memory : optional
        What `map` is made of if it is not given, as of :class:`webbalign.steps.base.Runtime`.
    advance : callable
        Called after each image.
    **options
        Of :class:`webbalign.products.sip.SipApproximation`.

    Returns
    -------
    list of AdjustedImage
        In the order of the images. One without a correction is copied with S_TWKREG = FAILED.

    Raises
    ------
    InputError
        If the table or an image cannot be used; no product is written if a product would replace
        an input or another product.
    """
    sip = SipApproximation(**options)
    table = adjust if isinstance(adjust, WcsAdjust) else read_wcs_adjust(adjust)
    paths = images_in(images)
    folder = Path(output_dir).expanduser()
    products = _products(paths, folder)
    for place in {folder, *(product.parent for product in products)}:
        place.mkdir(parents=True, exist_ok=True)
        sweep(place)
    for product in products:
        refuse_input(product, paths)
        refuse_existing(product, overwrite or resume)
    work = partial(_adjusted, table=table, sip=sip, overwrite=overwrite, resume=resume)
    done = []
    tasks = list(zip(paths, products, strict=True))
    asked = Runtime(map, executor, workers, memory=bytes_of(memory))
    with image_map(asked, len(tasks)) as runtime:
        for image in runtime.map(work, tasks):
            _say(image)
            done.append(image)
            advance()
    return done


def _say(image: AdjustedImage) -> None:
    if not image.key:
        log.warning("%s: %s; its WCS stays", image.path, image.reason)
    elif image.is_aligned:
        done = "kept" if image.kept else "saved"
        log.info("%s %s (%s of %s)", done, image.path, image.status, image.key)
    else:
        log.warning("%s: %s of %s (%s)", image.path, image.status, image.key, image.reason)
    if image.before:
        log.warning("%s: its input had been corrected before; both count", image.path)


def _adjusted(
    task: tuple[Path, Path],
    table: WcsAdjust,
    sip: SipApproximation,
    overwrite: bool,
    resume: bool,
) -> AdjustedImage:
    source, product = task
    info = read_info(source)
    entry = table.correction_for(info)
    save = partial(
        save_once, source, product, step="wcs-adjust apply", sip=sip, overwrite=overwrite,
        resume=resume,
    )  # fmt: skip
    if entry is None:
        reason = "the table has no correction for it"
        done = save(None, status="FAILED", history=f"webbalign wcs adjust: {reason}")
        return AdjustedImage(product, "", AdjustStatus.UNCHANGED, reason, kept=done is None)
    correction, error = correction_of(entry, info)
    status = "COMPLETE" if entry.is_aligned else "FAILED"
    done = save(correction, status=status, history=_history(entry, correction))
    return AdjustedImage(
        product, str(entry.key), entry.status, entry.reason, error,
        kept=done is None,
        before=correction is not None and existing_correction(info.wcs) is not None,
    )  # fmt: skip


def correction_of(entry: VisitCorrection, info: ImageInfo) -> tuple[Correction | None, float]:
    """Express the correction of an entry in the plane of an image.

    Parameters
    ----------
    entry : VisitCorrection
    info : ImageInfo
        With the WCS.

    Returns
    -------
    correction : Correction or None
        None: nothing is changed.
    error : float
        Arcsec.
    """
    given = entry.correction
    still = np.array_equal(given.matrix, np.eye(2)) and not given.shift.any()
    if not entry.is_applied or still:
        return None, 0.0
    if entry.plane is None:
        return given, 0.0
    image = image_plane(info.wcs, info.wcsinfo, info.shape, info.name)
    # one turn of the sky for all images of a visit, however far they are from its reference
    return transported(given, entry.plane, image.plane, image.outline)


def _history(entry: VisitCorrection, correction: Correction | None) -> str:
    reason = f" ({entry.reason})" if entry.reason else ""
    text = f"webbalign wcs adjust: {entry.key} {entry.status}{reason}"
    if correction is None:
        return text
    x, y = correction.shift
    return f"{text}; shift {x:.6f}, {y:.6f} arcsec, roll {correction.rotation:.7f} deg"
