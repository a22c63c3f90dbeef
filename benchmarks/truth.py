"""What a reduction of a simulated sequence should have found: the companion alone."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits

from benchmarks import common


def companion_cube(made: common.Sequence_, exposure: dict) -> np.ndarray:
    """Return the companion's noiseless mean image (ny, nx), less its mean, MJy/sr.

    KLIP takes the mean over the image away, from the data as from the truth.
    """
    from webbalign.simulate.truth import read_truth_images

    image = read_truth_images(made.folder / exposure["images"]).companion
    return image - image.mean()


def drizzled(made: common.Sequence_, output: Path) -> np.ndarray:
    """Drizzle the noiseless companion the way the run in `output` drizzled its psfsub products."""
    return drizzled_images(made, output, [companion_cube(made, item) for item in made.science])


def drizzled_images(made: common.Sequence_, output: Path, images: list[np.ndarray]) -> np.ndarray:
    """Drizzle one image (ny, nx) per science exposure in place of its psfsub product."""
    from webbalign.products import models
    from webbalign.steps.resample import ResampleStep

    cubes = []
    for exposure, image in zip(made.science, images, strict=True):
        cube = models.open_cube(subtracted(output, exposure))
        # bad pixels are the same ones, so that the weights are
        cube.data = np.where(np.isfinite(cube.data), image, np.nan).astype(np.float32)
        cubes.append(cube)
    step = ResampleStep()
    result = step.run(cubes)
    return np.asarray(result.data, float)


def subtracted(output: Path, exposure: dict) -> Path:
    """Return the psfsub product of an exposure."""
    return common.product(output, "psfsub", exposure["file"].removesuffix("_calints.fits"))


def world_wcs(path: Path):
    """Return the WCS of a product's FITS header (not its GWCS)."""
    from astropy.wcs import WCS, FITSFixedWarning

    with fits.open(path) as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)  # dates are filled in
        return WCS(hdus["SCI"].header, hdus, naxis=2)


def pixel_scale(path: Path) -> float:
    """Return arcsec per pixel."""
    with fits.open(path) as hdus:
        header = {**hdus[0].header, **hdus["SCI"].header}
    return float(header["PIXAR_A2"]) ** 0.5
