"""wcs adjust, criterion 3: the order of files, visits and bands changes nothing."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import wcs_adjust_truth as adjust
from benchmarks.report import Report

LIMIT = 1e-6  # mas
ORDERS = 3
METHOD = {"nircam": "tweakreg", "miri": "cross_corr"}
BANDS = ("F300M", "F150W", "F770W", "F1000W")
HALF = 60.0  # arcsec from the reference point up to which corrections are compared


def measured(images: Mapping[str, Sequence[Path]], label: str, **options: Any) -> Any:
    """Measure all bands anew."""
    folder = common.fresh(f"wcs-adjust-permutation-{label}")
    return adjust.measured(images, folder, method=METHOD, **options)


def shuffled(images: Mapping[str, Sequence[Path]], seed: int) -> dict[str, list[Path]]:
    """Put bands, and the files of each, into another order."""
    rng = random.Random(seed)
    bands = rng.sample(sorted(images), len(images))
    return {band: rng.sample(list(images[band]), len(images[band])) for band in bands}


def renumbered(images: Mapping[str, Sequence[Path]], folder: Path) -> dict[str, list[Path]]:
    """Copy files with their visits counted backwards, in header and name."""
    from astropy.io import fits

    found: dict[str, list[Path]] = {}
    for band, paths in images.items():
        (folder / band).mkdir(parents=True)
        for path in paths:
            new = folder / band / renamed(path.name)
            with fits.open(path) as hdulist:
                header = hdulist[0].header
                visit = new.name[10:13]
                header["VISIT"], header["FILENAME"] = visit, new.name
                header["VISIT_ID"] = header["VISIT_ID"][:-3] + visit
                hdulist.writeto(new)
            found.setdefault(band, []).append(new)
    return found


def renamed(name: str) -> str:
    """Count the visit of a file name or key backwards.

    >>> renamed("jw09998001004_02101_00001")
    'jw09998001001_02101_00001'
    """
    return f"{name[:10]}{5 - int(name[10:13]):03d}{name[13:]}"


def difference(one: Any, two: Any, rename: bool = False, method: str = "") -> float:
    """Return by how much two tables move pixels differently, at most, mas; inf: other entries.

    A method restricts it to what was measured by that. With `rename`, the visits of the second are
    counted backwards, and one rotation of the sphere is taken off, which no image can tell.
    """
    chosen = [
        {str(entry.key): entry for entry in table.entries if not method or method in entry.methods}
        for table in (one, two)
    ]
    here, there = chosen
    if rename:
        here = {renamed(key): entry for key, entry in here.items()}
    if set(here) != set(there):
        return np.inf
    places = []
    for key, entry in here.items():
        other = there[key]
        same = entry.is_applied == other.is_applied if rename else entry.status == other.status
        if not same or (entry.reference is None) != (other.reference is None):
            return np.inf
        if entry.reference is not None:
            places.append(corrected(entry, other))
    first, second = (np.concatenate(side) for side in zip(*places, strict=True))
    if rename:
        first = turned(first, second)
    apart = np.linalg.norm(first - second, axis=1)
    return float(np.degrees(apart.max()) * 3.6e6)


def corrected(entry: Any, other: Any) -> tuple[Any, Any]:
    """Unit vectors (n, 3) of where two entries put the same points of the sky."""
    from webbalign.core.planes import sky_to_vectors

    corners = HALF * np.array([[x, y] for x in (-1, 0, 1) for y in (-1, 0, 1)], float)
    # the same points of the sky, even if the planes' centres differ by rounding
    points = other.plane.from_sky(entry.plane.to_sky(corners))
    first = entry.plane.to_sky(entry.correction.apply(corners))
    second = other.plane.to_sky(other.correction.apply(points))
    return sky_to_vectors(first), sky_to_vectors(second)


def turned(first: Any, second: Any) -> Any:
    """Return unit vectors (n, 3) after the rotation that brings them best onto others.

    From the differences: of the vectors themselves, a few arcmin apart, rounding errors would
    leave the roll uncertain by 1e-9 radians, and so the places by 1e-5 mas.
    """
    from scipy.spatial.transform import Rotation

    for _ in range(3):
        rows = np.cross(np.eye(3)[None], first[:, None]).transpose(0, 2, 1)
        step = np.linalg.lstsq(rows.reshape(-1, 3), (second - first).ravel(), rcond=None)[0]
        first = Rotation.from_rotvec(step).apply(first)
    return first


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__)
    report = Report("wcs adjust 3", "wcs_adjust_permutation", "Order does not matter")
    more = {"size": 400, "detectors": ("nrca1", "nrcalong", "mirimage"), "star_density": 1500.0}
    made = adjust.mosaic(BANDS, chosen.quick, **more)
    for label, options in (
        ("per exposure", {}),
        ("per visit", {"group_dithers": ["nircam", "miri"]}),
    ):
        name = label.replace(" ", "-")
        first = measured(made.files, f"{name}-0", **options)
        worst = max(
            difference(first, measured(shuffled(made.files, seed), f"{name}-{seed}", **options))
            for seed in range(1, (1 if chosen.quick else ORDERS) + 1)
        )
        what = f"{len(first.entries)} corrections {label}"
        report.below(f"{what}: other orders of bands and files", worst, LIMIT, ".1e", " mas")
        folder = common.fresh(f"wcs-adjust-permutation-{name}-renumbered")
        second = measured(renumbered(made.files, folder / "in"), f"{name}-visits", **options)
        worst = difference(first, second, rename=True, method="tweakreg")
        report.below(f"{what}: visits counted backwards, by stars", worst, LIMIT, ".1e", " mas")
        worst = difference(first, second, rename=True, method="cross_corr")
        error = median(
            1e3 * entry.errors.max() for entry in first.entries
            if "cross_corr" in entry.methods and entry.errors.any()
        )  # fmt: skip
        report.below(f"{what}: visits counted backwards, by images (errors of {error:.2f} mas)",
                     worst, LIMIT, ".1e", " mas")  # fmt: skip
    report.note(
        "Four bands (F300M and F150W by stars, F770W and F1000W by correlation) of four visits; "
        "the largest difference between where two tables put a point within a square of 2 arcmin "
        "about the reference point of each entry. Visits counted backwards: header and name of "
        "each file call visit 1 visit 4 and so on, so that everything sorted by name comes in "
        "another order. There one rotation of the sky is taken off: of visits that are equally "
        "good, another one may hold the frame."
    )
    return report.write()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
