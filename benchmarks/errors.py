"""Criterion 3: the errors are those by which the results are off."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.io import fits

from benchmarks import truth
from benchmarks.report import Report

EDGES = {
    "nircam": (1.0, 1.5, 2.0, 3.0, 4.5, 6.5, 9.0),
    "miri": (1.0, 1.75, 2.5, 4.0, 6.0, 8.5, 11.0),
}
TRUNCATE = (5, 20, 999)
BLOCK = 5  # px, side of the sums that test the correlation
DO_NOT_USE = 1


def rings(values, radius, edges) -> list[float]:
    """Standard deviation of the finite values in rings."""
    out = []
    for low, high in pairwise(edges):
        inside = (radius >= low) & (radius < high)
        inside = values[..., inside]
        out.append(float(np.std(inside[np.isfinite(inside)])))
    return out


def blocks(array):
    """Return an image as (rows, BLOCK, columns, BLOCK), what is left over cut off."""
    ny, nx = (n // BLOCK for n in array.shape)
    return array[: ny * BLOCK, : nx * BLOCK].reshape(ny, BLOCK, nx, BLOCK)


def of_sums(off, err, radius, edges) -> list[float]:
    """Return the standard deviations for sums over blocks, as if the pixels were independent."""
    sums = blocks(off).sum(axis=(1, 3)) / np.sqrt(blocks(err**2).sum(axis=(1, 3)))
    return rings(sums, blocks(radius).mean(axis=(1, 3)), edges)


def rms(values, radius, edges) -> list[float]:
    """Root of the mean square of the finite values in rings: with what they are off on average."""
    out = []
    for low, high in pairwise(edges):
        inside = values[..., (radius >= low) & (radius < high)]
        out.append(float(np.sqrt(np.nanmean(inside**2))))
    return out


def of_exposures(made: common.Sequence_, output: Path, edges) -> Iterator[tuple[list, ...]]:
    """Yield standard deviations for single integrations, their mean, sums of it; rms of it."""
    for exposure in made.science:
        path = truth.subtracted(output, exposure)
        with fits.open(path) as hdus:
            data, err = (hdus[name].data.astype(float) for name in ("SCI", "ERR"))
            common_part = hdus["VAR_COMMON"].data.astype(float)
            good = (hdus["DQ"].data & DO_NOT_USE == 0) & np.isfinite(data) & (err > 0)
        off = data - truth.companion_cube(made, exposure)
        pull = np.where(good, off / np.where(good, err, 1.0), np.nan)
        n = good.sum(axis=0)
        full = n > 0.5 * len(data)
        count = np.maximum(n, 1)
        mean = np.where(good, off, 0.0).sum(axis=0) / count
        independent = np.where(good, np.maximum(err**2 - common_part, 0.0), 0.0).sum(axis=0)
        sigma = np.sqrt(independent / count**2 + common_part)
        mean = np.where(full, mean, np.nan)
        iy, ix = np.indices(mean.shape)
        x, y = exposure["star_xy_by_wcs"]
        radius = np.hypot(ix - x, iy - y) * truth.pixel_scale(path)
        yield (
            rings(pull, radius, edges),
            rings(mean / sigma, radius, edges),
            of_sums(filled(mean), sigma, radius, edges),
            rms(mean / sigma, radius, edges),
        )


def filled(image):
    """Return an image with 0 in lone bad pixels, for sums over blocks; their error stays."""
    return np.nan_to_num(image)


def of_combined(made: common.Sequence_, output: Path, edges) -> tuple[list, list]:
    """Return the same of the i2d: for its pixels, and for sums over blocks."""
    path = common.product(output, "i2d")
    with fits.open(path) as hdus:
        image, err = (hdus[name].data.astype(float) for name in ("SCI", "ERR"))
        factor = float(hdus[0].header["NOISECOR"])
    off = image - truth.drizzled(made, output)
    star = made.science[0]
    place = truth.world_wcs(path).all_world2pix(star["ra"], star["dec"], 0)
    iy, ix = np.indices(image.shape)
    radius = np.hypot(ix - place[0], iy - place[1]) * truth.pixel_scale(path)
    return rings(off / err, radius, edges), of_sums(off, factor * err, radius, edges)


def judge(report: Report, made, label: str, edges, truncate: int) -> list[list]:
    """Reduce one sequence and judge all its errors; returns rows of the table."""
    output = common.fresh("errors")
    steps = {
        "align_refs": {"override_psfmask": str(made.mask), "save_psfalign": False},
        "klip": {"truncate": truncate},
    }
    common.coron3(made.association, output, steps=steps)
    exposures = list(of_exposures(made, output, edges))
    pixels, sums = of_combined(made, output, edges)
    groups = {
        "psfsub, single integrations": [values for values, *_ in exposures],
        "psfsub, mean of the integrations": [values for _, values, *_ in exposures],
        "i2d, pixels": [pixels],
        f"i2d, sums over {BLOCK} x {BLOCK} px with NOISECOR": [sums],
    }
    about_zero = np.ravel([values for *_, values in exposures])
    report.number_only(
        f"{label}: psfsub, mean of the integrations, rms about 0",
        f"{about_zero.min():.3f} to {about_zero.max():.3f}",
    )
    own = np.ravel([values for *_, values, _ in exposures])
    report.number_only(
        f"{label}: psfsub, mean, sums over {BLOCK} x {BLOCK} px",
        f"{own.min():.3f} to {own.max():.3f}",
    )
    rows = []
    for name, several in groups.items():
        report.within(f"{label}: {name}", np.ravel(several), 0.8, 1.25)
        rows += [[label, name, *(f"{value:.2f}" for value in values)] for values in several]
    return rows


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__, seeds=(2, "sequences for each instrument"))
    report = Report(3, "errors", "Honest errors")
    size = {"nints": 4, "ref_nints": 2} if chosen.quick else {}
    for instrument in ("nircam", "miri"):
        edges, rows = EDGES[instrument], []
        for seed in range(1, 2 if chosen.quick else 1 + chosen.seeds):
            made = common.simulated(instrument=instrument, seed=seed, **size)
            for truncate in TRUNCATE:
                word = "all" if truncate == 999 else truncate
                label = f"{instrument}, seed {seed}, truncate {word}"
                rows += judge(report, made, label, edges, truncate)
        heads = ["case", "what", *(f"{a} to {b}" for a, b in pairwise(edges))]
        report.table(heads, rows)
    report.note(
        "Standard deviation of (result - truth)/ERR in rings about the star, whose radii in arcsec "
        "head the columns; all pixels that are not flagged DO_NOT_USE, none clipped. The criterion "
        "is put to every ring. The rms about 0 has in it what the whole ring is off by, starlight "
        "taken away too much or too little, which ERR leaves out. Truth: the noiseless companion "
        "(contrast 1e-4 at 0.8 arcsec, seen through the coronagraph) less its mean, nothing "
        "else; in the i2d that image drizzled likewise. Mean of n integrations: its variance is "
        "the mean of (ERR^2 - VAR_COMMON)/n + "
        "VAR_COMMON. The sums over blocks also feel what correlates neighbours beside drizzling: "
        "speckles are larger than a pixel; the row of psfsub, where nothing was drizzled, has that "
        "alone. Default sequences: 2 rolls of 20 integrations, 9 reference dithers of 4, "
        "a drift of the wavefront of 3 nm between science and reference star."
    )
    return report.write()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
