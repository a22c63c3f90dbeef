"""wcs adjust, criterion 2: side by side with PJPipe 1.3.0, and each other's tables."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import tweakreg_truth as truth
from benchmarks import wcs_adjust_images as images
from benchmarks import wcs_adjust_truth as adjust
from benchmarks.report import Report

PYTHON = Path(
    os.environ.get("WEBBALIGN_PJPIPE_PYTHON", common.FOLDER / ".pjpipe" / "bin" / "python")
)
NO_PJPIPE = (
    "there is no PJPipe (python -m venv benchmarks/.pjpipe && benchmarks/.pjpipe/bin/pip install "
    "pjpipe==1.3.0, or set WEBBALIGN_PJPIPE_PYTHON)"
)
TARGET = "field"
SAME = 1e-3  # mas: two programs that do the same thing
FORESEEN = 0.5  # mas: planes about different points of the sky
MEMORY, TIME = 8, 1800  # GB and s that its cross-correlation gets
# what PJPipe's own configuration of PHANGS-JWST says, but for the geometry of the fit
PHANGS: dict[str, Any] = {
    "starfinder": "iraf", "brightest": 500, "snr_threshold": 3, "expand_refcat": True,
    "peakmax": {"nircam": 20}, "roundlo": {"nircam": -0.5}, "roundhi": {"nircam": 0.5},
    "minobj": 3, "sigma": 2, "searchrad": 2, "separation": {"miri": 1, "nircam": 2},
    "tolerance": 0.3, "use2dhist": True, "nclip": 5,
    "bkg_boxsize": {"nircam_short": 100, "nircam_long": 100, "miri": 25},
}  # fmt: skip
CASES = (
    ("defaults, per exposure", {}, []),
    ("PHANGS with rshift, per exposure", PHANGS | {"fitgeometry": "rshift"}, []),
    ("PHANGS with rshift, per visit", PHANGS | {"fitgeometry": "rshift"}, ["nircam", "miri"]),
    ("PHANGS with shift, per visit", PHANGS | {"fitgeometry": "shift"}, ["nircam", "miri"]),
)


def pjpipe(task: str, *words: object, folder: Path, limit: float | None = None, **settings: Any
           ) -> dict[str, Any]:  # fmt: skip
    """Run a task of the side script in a folder; returns the line of JSON that it printed."""
    script = str(common.FOLDER / "wcs_adjust_pjpipe_side.py")
    command = [str(PYTHON), script, task, json.dumps(settings), *map(str, words)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=folder, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {limit:.0f} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if lines:
        return dict(json.loads(lines[-1]))
    if task == "get":
        return {"error": f"ended with {done.returncode}: {done.stderr.strip()[-200:]}"}
    raise RuntimeError(f"{task} under PJPipe's Python failed:\n{done.stderr[-3000:]}")


def get(made: truth.MosaicSet, band: str, folder: Path, **settings: Any) -> dict[str, Any]:
    """Let PJPipe measure a band."""
    progress = {band: {"dir": str(made.files[band][0].parent), "success": True}}
    return pjpipe(
        "get", folder=folder, directory=str(folder), progress_dict=progress, target=TARGET,
        alignment_dir=str(folder), bands=[band], procs=os.cpu_count() or 1, **settings,
    )  # fmt: skip


def apply(table: Path, files: Sequence[Path], folder: Path) -> list[Path]:
    """Let PJPipe apply a table; returns the corrected files."""
    folder.mkdir(parents=True)
    procs = os.cpu_count() or 1
    pjpipe("apply", table, files[0].parent, folder, folder=folder, procs=procs)
    return [folder / path.name for path in files]


def apart(first: Sequence[Path], second: Sequence[Path]) -> float:
    """Return by how much the GWCS of files differ at most, mas."""
    from webbalign.core.planes import TangentPlane

    worst = 0.0
    for one, two in zip(truth.sky_of_products(first), truth.sky_of_products(second), strict=True):
        plane = TangentPlane.about(*one.mean(axis=0))
        worst = max(worst, float(np.hypot(*(plane.from_sky(one) - plane.from_sky(two)).T).max()))
    return 1e3 * worst


def bare(table: Any) -> Any:
    """Return a table as PJPipe sees it: without reference points, all entries applied."""
    from webbalign.products.wcs_adjust_file import AdjustStatus, WcsAdjust

    entries = [
        dataclasses.replace(entry, reference=None, status=AdjustStatus.UNKNOWN)
        for entry in table.entries
    ]
    return WcsAdjust(tuple(entries))


def stars(report: Report, made: truth.MosaicSet, bands: tuple[str, str], quick: bool) -> None:
    """Measure and apply with both programs; the last case serves for each other's tables."""
    rows = []
    for label, parameters, groups in CASES[1:3] if quick else CASES:
        folder = common.fresh(f"wcs-adjust-pjpipe-{bands[0]}")
        found = get(made, bands[0], folder, tweakreg_parameters=parameters, group_dithers=groups)
        table = adjust.measured(
            {bands[0]: made.files[bands[0]]}, folder / "ours", group_dithers=groups,
            tweakreg_parameters=parameters,
        )  # fmt: skip
        rms = {}
        for band in bands:
            ours = adjust.applied(table, made.files[band], folder / "ours" / band)
            rms[band] = [adjust.offsets(made, ours).relative, np.inf]
            shutil.rmtree(folder / "ours" / band)  # the images of a case are gigabytes
            if "error" not in found:
                theirs = apply(Path(found["table"]), made.files[band], folder / "pjpipe" / band)
                rms[band][1] = adjust.offsets(made, theirs).relative
        told = found.get("error", f"{found.get('seconds', np.nan):.0f} s")
        rows.append([label, *(f"{value:.2f}" for band in bands for value in rms[band]), told])
        report.true(
            f"{' and '.join(bands)}, {label}: rms not above that of PJPipe",
            all(mine <= yours for mine, yours in rms.values()),
            "; ".join(f"{mine:.2f} against {yours:.2f} mas" for mine, yours in rms.values()),
            "both bands",
        )
    report.table(
        [f"{bands[0]} measured", *(f"{band}, {name}, mas" for band in bands
                                   for name in ("webbalign", "PJPipe")), "PJPipe took"], rows,
    )  # fmt: skip
    exchange(report, made, bands, folder, table, found)


