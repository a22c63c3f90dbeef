"""Drizzling of exposures onto one grid: its options, and the way through it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from webbalign.core.errors import InputError, OptionError
from webbalign.core.options import Options, opt

if TYPE_CHECKING:
    from webbalign.core.drizzling import Exposure, Resampled

__all__ = ["Resample", "resample"]


@dataclass(frozen=True)
class Resample(Options):
    """Options of the drizzling and of the output grid."""

    pixfrac: float = opt(
        1.0, "Side of the drop that stands for an input pixel, in input pixels.", min=0.0, max=1.0
    )
    kernel: str = opt(
        "square",
        "Shape of the drop. The gaussian and lanczos kernels do not conserve flux exactly.",
        choices=("square", "gaussian", "point", "turbo", "lanczos2", "lanczos3"),
    )
    fillval: str = opt(
        "NAN",
        "Value of SCI where nothing contributes: a number, or NAN, or INDEF for the same as NAN.",
    )
    weight_type: str | None = opt(
        "ivm",
        "Weight of the pixels: ivm = 1/VAR_RNOISE, exptime = exposure time, none = all equal.",
        choices=("ivm", "exptime", "none"),
    )
    output_shape: tuple[int, ...] | None = opt(
        None, "Size of the output image as x and y, in pixels.", min=1, length=2
    )
    crpix: tuple[float, ...] | None = opt(
        None, "Position x and y of the reference point in the output, in 0-based pixels.", length=2
    )
    crval: tuple[float, ...] | None = opt(
        None, "Right ascension and declination of the reference point, in degrees.", length=2
    )
    rotation: float | None = opt(
        0.0,
        "Position angle of the y axis of the output, in degrees. 0 is north up, "
        "None is the orientation of the first detector.",
    )
    pixel_scale_ratio: float = opt(1.0, "Output pixel scale in units of the input pixel scale.")
    pixel_scale: float | None = opt(
        None, "Output pixel scale, in arcsec. Overrides pixel_scale_ratio."
    )
    output_wcs: str = opt(
        "", "ASDF file with the output WCS under the key wcs. Overrides all other options of it."
    )
    single: bool = opt(False, "Resample each exposure into a product of its own, all on one grid.")
    blendheaders: bool = opt(True, "Blend the metadata of the exposures into the product.")
    in_memory: bool = opt(
        True,
        "Kept for compatibility, without effect. Exposures are read one at a time in any case.",
    )
    enable_ctx: bool = opt(True, "Write CON, which tells the exposures that contribute to a pixel.")
    enable_err: bool = opt(True, "Compute ERR and the variances.")
    report_var: bool = opt(True, "Write the resampled VAR_POISSON, VAR_RNOISE and VAR_FLAT.")
    propagate_dq: bool = opt(False, "Write DQ, the flags of all pixels that contribute.")
    pixmap_stepsize: float = opt(
        1.0,
        "Spacing of the grid on which the pixel map is evaluated, in pixels. "
        "Above 1 the rest is interpolated by splines.",
        min=1.0,
    )
    pixmap_order: int = opt(
        1, "Order of the splines when pixmap_stepsize is above 1.", choices=(1, 3)
    )
    combine_on: str = opt(
        "wcs",
        "What falls on the same place: wcs = equal sky coordinates, star = the stars. With star "
        "the first exposure keeps its WCS and the others are shifted.",
        choices=("wcs", "star"),
    )
    star_xy: tuple[float, ...] | None = opt(
        None,
        "Position x and y of the star on the detector, in 0-based pixels. "
        "None is CRPIX - 1 of each exposure.",
        length=2,
    )
    good_bits: str = opt(
        "~DO_NOT_USE+NON_SCIENCE",
        "Data-quality flags of pixels that may be used. After ~ the flags of those that may not.",
    )
    err_source: str = opt(
        "psfsub",
        "Where ERR comes from: psfsub = ERR and VAR_COMMON of the input, propagated; "
        "var = square root of the sum of the resampled VAR arrays, as jwst does.",
        choices=("psfsub", "var"),
    )
    footprint: str = opt(
        "wcs",
        "What the output grid covers: wcs = every pixel of every exposure, "
        "s_region = the polygons of the S_REGION keywords, as jwst does.",
        choices=("wcs", "s_region"),
    )

    def __post_init__(self) -> None:
        if str(self.weight_type).lower() == "none":
            object.__setattr__(self, "weight_type", None)
        super().__post_init__()
        for name in ("pixel_scale", "pixel_scale_ratio"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise OptionError(f"option {name!r} is {value!r} - give a positive number")
        if self.fillval.strip().upper() not in ("", "NAN", "INDEF"):
            try:
                float(self.fillval)
            except ValueError:
                raise OptionError(
                    f"option 'fillval' is {self.fillval!r} - give a number, NAN or INDEF"
                ) from None


def resample(
    exposures: Iterable[Exposure],
    shape: tuple[int, int],
    options: Resample | None = None,
    *,
    pixel_scale_ratio: float = 1.0,
) -> Resampled:
    """Drizzle exposures onto one grid.

    Parameters
    ----------
    exposures : iterable of Exposure
        Read once, one at a time.
    shape : (int, int)
        Shape (ny, nx) of the output.
    options : Resample, optional
    pixel_scale_ratio : float
        Output pixel scale in units of the input pixel scale.

    Returns
    -------
    Resampled

    Raises
    ------
    InputError
        If there is no exposure, or one has no pixel with sky coordinates.

    Notes
    -----
    With ``err_source="psfsub"`` an exposure is averaged on the detector first
    (`webbalign.core.coaddition.combine_integrations`) and drizzled once. An output pixel is the
    mean of input pixels with coefficients ``c``; its variance is the sum of ``c**2`` times the
    input variances.

    With ``err_source="var"`` every integration is drizzled; sqrt(VAR_x) is drizzled like data and
    squared, integrations are summed with the squares of their weights (1/resampled VAR_RNOISE for
    ``ivm``), and the result is divided by `pixel_scale_ratio` squared. That is what jwst 3.0 does;
    for ``pixel_scale_ratio=1`` it is the noise of an input pixel, not of the (smoother) output
    pixel.
    """
    # the options above are wanted for help texts, without the libraries behind the drizzling
    from webbalign.core.drizzling import ErrGrid, Grid, VarGrid

    options = options or Resample()
    grid: Grid = (VarGrid if options.err_source == "var" else ErrGrid)(
        (shape[0], shape[1]), options, pixel_scale_ratio
    )
    count = 0
    for exposure in exposures:
        if not np.isfinite(exposure.pixmap).all(axis=-1).any():
            raise InputError(
                exposure.name or None,
                "not one pixel has sky coordinates",
                "an exposure with a valid WCS",
            )
        grid.add(exposure)
        count += 1
    if not count:
        raise InputError(None, "nothing to resample", "at least one exposure")
    return grid.finish(count)
