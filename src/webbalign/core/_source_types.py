"""The options of the search for sources, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import Enum, IntFlag

import numpy as np

from webbalign.core.errors import OptionError
from webbalign.core.options import Options, opt

__all__ = ["DEFAULT_FWHM", "SourceFinding", "SourceFlag", "SourceStatus", "Sources"]

DEFAULT_FWHM = 2.5  # px


@dataclass(frozen=True)
class SourceFinding(Options):
    """Options of the search for sources, named as in the documentation of tweakreg."""

    starfinder: str = opt(
        "iraf", "How sources are detected.", choices=("iraf", "dao", "segmentation")
    )
    snr_threshold: float = opt(10.0, "Least signal-to-noise ratio above the background.", min=0.1)
    kernel_fwhm: float | None = opt(
        None, "FWHM of the stars in px; None takes the filter's own, 2.5 where unknown.", min=0.1
    )
    bkg_boxsize: int = opt(400, "Size of the boxes that the background is measured in, px.", min=1)
    minsep_fwhm: float = opt(
        0.0, "Least separation of detected sources in FWHM (iraf, dao); never below 2 px.", min=0
    )
    sigma_radius: float = opt(
        2.5, "Radius at which the kernel is cut off, in standard deviations (iraf, dao).", min=0.1
    )
    sharplo: float = opt(0.5, "Least sharpness (iraf, dao).")
    sharphi: float = opt(2.0, "Largest sharpness (iraf, dao).")
    roundlo: float = opt(
        0.0, "Least roundness (iraf, dao); if not negative it limits the absolute value."
    )
    roundhi: float = opt(0.2, "Largest roundness (iraf, dao).")
    brightest: int | None = opt(
        200, "Number of the brightest sources to keep (iraf, dao); None keeps all.", min=1
    )
    peakmax: float | None = opt(None, "Sources with a pixel at or above this are left out.")
    npixels: int = opt(10, "Least number of connected pixels (segmentation).", min=1)
    connectivity: int = opt(
        8, "Whether pixels touch along edges (4) or also corners (8) (segmentation).",
        choices=(4, 8),
    )  # fmt: skip
    nlevels: int = opt(32, "Number of levels for deblending (segmentation).", min=1)
    contrast: float = opt(
        0.001, "Fraction of the flux that makes a source of its own (segmentation).", min=0, max=1
    )
    multithresh_mode: str = opt(
        "exponential", "How the levels are spaced (segmentation).",
        choices=("exponential", "linear", "sinh"),
    )  # fmt: skip
    localbkg_width: int = opt(
        0, "Width of the frame for a local background, px; 0 for none (segmentation).", min=0
    )
    apermask_method: str = opt(
        "correct", "How neighbours are treated in apertures (segmentation).",
        choices=("correct", "mask", "none"),
    )  # fmt: skip
    kron_params: tuple[float, ...] | None = opt(
        None, "Parameters of the Kron aperture; None is 2.5, 1.4, 0.0 (segmentation).", length=3
    )
    deblend: bool = opt(True, "Separate sources that overlap (segmentation).")
    centroid: str = opt(
        "window",
        "Positions by a fit of the frame's own PSF (window) or as the finder gives them (finder).",
        choices=("window", "finder"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for low, high in (("sharplo", "sharphi"), ("roundlo", "roundhi")):
            if getattr(self, low) > getattr(self, high):
                raise OptionError(
                    f"option {low!r} is {getattr(self, low)} - give at most {high!r}, "
                    f"which is {getattr(self, high)}"
                )


class SourceStatus(Enum):
    """Outcome of a search."""

    OK = "sources were found"
    NO_SOURCES = "no source passes the threshold and the limits of shape"
    NO_VALID_PIXELS = "too few pixels are valid to measure a background"


class SourceFlag(IntFlag):
    """What is special about a source."""

    NONE = 0
    SATURATED = 1
    """A pixel of the core is flagged as saturated, though it holds a value."""
    EDGE = 2
    """The fit reaches beyond the edge of the frame."""
    BAD_PIXELS = 4
    """Pixels of the core are missing."""
    EXTENDED = 8
    """Wider than a star: a galaxy, or two stars. The errors of the position are as large as the
    misfit says."""


@dataclass(frozen=True)
class Sources:
    """Sources in the order of falling flux; arrays (n,).

    Attributes
    ----------
    xcentroid, ycentroid : ndarray
        Position, 0-based px.
    flux : ndarray
        In the unit of the data times px: of the whole PSF for ``centroid="window"``, else as the
        finder gives it.
    x_err, y_err : ndarray
        Standard deviation of the position along each axis, px.
    peak : ndarray
        Brightest pixel above the sky, in the unit of the data.
    sharpness, roundness : ndarray
        As the finder defines them; the FWHM in units of the kernel's and the ellipticity for
        segmentation.
    misfit : ndarray
        Deviation from the PSF beyond noise, relative; nan for ``centroid="finder"``.
    flags : ndarray of int
        Of :class:`SourceFlag`.
    status : SourceStatus
    fwhm : float
        FWHM of the stars' images, px: as fitted for ``centroid="window"``, else as it was given.
    noise : float
        Median standard deviation of the sky, in the unit of the data.
    n_detected : int
        Sources that the finder saw, before any were refused.
    """

    xcentroid: np.ndarray
    ycentroid: np.ndarray
    flux: np.ndarray
    x_err: np.ndarray
    y_err: np.ndarray
    peak: np.ndarray
    sharpness: np.ndarray
    roundness: np.ndarray
    misfit: np.ndarray
    flags: np.ndarray
    status: SourceStatus
    fwhm: float
    noise: float
    n_detected: int

    @classmethod
    def none(
        cls, status: SourceStatus, *, fwhm: float, noise: float = np.nan, n_detected: int = 0
    ) -> Sources:
        """Return the result without sources."""
        arrays = {
            field.name: np.zeros(0, dtype=int if field.name == "flags" else float)
            for field in fields(cls)
            if field.type == "np.ndarray"
        }
        return cls(**arrays, status=status, fwhm=fwhm, noise=noise, n_detected=n_detected)

    def __len__(self) -> int:
        return len(self.xcentroid)

    def select(self, index: np.ndarray) -> Sources:
        """Return some of the sources, in the order of `index` (or where it is True)."""
        chosen = {
            field.name: value[index]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        status = self.status
        if status is SourceStatus.OK and not len(chosen["flux"]):
            status = SourceStatus.NO_SOURCES
        return replace(self, **chosen, status=status)
