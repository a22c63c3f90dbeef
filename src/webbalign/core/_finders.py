"""photutils' star finders, fed with no more of the frame than they need.

What a finder says about a source (centroid, flux, sharpness, roundness) depends on the pixels under
its kernel. So these pixels alone are laid out, one source beside the other, and photutils measures
them there.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from webbalign.core._detection import Frame, find_peaks, stamps

if TYPE_CHECKING:
    from webbalign.core._source_types import SourceFinding

__all__ = ["FWHM_PER_SIGMA", "Found", "find_stars", "kernel_radius", "least_separation"]

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class Found:
    """Sources as a finder of photutils describes them; arrays (n,), positions 0-based px.

    `allowed` are those within the documented limits of shape and brightness. The others are no
    result, but what surrounds them may look like one.
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    peak: np.ndarray
    sharpness: np.ndarray
    roundness: np.ndarray
    allowed: np.ndarray

    @classmethod
    def none(cls) -> Found:
        """Return no sources."""
        empty = np.zeros(0)
        return cls(empty, empty, empty, empty, empty, empty, np.zeros(0, dtype=bool))

    def __getitem__(self, index: Any) -> Found:
        return Found(**{name: values[index] for name, values in vars(self).items()})


def kernel_radius(fwhm: float, sigma_radius: float) -> int:
    """Half the side of the finders' kernel, px."""
    return int(max(2, sigma_radius * fwhm / FWHM_PER_SIGMA))


def least_separation(fwhm: float, options: SourceFinding) -> int:
    """Distance within which only one source is found, px."""
    return max(2, int(options.minsep_fwhm * fwhm + 0.5))


def find_stars(frame: Frame, fwhm: float, options: SourceFinding) -> Found:
    """Find the sources of a frame as IRAF's starfind or DAOFIND do."""
    import photutils.detection

    threshold = options.snr_threshold * frame.sky.noise
    finder: Any = {
        "iraf": photutils.detection.IRAFStarFinder,
        "dao": photutils.detection.DAOStarFinder,
    }[options.starfinder]
    arguments: dict[str, Any] = {
        "sigma_radius": options.sigma_radius,
        "sharpness_range": None,
        "roundness_range": None,
        "min_separation": 0,
    }
    probe = finder(threshold, fwhm, **arguments)
    kernel = probe.kernel.data.astype(np.float32)
    scale = float(getattr(probe, "threshold_eff", threshold)) / threshold
    separation = least_separation(fwhm, options)
    y, x = find_peaks(frame, kernel, options.snr_threshold * scale, separation)
    if not len(x):
        return Found.none()
    # DAO looks at the filtered image under the kernel, and the filter reaches as far again
    reach = 2 * (len(kernel) // 2)
    sheet, centres, cell = _sheet(stamps(frame.image, y, x, reach, frame.margin))
    with warnings.catch_warnings():
        # a source with no positive pixel is one that the finder drops
        warnings.simplefilter("ignore")
        table = finder(threshold, fwhm, xycoords=centres, **arguments)(sheet)
    if table is None:
        return Found.none()
    columns = {name: np.asarray(table[name], dtype=np.float64) for name in table.colnames}
    x_sheet, y_sheet = columns["x_centroid"], columns["y_centroid"]
    per_row = sheet.shape[1] // cell
    which = (y_sheet + 0.5).astype(int) // cell * per_row + (x_sheet + 0.5).astype(int) // cell
    roundness = (
        [columns["roundness"]]
        if options.starfinder == "iraf"
        else [columns["roundness1"], columns["roundness2"]]
    )
    return Found(
        x=x_sheet - centres[which, 0] + x[which],
        y=y_sheet - centres[which, 1] + y[which],
        flux=columns["flux"],
        peak=columns["peak"],
        sharpness=columns["sharpness"],
        roundness=_farthest(roundness),
        allowed=_allowed(columns["sharpness"], roundness, columns["peak"], options),
    )


def _sheet(cut: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Lay stamps (n, k, k) out in rows: the sheet, the centres (n, 2) as x, y, the cell's side."""
    n, k, _ = cut.shape
    cell = k + 2
    per_row = int(np.ceil(np.sqrt(n)))
    rows = -(-n // per_row)
    sheet = np.zeros((rows, per_row, cell, cell), dtype=np.float64)
    sheet.reshape(-1, cell, cell)[:n, 1:-1, 1:-1] = cut
    row, column = np.divmod(np.arange(n), per_row)
    centres = np.stack([column, row], axis=1) * cell + cell // 2
    return sheet.swapaxes(1, 2).reshape(rows * cell, per_row * cell), centres, cell


def _farthest(values: list[np.ndarray]) -> np.ndarray:
    """Of several numbers for each source, the one farthest from zero."""
    stacked = np.stack(values)
    return np.take_along_axis(stacked, np.abs(stacked).argmax(axis=0)[None], axis=0)[0]


def _allowed(
    sharpness: np.ndarray, roundness: list[np.ndarray], peak: np.ndarray, options: SourceFinding
) -> np.ndarray:
    keep = (sharpness >= options.sharplo) & (sharpness <= options.sharphi)
    for value in roundness:
        # DAO's roundness has a sign, IRAF's has none. The documented limits 0 and 0.2 are IRAF's;
        # taken as they stand they would throw three of four round stars away in DAO.
        size = np.abs(value) if options.roundlo >= 0 else value
        keep &= (size >= options.roundlo) & (size <= options.roundhi)
    if options.peakmax is not None:
        keep &= peak < options.peakmax
    return keep
