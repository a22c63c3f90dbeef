"""tweakreg, criterion 1: the published tweaks of a CEERS pointing, recovered from its catalog."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import copy
import json
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2, norm

from benchmarks import tweakreg_truth as truth
from benchmarks.report import Report
from webbalign.core.astrometry import AbsFitting, Fitting, ImageFit, align_starlists
from webbalign.core.starlists import ReferenceStars, StarList
from webbalign.products.corrector import ImagePlane, image_plane

FOLDER = common.DATA / "ceers_tweakreg"
CATALOG = FOLDER / "CEERS_EGS_HST_v1.9_cat_radecmag.ecsv"
NO_DATA = "ceers_tweakreg is absent (set WEBBALIGN_DATA to the folder that holds it)"
SHAPE = (2048, 2048)
NOISE, SPURIOUS, MISSING = 0.005, 0.3, 0.2  # arcsec, fractions
MARGIN = 4.0  # px
SHORT_WAVE = 0.05  # arcsec per pixel, above: long wave
PATIENCE = 900.0  # s
RMS, LIMIT, SIGMAS = 1.0, 1.15, 3.0  # mas, times the noise limit, quoted sigmas


@dataclass(frozen=True, eq=False)
class Image:
    """An image as it was before the tweak, and after."""

    name: str
    before: ImagePlane
    after: ImagePlane
    wcsinfo: dict[str, float]

    @property
    def wanted(self) -> np.ndarray:
        """Where the pixels of the grid are in the image's plane (n, 2), arcsec."""
        return self.before.plane.from_sky(self.after.to_sky(truth.grid(SHAPE)))


@dataclass(frozen=True, eq=False)
class Drawn:
    """A catalog of one image: pixels (n, 2), and which of them are stars."""

    xy: np.ndarray
    real: np.ndarray


@cache
def images() -> list[Image]:
    """Read the published GWCS, and undo their tweaks."""
    import asdf

    found = []
    for path in sorted((FOLDER / "tweakreg_wcs").glob("*.asdf")):
        with asdf.open(path, memmap=False, lazy_load=False) as file:
            wcs, info = file["wcs"], dict(file["wcsinfo"])
        name = path.name.removesuffix("_tweakreg.asdf")
        before = image_plane(untweaked(wcs), info, SHAPE)
        found.append(Image(name, before, image_plane(wcs, info, SHAPE), info))
    return found


def untweaked(wcs: Any) -> Any:
    """Return a GWCS without the step to ``v2v3corr``."""
    from gwcs import WCS

    steps = [(step.frame, step.transform) for step in copy.deepcopy(wcs).pipeline]
    names = [getattr(frame, "name", frame) for frame, _ in steps]
    at = names.index("v2v3corr")
    # the step before leads on with what led on from the corrected frame
    steps[at - 1] = (steps[at - 1][0], steps[at][1])
    del steps[at]
    before = WCS(steps)
    before.bounding_box = wcs.bounding_box
    return before


def catalog() -> tuple[np.ndarray, np.ndarray]:
    """Return places (n, 2; degrees) and magnitudes of the reference catalog."""
    from astropy.table import Table

    table = Table.read(CATALOG)
    sky = np.stack([table["RA"], table["DEC"]], axis=-1).astype(float)
    return sky, np.array(table["MAG"], float)


def draw(image: Image, sky: np.ndarray, rng: np.random.Generator) -> Drawn:
    """Draw the catalog of an image through its tweaked WCS."""
    at = image.after.plane.from_sky(sky)
    near = np.isfinite(at).all(axis=1) & (np.abs(at) < 300).all(axis=1)
    xy = image.after.to_pixels(at[near])
    inside = ((xy > MARGIN) & (xy < SHAPE[0] - 1 - MARGIN)).all(axis=1)
    xy = xy[inside]
    xy = xy[rng.random(len(xy)) >= MISSING]
    xy = xy + rng.normal(0, NOISE / image.before.pixel_scale, xy.shape)
    more = round(SPURIOUS * len(xy))
    false = rng.uniform(MARGIN, SHAPE[0] - 1 - MARGIN, (more, 2))
    return Drawn(np.concatenate([xy, false]), np.arange(len(xy) + more) < len(xy))


def rscale_design(xy: np.ndarray) -> np.ndarray:
    """Return displacements (n, 2, 4) per shift x, y, scale, rotation about the origin."""
    one, zero = np.ones(len(xy)), np.zeros(len(xy))
    x, y = xy.T
    return np.stack(
        [np.stack([one, zero, x, -y], axis=-1), np.stack([zero, one, y, x], axis=-1)], axis=1
    )


