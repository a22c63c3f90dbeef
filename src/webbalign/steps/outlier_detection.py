"""outlier_detection: flag what differs from the median over the integrations of an exposure."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel, ImageModel

from webbalign.core.mapped import visit
from webbalign.core.outliers import OutlierDetection, Outliers, OutlierStatus, find_outliers
from webbalign.products import models
from webbalign.products.flagged import take_pixels
from webbalign.products.flags import bad_from_good_bits
from webbalign.products.wcs import update_fits_header_wcs
from webbalign.steps.base import WebbStep

__all__ = ["OutlierDetectionStep"]

log = logging.getLogger(__name__)


class OutlierDetectionStep(WebbStep):
    """Flag the cosmic rays and unstable pixels of one coronagraphic exposure."""

    class_alias = "webbalign_outlier_detection"
    product = "crfints"
    options_class = OutlierDetection
    profiles: ClassVar = {
        "jwst": {
            "jitter_scale": 0.0, "missing_err": "zero", "min_integrations": 1, "flag_bad": True,
        }
    }  # fmt: skip

    def process(self, source: str | CubeModel) -> CubeModel:
        """Flag outliers: DQ gets DO_NOT_USE + OUTLIER, and SCI, ERR and VAR_* become NaN.

        Parameters
        ----------
        source : str or CubeModel
            Exposure (nints, ny, nx).

        Returns
        -------
        CubeModel

        Raises
        ------
        InputError
            If the exposure cannot be used.
        """
        exposure = self.open_input(source)
        options: OutlierDetection = self.options
        bad = models.bad_pixels(exposure, bad_from_good_bits(options.good_bits))
        outliers = find_outliers(exposure.data, exposure.err, ~bad, options=options)
        self._report(exposure, outliers)
        exposure._blanked = _flag(exposure, outliers.mask, blank_all=options.flag_bad)
        done = outliers.status is OutlierStatus.OK
        self._finish(exposure, "COMPLETE" if done else "SKIPPED")
        if options.save_intermediate_results:
            self._save_median(exposure, outliers)
        return exposure

    def resumed(self, exposure: CubeModel, product: str | Path) -> CubeModel:
        """Return what :meth:`process` has made of an exposure, with the pixels of its product.

        The keywords are those of the exposure itself: they lose digits on their way through the
        headers of the product.

        Parameters
        ----------
        exposure : CubeModel
            As it would be flagged; it is changed.
        product : str or Path
            The ``_crfints`` made of it.
        """
        self._finish(exposure, take_pixels(exposure, product))
        exposure.meta.filename = Path(product).name
        exposure._saved_path = str(product)
        return exposure

    def _finish(self, exposure: CubeModel, status: str) -> None:
        """Bring keywords and history up to date."""
        if exposure.meta.wcs is not None:
            before = dict(exposure.meta.wcsinfo.instance)
            update_fits_header_wcs(exposure)
            exposure._wcs_renewed = before != exposure.meta.wcsinfo.instance
            exposure._wcs_checked = True
        self.record(exposure, "outlier_detection", status)

    def _report(self, exposure: CubeModel, outliers: Outliers) -> None:
        name = exposure.meta.filename
        if outliers.status is not OutlierStatus.OK:
            log.warning("%s: no outliers flagged: %s", name, outliers.reason)
        else:
            log.info("%s: %d outliers", name, outliers.n_found.sum())

    def _save_median(self, exposure: CubeModel, outliers: Outliers) -> None:
        median = models.new_model(ImageModel)
        models.take_metadata(median, exposure)
        median.data = outliers.median.astype(np.float32)
        asn_id = self.search_attr("asn_id")
        path = self.make_output_path(
            basepath=exposure.meta.filename, suffix="median", asn_id=asn_id
        )
        saved = models.save(median, Path(path), overwrite=self.runtime.overwrite)
        log.info("saved %s", saved)


def _flag(exposure: CubeModel, mask: np.ndarray, *, blank_all: bool) -> np.ndarray:
    """Set the flags and the NaN of outliers; the peers blank whatever is flagged, by whomever.

    Returns where that was (nints, ny, nx): the exposure may have been opened without variances.
    """
    # stage-3 products of JWST hold NaN wherever DO_NOT_USE was set by this step
    variances = [
        getattr(exposure, name) for name in models.VARIANCES if models.has_variance(exposure, name)
    ]
    cubes = (exposure.data, exposure.err, *variances)
    dq = exposure.dq
    blanked = np.empty_like(mask) if blank_all else mask
    for i in visit(dq, *cubes):
        dq[i][mask[i]] |= np.uint32(models.DO_NOT_USE | models.OUTLIER)
        if blank_all:
            blanked[i] = (dq[i] & np.uint32(models.DO_NOT_USE)) != 0
        for cube in cubes:
            cube[i][blanked[i]] = np.nan
    return blanked