def exchange(
    report: Report,
    made: truth.MosaicSet,
    bands: tuple[str, str],
    folder: Path,
    table: Any,
    found: dict[str, Any],
) -> None:
    """Apply each program's table with the other."""
    band = bands[1]
    files = made.files[band]
    ours = apply(folder / "ours" / "target_wcs_adjust.toml", files, folder / "exchange" / "there")
    alike = adjust.applied(bare(table), files, folder / "exchange" / "alike")
    report.below(
        f"{band}: our table applied by PJPipe, from what set_correction makes of its shift and "
        "matrix", apart(ours, alike), SAME, ".1e", " mas",
    )  # fmt: skip
    shutil.rmtree(folder / "exchange" / "alike")
    here = adjust.applied(table, files, folder / "exchange" / "here")
    differs, foreseen = differences(table, files, ours, here)
    report.below(
        f"{band}: the same, from what webbalign makes of it ({differs.max():.2f} mas): beyond roll "
        "times distance of the image's reference point from the entry's",
        float(np.abs(differs - foreseen).max()), FORESEEN, ".3f", " mas",
    )  # fmt: skip
    report.number_only(
        f"{band}: our table, rms applied by PJPipe, by webbalign",
        f"{adjust.offsets(made, ours).relative:.2f} mas, "
        f"{adjust.offsets(made, here).relative:.2f} mas",
    )
    shutil.rmtree(folder / "exchange")
    if "error" in found:
        report.skip("PJPipe's table applied by webbalign", "PJPipe made none")
        return
    theirs = folder / "pjpipe" / band
    mine = adjust.applied(Path(found["table"]), files, folder / "exchange" / "theirs")
    report.below(
        f"{band}: PJPipe's table applied by webbalign, from what PJPipe makes of it",
        apart(mine, [theirs / path.name for path in files]), SAME, ".1e", " mas",
    )  # fmt: skip
    shutil.rmtree(folder)


