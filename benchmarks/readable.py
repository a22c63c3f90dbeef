"""Criterion 7: every product can be read elsewhere, and its two WCS agree."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits

from benchmarks import truth
from benchmarks.report import Report

WITH_WCS = ("crfints", "psfsub", "i2d")
MODELS = {
    "crfints": "CubeModel",
    "psfstack": "CubeModel",
    "psfsub": "CubeModel",
    "i2d": "ImageModel",
}
# Remarks of the libraries that say nothing about the product.
HARMLESS = ("DeprecationWarning",)


def plain_astropy(path: Path) -> str:
    """Return what is wrong with a file for astropy alone ('' if nothing)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with fits.open(path) as hdus:
                hdus.verify("exception")
                for hdu in hdus:
                    if hdu.data is not None:
                        np.asarray(hdu.data).ravel()[:1]
                    for card in hdu.header.cards:
                        if isinstance(card.value, fits.card.Undefined):
                            return f"{hdu.name}: {card.keyword} has no value"
                if "SCI" not in hdus:
                    return "no SCI"
        except Exception as error:  # whatever it is, it is the result
            return f"{type(error).__name__}: {error}"
    return "; ".join(sorted({str(item.message) for item in caught}))


def wcs_difference(path: Path) -> float:
    """Return the largest distance in px between header WCS and GWCS over the image."""
    from stdatamodels.jwst import datamodels

    with datamodels.open(path) as model:
        ny, nx = model.shape[-2:]
        x, y = np.meshgrid(np.linspace(0, nx - 1, 41), np.linspace(0, ny - 1, 41))
        sky = model.meta.wcs(x.ravel(), y.ravel(), with_bounding_box=False)
    back = truth.world_wcs(path).all_world2pix(*sky, 0, tolerance=1e-6)
    return float(np.max(np.hypot(back[0] - x.ravel(), back[1] - y.ravel())))


def opened(report: Report, label: str, files: list[Path], program: str) -> None:
    """Open and validate with the data models, in a process of its own."""
    side = [str(common.FOLDER / "jwst_side.py"), "open_all", "{}", *map(str, files)]
    if program == "jwst":
        text = common.jwst("open_all", *files)
    else:
        import subprocess

        env = os.environ | {"PYTHONWARNINGS": "ignore"}
        text = subprocess.run(
            [sys.executable, *side], capture_output=True, text=True, check=True, env=env
        ).stdout
    faults = []
    for line in map(json.loads, text.splitlines()):
        suffix = line["name"].removesuffix(".fits").rsplit("_", 1)[-1]
        wanted = MODELS.get(suffix)
        if "error" in line:
            faults.append(f"{line['name']}: {line['error']}")
        elif wanted and line["model"] != wanted:
            faults.append(f"{line['name']}: {line['model']}, not {wanted}")
        faults += [f"{line['name']}: {text}" for text in line["warnings"]]
    whose = "jwst's" if program == "jwst" else "webbalign's"
    said = f"{len(files) - len({fault.split(':')[0] for fault in faults})} of {len(files)} files"
    report.true(f"{label}: opened and validated with {whose} stdatamodels, no warning",
                not faults, said, "all")  # fmt: skip
    for fault in sorted(set(faults))[:5]:
        report.note(f"{label}: {fault}")


def read_back(report: Report, label: str, folder: Path) -> None:
    """Read all products of a run."""
    files = sorted(folder.glob("*.fits"))
    opened(report, label, files, "ours")
    if common.have_jwst():
        opened(report, label, files, "jwst")
    else:
        report.skip(f"{label}: opened with jwst's data models", common.NO_JWST)
    faults = {path.name: fault for path in files if (fault := plain_astropy(path))}
    report.true(f"{label}: read by plain astropy, no warning, no card without value",
                not faults, f"{len(files) - len(faults)} of {len(files)} files", "all")  # fmt: skip
    for name, fault in list(faults.items())[:5]:
        report.note(f"{label}: {name}: {fault}")
    chosen = [path for path in files if path.stem.rsplit("_", 1)[-1] in WITH_WCS]
    largest = {}
    for path in chosen:
        suffix = path.stem.rsplit("_", 1)[-1]
        if suffix == "crfints" and fits.getval(path, "IS_PSF"):
            suffix = "crfints of PSF"
        largest[suffix] = max(largest.get(suffix, 0.0), wcs_difference(path))
    for suffix, distance in largest.items():
        report.below(f"{label}, {suffix}: header WCS against GWCS", distance, 0.01, ".4f", " px")


def next_steps(report: Report, label: str, folder: Path, mask: Path) -> None:
    """Feed jwst's own steps with our products, and compare with what ours make of them."""
    if not common.have_jwst():
        report.skip(f"{label}: input of jwst's next steps", common.NO_JWST)
        return
    crfints = sorted(folder.glob("*_crfints.fits"))
    psf = [str(path) for path in crfints if fits.getval(path, "IS_PSF")]
    science = next(path for path in crfints if str(path) not in psf)
    root = science.name.removesuffix("_crfints.fits")
    # jwst's klip cannot take NaN: it gets the exposure as its own align_refs would hand it on
    repaired = folder.parent / "repaired_crfints.fits"
    repair(science, repaired)
    text = common.jwst(
        "next_steps", folder, crfints=str(science), psf_crfints=psf, mask=str(mask),
        psfstack=str(common.product(folder, "psfstack")), repaired=str(repaired),
        psfalign=str(folder / f"{root}_psfalign.fits"),
        psfsub=str(folder / f"{root}_psfsub.fits"),
    )  # fmt: skip
    said = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    for step in ("stack_refs", "align_refs", "klip", "resample"):
        line = next((line for line in said if line["step"] == step), {"error": "did not run"})
        good = "error" not in line and line["finite"] > 0.5 and line["rms"] > 0
        shown = line.get("error") or (
            f"{line['model']} {tuple(line['shape'])}, {100 * line['finite']:.0f} % finite"
        )
        report.true(f"{label}: input of jwst's {step}", good, shown[:200], "a product with data")


def repair(source: Path, target: Path) -> None:
    """Copy an exposure with its bad pixels filled."""
    from webbalign.core.cubes import fill_bad_pixels

    with fits.open(source) as hdus:
        data = hdus["SCI"].data.astype(float)
        bad = (hdus["DQ"].data & 1 != 0) | ~np.isfinite(data)
        hdus["SCI"].data = fill_bad_pixels(data, bad, box=3).astype(np.float32)
        hdus.writeto(target, overwrite=True)


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__)
    report = Report(7, "readable", "Readable elsewhere")
    size = {"nints": 3, "ref_nints": 2, "ref_dithers": 5}
    for instrument in ("nircam",) if chosen.quick else ("nircam", "miri"):
        made = common.simulated(instrument=instrument, **size)
        for align_to in ("first", "each"):
            folder = common.fresh(f"readable-{instrument}-{align_to}")
            steps = {
                "align_refs": {"override_psfmask": str(made.mask), "align_to": align_to},
                "klip": {"save_psf_model": True},
            }
            common.coron3(made.association, folder, steps=steps)
            label = f"{instrument}, `{align_to}`"
            read_back(report, label, folder)
            if align_to == "first":
                next_steps(report, label, folder, made.mask)
    association = common.au_mic()
    if association is None:
        report.skip("products of the real AU Mic exposures", common.NO_DATA)
    else:
        folder = common.fresh("readable-au-mic")
        common.coron3(association, folder)
        read_back(report, "AU Mic", folder)
    return report.write(common.jwst_version())


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
