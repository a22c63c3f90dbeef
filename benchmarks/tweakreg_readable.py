"""tweakreg, criterion 5: products can be read elsewhere, and stars of all exposures coincide."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from scipy.optimize import least_squares

from benchmarks import tweakreg_truth as truth
from benchmarks.readable import opened, plain_astropy
from benchmarks.report import Report
from benchmarks.truth import world_wcs

SIDE = "tweakreg_jwst_side.py"
HALF = 3  # px, half the side of the box in which a star is fitted
BRIGHTEST = 60  # stars that are measured
BRIGHT, FAINT = 17.0, 20.0  # AB magnitudes of stars that are bright and not saturated
APART = 1.0  # arcsec to the next star that is not much fainter
SCATTER = 2.0  # mas, between exposures: the criterion says "on one another"


def aligned(made: truth.MosaicSet, band: str, folder: Path, **options: Any) -> list[Path]:
    """Align the images of a band, files to files."""
    import logging

    from webbalign.steps import TweakRegStep

    logging.disable(logging.WARNING)
    TweakRegStep.call(
        str(made.associations[band]), abs_refcat=str(made.gaia), save_results=True,
        output_dir=str(folder), **options,
    )  # fmt: skip
    return sorted(folder.glob("*_tweakreg.fits"))


def sip_differences(path: Path) -> tuple[float, float]:
    """Compare astropy's WCS of the SIP header with the GWCS of a file.

    Returns
    -------
    Largest distances in px over the image, forward and backward, each divided by the error that
    the header states (SIPMXERR, SIPIVERR).
    """
    from webbalign.products.image_files import read_info

    info, header = read_info(path), fits.getheader(path, "SCI")
    pixels = truth.grid(info.shape, 41)
    sky = np.stack(info.wcs(*pixels.T, with_bounding_box=False), axis=-1)
    wcs = world_wcs(path)
    # what the header's WCS makes of a pixel, as a distance in pixels
    exact = wcs.all_world2pix(sky, 0, tolerance=1e-8, maxiter=60)
    forward = np.hypot(*(exact - pixels).T).max()
    # its own inverse polynomial, without iteration
    # (astropy wants it from the reference pixel, and 1-based, though it would shift that too)
    inverse = wcs.sip_foc2pix(wcs.wcs_world2pix(sky, 1) - wcs.wcs.crpix, 1) - 1
    backward = np.hypot(*(inverse - pixels).T).max()
    return forward / header["SIPMXERR"], backward / header["SIPIVERR"]


def headers(report: Report, label: str, products: Sequence[Path]) -> None:
    """Read products with data models, astropy and its WCS."""
    opened(report, label, list(products), "ours")
    if common.have_jwst():
        opened(report, label, list(products), "jwst")
    else:
        report.skip(f"{label}: opened with jwst's data models", common.NO_JWST)
    faults = {path.name: fault for path in products if (fault := plain_astropy(path))}
    report.true(f"{label}: read by plain astropy, no warning, no card without value",
                not faults, f"{len(products) - len(faults)} of {len(products)} files",
                "all")  # fmt: skip
    for name, fault in list(faults.items())[:5]:
        report.note(f"{label}: {name}: {fault}")
    forward, backward = np.array([sip_differences(path) for path in products]).T
    what = f"{label}: astropy's WCS of the SIP header against the GWCS / "
    report.below(f"{what}SIPMXERR", float(forward.max()), 1.05, ".3f")
    report.below(f"{what}SIPIVERR, inverse", float(backward.max()), 1.05, ".3f")
    stated = [fits.getheader(path, "SCI") for path in products]
    report.number_only(
        f"{label}: largest errors stated, SIPMXERR and SIPIVERR",
        f"{max(h['SIPMXERR'] for h in stated):.1e} and {max(h['SIPIVERR'] for h in stated):.1e} px",
    )


def bright_stars(made: truth.MosaicSet, band: str) -> np.ndarray:
    """Return the places (n, 2; degrees) of stars that are bright and alone."""
    from webbalign.core.planes import TangentPlane
    from webbalign.simulate.mosaic_truth import read_frame_truth

    frame = read_frame_truth(made.truth_of(made.files[band][0]))
    sky = np.stack(frame.wcs(frame.x, frame.y, with_bounding_box=False), axis=-1)
    xy = TangentPlane.about(*np.nanmedian(sky, axis=0)).from_sky(sky)
    found = []
    for i in np.argsort(frame.magnitude):
        if not BRIGHT < frame.magnitude[i] < FAINT or not np.isfinite(xy[i]).all():
            continue
        near = np.hypot(*(xy - xy[i]).T) < APART
        near &= frame.magnitude < frame.magnitude[i] + 5
        if near.sum() == 1:
            found.append(sky[i])
    return np.array(found[:BRIGHTEST])


def positions(path: Path, sky: np.ndarray, reach: float) -> np.ndarray:
    """Fit a round Gaussian to each star of an image; places (n, 2) in px, NaN where it fails."""
    with fits.open(path) as hdus:
        data = hdus["SCI"].data.astype(float)
    start = np.array(world_wcs(path).all_world2pix(sky, 0))
    found = np.full(start.shape, np.nan)
    for i, at in enumerate(start):
        box = peak_box(data, at, reach)
        if box is not None:
            found[i] = gaussian_centre(data, *box)
    return found


def peak_box(data: np.ndarray, at: np.ndarray, reach: float) -> tuple[int, int] | None:
    """Return the brightest pixel (x, y) within `reach` of a place; None at an edge or a gap."""
    x, y = np.rint(at).astype(int)
    r = int(np.ceil(reach))
    margin = r + HALF + 1
    ny, nx = data.shape
    if not (margin <= x < nx - margin and margin <= y < ny - margin):
        return None
    near = data[y - r : y + r + 1, x - r : x + r + 1]
    if not np.isfinite(near).any():
        return None
    dy, dx = np.unravel_index(np.nanargmax(near), near.shape)
    return int(x - r + dx), int(y - r + dy)


def gaussian_centre(data: np.ndarray, x: int, y: int) -> np.ndarray:
    """Fit a round Gaussian and a level to the box about a pixel."""
    part = data[y - HALF : y + HALF + 1, x - HALF : x + HALF + 1]
    if not np.isfinite(part).all():
        return np.full(2, np.nan)
    iy, ix = np.indices(part.shape) - HALF

    def residual(p: np.ndarray) -> np.ndarray:
        model = p[2] * np.exp(-((ix - p[0]) ** 2 + (iy - p[1]) ** 2) / (2 * p[3] ** 2)) + p[4]
        return (model - part).ravel() / part.max()

    fit = least_squares(residual, [0, 0, part.max() - np.median(part), 1.0, np.median(part)])
    return np.array([x, y]) + fit.x[:2]


def coincide(report: Report, made: truth.MosaicSet, band: str, products: Sequence[Path]) -> None:
    """Let jwst resample every exposure onto the same pixels and measure the same stars in all."""
    if not common.have_jwst():
        report.skip("stars in jwst's resampled exposures", common.NO_JWST)
        return
    sky = bright_stars(made, band)
    rows = []
    for label, files, reach in (
        ("as they came", made.files[band], 40.0),
        ("aligned", list(products), 3.0),
    ):
        folder = common.fresh(f"tweakreg-resampled-{label.split()[0]}")
        common.jwst("resample", folder, *files, side=SIDE)
        singles = sorted(folder.glob("single*_i2d.fits"))
        scale = 3.6e6 * float(
            np.sqrt(np.abs(np.linalg.det(world_wcs(singles[0]).pixel_scale_matrix)))
        )
        at = np.array([positions(path, sky, reach) for path in singles]) * scale
        at = at[:, np.isfinite(at).all(axis=(0, 2))]
        # a star in the wrong place in one exposure is another star, or a cosmic ray
        off = at - np.median(at, axis=0)
        if label == "aligned":
            good = (np.hypot(*np.moveaxis(off, -1, 0)) < scale).all(axis=0)
            at, off = at[:, good], off[:, good]
        mean = np.median(off, axis=1)
        between = float(np.sqrt((mean**2).sum(axis=1).mean()))
        single = 1.4826 * float(np.median(np.abs(off - mean[:, None])))
        rows.append([label, len(singles), at.shape[1], f"{between:.2f}", f"{single:.2f}"])
        if label == "aligned":
            report.below(f"{band}: rms offset between jwst's resampled exposures", between,
                         SCATTER, ".2f", " mas")  # fmt: skip
    heads = [f"{band} exposures", "number", "stars in all", "rms offset of an exposure, mas",
             "scatter of one star and axis, mas"]  # fmt: skip
    report.table(heads, rows)


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__)
    report = Report("tweakreg 5", "tweakreg_readable", "Readable elsewhere")
    made = truth.nircam(chosen.quick)
    folder = common.fresh("tweakreg-readable")
    products = aligned(made, "F300M", folder)
    headers(report, "NIRCam F300M", products)
    coincide(report, made, "F300M", products)
    report.note(
        "Stars of magnitude "
        f"{BRIGHT:g}-{FAINT:g} without neighbours, fitted with a round Gaussian in exposures that "
        "jwst's `ResampleStep` drizzled one by one onto the same pixels; the offset of an exposure "
        "is the median over its stars of the distance from the median over exposures. Undersampled "
        "stars scatter by their place in the pixel, whatever the alignment."
    )
    return report.write(common.jwst_version())


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