def differences(
    table: Any, files: Sequence[Path], first: Sequence[Path], second: Sequence[Path]
) -> tuple[np.ndarray, np.ndarray]:
    """Compare files with the ways in which two programs have corrected them.

    Returns
    -------
    differs, foreseen : ndarray, shape (n_files,)
        Largest difference of the two over an image; what it should be if one turns the image
        about its own reference point, the other about that of the entry. Mas.
    """
    from webbalign.products.image_files import read_info

    differs = np.array([apart([one], [two]) for one, two in zip(first, second, strict=True)])
    foreseen = []
    for info in map(read_info, files):
        entry = table.correction_for(info)
        own = np.array([[info.wcsinfo["ra_ref"], info.wcsinfo["dec_ref"]]])
        arm = entry.plane.from_sky(own)[0]
        foreseen.append(1e3 * float(np.hypot(*(entry.correction.matrix @ arm - arm))))
    return differs, np.array(foreseen)


def correlation(report: Report, made: truth.MosaicSet, band: str) -> None:
    """Let both programs correlate; PJPipe within a limit of memory and time."""
    folder = common.fresh("wcs-adjust-pjpipe-images")
    found = get(made, band, folder, method="cross_corr", limit_gb=MEMORY, limit=TIME)
    table = adjust.measured({band: made.files[band]}, folder / "ours", method="cross_corr")
    ours = adjust.applied(table, made.files[band], folder / "ours" / band)
    mine = adjust.offsets(made, ours)
    images.visits(report, table, mine, f"{band}, cross_corr")
    what = f"{band}, cross_corr: rms"
    peak = f"peak {found['peak_mb']:.0f} MB" if "peak_mb" in found else ""
    if "error" in found:
        report.number_only(f"{what} of webbalign", f"{mine.relative:.2f} mas")
        why = f"it ended with `{found['error']}` within {MEMORY} GB"
        report.skip(f"{what} of PJPipe", f"{why} {f'({peak})' if peak else ''}".strip())
        return
    theirs = adjust.offsets(
        made, apply(Path(found["table"]), made.files[band], folder / "pjpipe")
    ).relative
    report.true(f"{what} not above that of PJPipe", mine.relative <= theirs,
                f"{mine.relative:.2f} against {theirs:.2f} mas ({peak})", "not above")  # fmt: skip


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__)
    report = Report("wcs adjust 2", "wcs_adjust_pjpipe", "Against PJPipe")
    if not PYTHON.exists():
        report.skip("everything", NO_PJPIPE)
        return report.write()
    density = {"star_density": 2000.0} if chosen.quick else {}
    for bands in (adjust.MIRI, adjust.NIRCAM):
        made = adjust.mosaic(bands, chosen.quick, **density)
        stars(report, made, bands, chosen.quick)
        if images.BAND in bands:
            correlation(report, made, images.BAND)
    report.note(
        "Both programs measure the same files with the same parameters, each applies its own table "
        "to both bands, and the GWCS of the corrected files are compared with the truth (rms over "
        "49 pixels of each, after one rigid move of the field). PHANGS: the parameters of tweakreg "
        "in PJPipe's configuration of that survey, with the geometry named. PJPipe writes shift "
        "and matrix with 3 decimals and turns every image about itself. It imports spacepylot, "
        "which no registry has: a module that only serves the import stands in for it unless it "
        "is installed there, so that its cross-correlation ends where it would be used."
    )
    return report.write(_version())


def _version() -> str:
    script = str(common.FOLDER / "wcs_adjust_pjpipe_side.py")
    done = subprocess.run([str(PYTHON), script, "versions", "{}"], capture_output=True, text=True,
                          check=True, cwd=common.fresh("wcs-adjust-pjpipe-version"))  # fmt: skip
    return done.stdout.strip().splitlines()[-1]


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