def noise_limit(image: Image, drawn: Drawn) -> float:
    """Return the Cramer-Rao bound of the rms over the grid, mas: all its stars, and no others."""
    design = rscale_design(image.before.from_pixels(drawn.xy[drawn.real])).reshape(-1, 4)
    cov = NOISE**2 * np.linalg.inv(design.T @ design)
    return quoted_rms(image, cov)


def quoted_rms(image: Image, cov: np.ndarray) -> float:
    """Return the rms displacement over the grid, mas, that a covariance of four parameters means.

    The four are those of `rscale_design`.
    """
    design = rscale_design(image.before.from_pixels(truth.grid(SHAPE)))
    return 1e3 * float(np.sqrt(np.einsum("nij,jk,nik->n", design, cov, design).mean()))


@dataclass(frozen=True)
class Error:
    """How far one image is from the published tweak.

    Attributes
    ----------
    short : bool
        Whether it is of a short-wave detector.
    rms, limit, quoted : float
        Over the grid, mas: as found, the least possible, and from its own covariance.
    distance : float
        Mahalanobis distance of its four parameters, squared.
    """

    short: bool
    rms: float
    limit: float
    quoted: float
    distance: float


def compare(image: Image, drawn: Drawn, fit: ImageFit) -> Error:
    """Compare a correction with the published one."""
    at = image.before.from_pixels(truth.grid(SHAPE))
    off = at @ fit.matrix.T + fit.shift - image.wanted
    design = rscale_design(at).reshape(-1, 4)
    delta = np.linalg.lstsq(design, off.ravel(), rcond=None)[0]
    # m11, m12, m21, m22, x, y -> x, y, scale, rotation
    pick = np.array([[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1], [0.5, 0, 0, 0.5, 0, 0],
                     [0, -0.5, 0.5, 0, 0, 0]])  # fmt: skip
    cov = pick @ fit.cov @ pick.T
    return Error(
        short=image.before.pixel_scale < SHORT_WAVE,
        rms=1e3 * float(np.sqrt((off**2).sum(axis=1).mean())),
        limit=noise_limit(image, drawn),
        quoted=quoted_rms(image, cov),
        distance=float(delta @ np.linalg.solve(cov, delta)),
    )


def lists_of(drawn: list[Drawn]) -> list[StarList]:
    """Make the star lists of the untweaked images, each a group of its own."""
    found = []
    for image, stars in zip(images(), drawn, strict=True):
        plane, scale = image.before, image.before.pixel_scale
        found.append(
            StarList(
                image.name, image.name, plane.plane, plane.from_pixels(stars.xy),
                NOISE, np.nan, 1.0, plane.outline, scale, 2 * scale,
            )
        )  # fmt: skip
    return found


def one_seed(seed: int) -> tuple[list[Drawn], list[Error], float]:
    """Draw catalogs, align them, compare; also the CPU time of the solver."""
    rng = np.random.default_rng(seed)
    sky, magnitude = catalog()
    drawn = [draw(image, sky, rng) for image in images()]
    lists, reference = lists_of(drawn), ReferenceStars(sky, np.nan, 1.0, magnitude, "CEERS")
    start = time.process_time()
    solution = align_starlists(
        lists,
        reference,
        fitting=Fitting(fitgeometry="rscale"),
        abs_fitting=AbsFitting(abs_fitgeometry="rscale"),
    )
    used = time.process_time() - start
    errors = [compare(*three) for three in zip(images(), drawn, solution.images, strict=True)]
    return drawn, errors, used


def pooled(values: Any) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(list(values)))))


