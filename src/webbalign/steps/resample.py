"""resample: drizzle the subtracted exposures onto one grid."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel, ImageModel, JwstDataModel

from webbalign.core.coaddition import (
    VARIANCES,
    Combined,
    Integration,
    combine_integrations,
    split_integrations,
)
from webbalign.core.errors import InputError
from webbalign.core.resample import Resample, resample
from webbalign.products import models
from webbalign.products.associations import load_association
from webbalign.products.blending import blend_headers
from webbalign.products.flags import bad_from_good_bits
from webbalign.steps.base import WebbStep

if TYPE_CHECKING:
    from gwcs import WCS

    from webbalign.core.drizzling import Exposure, Resampled
    from webbalign.products.wcs import OutputGrid

__all__ = ["Average", "ResampleStep"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Average:
    """One exposure as the drizzling needs it, without its cube.

    Attributes
    ----------
    model : CubeModel
        Metadata only.
    wcs : gwcs.WCS
    shape : tuple of int
        (ny, nx).
    mean : Combined or None
        The mean of the integrations.
    speckle_variance : ndarray or None
        Variance of the leftover starlight (ny, nx), part of that of the mean.
    integrations : list of Integration
        The integrations, where every one has to be drizzled (``err_source="var"``).
    """

    model: CubeModel
    # the arguments of every step are logged: only the model's name is worth it
    wcs: WCS = field(repr=False)
    shape: tuple[int, int] = field(repr=False)
    mean: Combined | None = field(repr=False)
    speckle_variance: np.ndarray | None = field(default=None, repr=False)
    integrations: Sequence[Integration] = field(default=(), repr=False)


class ResampleStep(WebbStep):
    """Combine exposures on one grid on the sky, with the error of each pixel."""

    class_alias = "webbalign_resample"
    product = "i2d"
    options_class = Resample
    profiles: ClassVar = {
        "jwst": {"rotation": None, "err_source": "var", "footprint": "s_region"},
    }

    def process(self, source: Any, *more: Any) -> ImageModel | list[ImageModel]:
        """Resample exposures.

        Parameters
        ----------
        source : str, model, :class:`Average` or sequence of these
            ``_psfsub`` (or any calibrated) exposures, or an association of them.

        Returns
        -------
        ImageModel
            The combined image; a list, one per exposure, with ``single``.

        Raises
        ------
        InputError
            If there is nothing to resample, or an exposure has no WCS.
        """
        averages = [self.average(item) for item in (*self._members(source), *more)]
        if not averages:
            raise InputError(None, "nothing to resample", "at least one exposure")
        options: Resample = self.options
        wcs_list = self._wcs_list(averages, options)
        grid = self._grid(averages, wcs_list, options)
        log.info("output grid %d x %d, %.4f arcsec/pixel", *grid.shape[::-1], grid.pixel_scale)
        groups = [[i] for i in range(len(averages))] if options.single else [range(len(averages))]
        results = []
        for group in groups:
            chosen = [(averages[i], wcs_list[i]) for i in group]
            exposures = self._exposures(chosen, grid, options)
            drizzled = resample(
                exposures, grid.shape, options, pixel_scale_ratio=grid.pixel_scale_ratio
            )
            results.append(self._product(drizzled, chosen, grid))
        return results if options.single else results[0]

    def average(self, source: Any) -> Average:
        """Reduce an exposure to its mean, so that its cube can be released."""
        if isinstance(source, Average):
            return source
        model = models.open_cube(self._path(source))
        if model.meta.wcs is None:
            raise InputError(model.meta.filename, "no WCS (meta.wcs)", "a calibrated exposure")
        options: Resample = self.options
        integrations = split_integrations(
            model.data,
            err=model.err,
            variances={name: getattr(model, name) for name in VARIANCES},
            dq=model.dq,
            bad_bits=bad_from_good_bits(options.good_bits),
        )
        mean, kept = None, list[Integration]()
        if options.err_source == "var":
            kept = list(integrations)
        else:
            mean = combine_integrations(
                integrations,
                weight_type=options.weight_type,
                exposure_time=_exposure_time(model),
                common_variance=models.extension(model, "VAR_COMMON"),
            )
        like = models.new_model(CubeModel)
        models.take_metadata(like, model)
        like.meta.filename = model.meta.filename
        speckles = models.extension(model, "VAR_SPECKLE")
        return Average(like, model.meta.wcs, model.shape[-2:], mean, speckles, kept)

    # Operations of `process` ---------------------------------------------------------------------

    def _path(self, source: Any) -> Any:
        return source if isinstance(source, JwstDataModel) else self.make_input_path(str(source))

    def _members(self, source: Any) -> list[Any]:
        if isinstance(source, JwstDataModel | Average):
            return [source]
        if isinstance(source, str | Path):
            is_association = str(source).endswith(".json")
            return list(load_association(source).science) if is_association else [source]
        return list(source)

    def _wcs_list(self, averages: Sequence[Average], options: Resample) -> list[WCS]:
        """Return the WCS of each exposure, brought together about the star if so asked."""
        if options.combine_on == "wcs":
            _say_if_the_star_moves(averages, options)
            return [average.wcs for average in averages]
        from webbalign.products.wcs import recentre_on_star, sky_position, star_pixel

        infos = [average.model.meta.wcsinfo.instance for average in averages]
        stars = [
            star_pixel(options.star_xy, info, average.model.meta.filename)
            for info, average in zip(infos, averages, strict=True)
        ]
        sky = sky_position(averages[0].wcs, stars[0])
        return [averages[0].wcs] + [
            recentre_on_star(average.wcs, star, sky, info)
            for average, star, info in zip(averages[1:], stars[1:], infos[1:], strict=True)
        ]

    def _grid(
        self, averages: Sequence[Average], wcs_list: Sequence[WCS], options: Resample
    ) -> OutputGrid:
        from webbalign.products.wcs import output_grid

        meta = averages[0].model.meta
        return output_grid(
            wcs_list,
            [average.shape for average in averages],
            options,
            wcsinfo=meta.wcsinfo.instance,
            s_regions=[average.model.meta.wcsinfo.s_region for average in averages],
            nominal_pixel_area=meta.photometry.pixelarea_steradians,
        )

    def _exposures(
        self, chosen: Sequence[tuple[Average, WCS]], grid: OutputGrid, options: Resample
    ) -> Iterator[Exposure]:
        from webbalign.core.drizzling import Exposure
        from webbalign.products.wcs import pixel_map

        progress = self.runtime.progress
        progress.start("resample", len(chosen))
        for average, wcs in chosen:
            yield Exposure(
                integrations=average.integrations,
                mean=average.mean,
                speckle_variance=average.speckle_variance,
                pixmap=pixel_map(
                    wcs, grid.wcs, average.shape,
                    stepsize=options.pixmap_stepsize, order=options.pixmap_order,
                ),
                exposure_time=_exposure_time(average.model),
                background=_background(average.model),
                name=average.model.meta.filename or "",
            )  # fmt: skip
            progress.advance()
        progress.done()

    def _product(
        self,
        drizzled: Resampled,
        chosen: Sequence[tuple[Average, WCS]],
        grid: OutputGrid,
    ) -> ImageModel:
        from webbalign.products.wcs import combined_s_region, set_output_keywords

        options: Resample = self.options
        image = models.new_model(ImageModel)
        exposures = [average.model for average, _ in chosen]
        models.take_metadata(image, exposures[0])
        if options.blendheaders:
            blend_headers(image, exposures)
        _set_arrays(image, drizzled)
        image.meta.wcs = grid.wcs
        set_output_keywords(image)
        image.meta.wcsinfo.s_region = combined_s_region(
            [wcs for _, wcs in chosen], [average.shape for average, _ in chosen]
        )
        _set_resample_keywords(image, drizzled, grid, options)
        self.record(image, "resample")
        return image


def _say_if_the_star_moves(averages: Sequence[Average], options: Resample) -> None:
    """Warn if the WCS of coronagraphic exposures disagree about the star by half a pixel."""
    from webbalign.products.wcs import sky_position, star_pixel

    places = []
    for average in averages:
        meta = average.model.meta
        info = meta.wcsinfo.instance
        unknown = options.star_xy is None and info.get("crpix1") is None
        if unknown or meta.instrument.coronagraph in (None, "NONE"):
            return
        places.append(sky_position(average.wcs, star_pixel(options.star_xy, info)))
    x, y = averages[0].wcs.invert(*np.transpose(places), with_bounding_box=False)
    distance = np.hypot(x - x[0], y - y[0])
    worst = int(np.argmax(distance))
    if distance[worst] > 0.5:
        log.warning(
            "by their WCS the star of %s is %.1f px away from that of %s: the combined image is "
            "blurred by this; combine_on = star brings them together",
            averages[worst].model.meta.filename, distance[worst],
            averages[0].model.meta.filename,
        )  # fmt: skip


def _exposure_time(model: CubeModel) -> float:
    """Return the measurement time in seconds, else the exposure time."""
    exposure = model.meta.exposure
    return float(exposure.measurement_time or exposure.exposure_time or 1.0)


def _background(model: CubeModel) -> float:
    """Return a known background level that is still in the data."""
    background = model.meta.background
    return 0.0 if background.subtracted or background.level is None else float(background.level)


def _set_arrays(image: ImageModel, drizzled: Resampled) -> None:
    image.data = drizzled.data
    image.wht = drizzled.weight
    arrays: Mapping[str, Any] = {
        "err": drizzled.err,
        "con": drizzled.context,
        "dq": drizzled.dq,
        **drizzled.variances,
    }
    for name, values in arrays.items():
        if values is not None:
            setattr(image, name, values)


def _set_resample_keywords(
    image: ImageModel, drizzled: Resampled, grid: OutputGrid, options: Resample
) -> None:
    image.meta.photometry.pixelarea_steradians = grid.pixel_area
    image.meta.photometry.pixelarea_arcsecsq = grid.pixel_scale**2
    image.meta.resample.pixel_scale_ratio = grid.pixel_scale_ratio
    image.meta.resample.pixfrac = options.pixfrac
    if options.weight_type is not None:  # the schema knows no word for equal weights
        image.meta.resample.weight_type = options.weight_type
    image.meta.resample.pointings = drizzled.n_exposures
    if np.isfinite(drizzled.noise_correlation):
        comment = "error of a sum of pixels / quadratic sum of ERR"
        cards = image._instance.setdefault("extra_fits", {}).setdefault("PRIMARY", {})
        cards["header"] = [["NOISECOR", round(drizzled.noise_correlation, 5), comment]]