def judge(report: Report, errors: dict[int, list[Error]]) -> None:
    """Compare with the criteria."""
    every = [error for group in errors.values() for error in group]
    rms = {seed: pooled(error.rms for error in group) for seed, group in errors.items()}
    for seed, found in rms.items():
        report.below(f"seed {seed}: rms from the published tweak, pooled", found, RMS, ".3f",
                     " mas")  # fmt: skip
    least = pooled(error.limit for error in every)
    report.below("rms / noise limit, all seeds pooled", pooled(rms.values()) / least, LIMIT, ".3f")
    report.within(
        "rms / noise limit, each seed",
        [rms[seed] / pooled(error.limit for error in group) for seed, group in errors.items()],
        0, LIMIT,
    )  # fmt: skip
    report.below(
        "largest rms of an image / the rms that its own covariance quotes",
        max(error.rms / error.quoted for error in every), SIGMAS, ".2f",
    )  # fmt: skip
    distances = np.array([error.distance for error in every])
    beyond = int((distances > chi2.isf(2 * norm.sf(SIGMAS), 4)).sum())
    allowed = 2 * norm.sf(SIGMAS) * len(every)
    report.number_only(
        f"images whose four parameters are off by more than {SIGMAS:g} sigma",
        f"{beyond} of {len(every)} ({allowed:.1f} expected by chance)",
    )
    report.within("pull of the four parameters, pooled", [np.sqrt(distances.mean() / 4)], 0.8, 1.25)
    rows = []
    for name, short in (("short wave", True), ("long wave", False)):
        some = [error for error in every if error.short == short]
        rows.append(
            [name, len(some) // len(errors)]
            + [f"{pooled(getattr(e, key) for e in some):.3f}" for key in ("rms", "quoted", "limit")]
        )
    report.table(["images", "number", "rms, mas", "quoted, mas", "noise limit, mas"], rows)


def as_jwst(report: Report, drawn: list[Drawn]) -> None:
    """Align the same catalogs of one module with jwst, whose time grows with their square."""
    if not common.have_jwst():
        report.skip("jwst on the same catalogs", common.NO_JWST)
        return
    import asdf
    from astropy.table import Table

    folder = common.fresh("tweakreg-ceers")
    files, catalogs = [], []
    chosen = [(i, stars) for i, stars in zip(images(), drawn, strict=True) if "nrca" in i.name]
    for image, stars in chosen:
        path = folder / f"{image.name}_cal.asdf"
        meta = {f"meta.wcsinfo.{key}": value for key, value in image.wcsinfo.items()}
        meta |= {"meta.filename": f"{image.name}_cal.fits"}
        meta |= {"meta.observation.date": "2022-06-21"}
        asdf.AsdfFile({"wcs": image.before.wcs, "meta": meta, "shape": list(SHAPE)}).write_to(path)
        files.append(str(path))
        catalogs.append(str(folder / f"{image.name}_cat.ecsv"))
        Table(stars.xy, names=("x", "y")).write(catalogs[-1], format="ascii.ecsv")
    output = folder / "jwst.npz"
    options = {"fitgeometry": "rscale", "abs_fitgeometry": "rscale", "abs_refcat": str(CATALOG)}
    try:
        text = common.jwst(
            "cases", output, side="tweakreg_jwst_side.py", limit=PATIENCE, files=files,
            groups=[image.name for image, _ in chosen], pixels=truth.grid(SHAPE).tolist(),
            cases=[{"name": "seed 0", "catalogs": catalogs, "options": options}],
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        what = f"jwst on the {len(chosen)} catalogs of module A"
        report.skip(what, f"it had not ended after {PATIENCE / 60:.0f} minutes")
        return
    said = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
    if "error" in said:
        report.number_only("jwst on the catalogs of module A, seed 0", said["error"][:200])
        return
    rms = []
    for (image, _), sky in zip(chosen, np.load(output)["seed 0 absolute"], strict=True):
        off = image.before.plane.from_sky(sky) - image.wanted
        rms.append(1e3 * float(np.sqrt((off**2).sum(axis=1).mean())))
    report.number_only(
        f"jwst on the {len(chosen)} catalogs of module A, seed 0: rms from the published tweak",
        f"{pooled(rms):.1f} mas ({said['seconds']:.0f} s)",
    )


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__)
    report = Report("tweakreg 1", "tweakreg_ceers", "Real GWCS")
    if not Path(CATALOG).is_file():
        report.skip("everything", NO_DATA)
        return report.write()
    first, errors, used = None, {}, []
    for seed in range(1 if chosen.quick else 5):
        drawn, errors[seed], seconds = one_seed(seed)
        first = first or drawn
        used.append(seconds)
    judge(report, errors)
    report.number_only("matching and solving, CPU time", f"{np.median(used):.2f} s (median)")
    if chosen.quick:
        report.skip("jwst on the same catalogs", "takes minutes, not with --quick")
    else:
        as_jwst(report, first)
    report.note(
        f"{len(images())} images of NIRCam; catalogs in pixels through the published WCS with "
        f"{1e3 * NOISE:g} mas of noise per axis, {100 * SPURIOUS:g} % of false sources added and "
        f"{100 * MISSING:g} % of the stars missing, aligned from the WCS without its tweak, one "
        f"group per image, `rscale`. The rms is that over {truth.POINTS**2} pixels of each image; "
        "the noise limit is the Cramer-Rao bound of the four parameters for the stars that are in "
        "the image's catalog, the reference catalog without error."
    )
    return report.write(common.jwst_version())


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
