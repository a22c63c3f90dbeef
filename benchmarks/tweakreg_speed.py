"""tweakreg, criterion 4: fast, side by side with jwst in one run."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import tweakreg_truth as truth
from benchmarks.report import Report

SIDE = "tweakreg_jwst_side.py"
WHOLE, FINDING, SOLVING = 10.0, 3.0, 1.0  # times, times, s
CORES = 2
NAMES = {"webbalign": "`webbalign tweakreg`", "jwst": "jwst 3.0.0 `TweakRegStep`"}


def webbalign_command(images: Path, output: Path, made: truth.MosaicSet, *more: str) -> list[str]:
    """Return the shell command of a run with absolute alignment."""
    command = [sys.executable, "-m", "webbalign", "tweakreg", str(images)]
    return [*command, "--output-dir", str(output), "--abs-refcat", str(made.gaia), "--quiet", *more]


def jwst_command(images: Path, output: Path, made: truth.MosaicSet) -> list[str]:
    """Return the command of the same run of jwst."""
    return common.jwst_command(
        "align", images, output, side=SIDE, abs_refcat=str(made.gaia_of_the_day)
    )


def two_cores() -> None:
    """Keep this process, and what it starts, to two cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def whole_runs(report: Report, made: truth.MosaicSet, n: int) -> None:
    """Time whole processes, files to files: webbalign before and after each run of jwst."""
    files = made.files["F150W"]
    images = truth.association(files, common.fresh("tweakreg-speed") / "images_asn.json")
    used: dict[str, list[common.Usage]] = {name: [] for name in NAMES}
    scores: dict[str, truth.Score] = {}
    turns = ["webbalign", *["jwst", "webbalign"] * n] if common.have_jwst() else ["webbalign"] * 3
    for turn, name in enumerate(turns):
        output = common.fresh("tweakreg-speed-products")
        build = jwst_command if name == "jwst" else webbalign_command
        usage = common.measure(build(images, output, made), images.parent / f"{turn}.log")
        print(f"  {name}: {usage.wall:.1f} s, CPU {usage.cpu:.1f} s", flush=True)
        used[name].append(usage)
        products = [output / path.name.replace("_cal", "_tweakreg") for path in files]
        scores[name] = truth.score_products(made, products)
        shutil.rmtree(output)  # gigabytes
    wall = {name: median(usage.wall for usage in values) for name, values in used.items() if values}
    cpu = {name: median(usage.cpu for usage in values) for name, values in used.items() if values}
    what = f"{len(files)} frames, jwst / webbalign"
    if "jwst" in wall:
        report.above(f"{what}, wall time", wall["jwst"] / wall["webbalign"], WHOLE, ".1f")
        report.number_only(f"{what}, CPU time", f"{cpu['jwst'] / cpu['webbalign']:.1f}")
        report.below(
            f"{len(files)} frames, absolute rms / that of jwst (defaults of both)",
            scores["webbalign"].absolute / scores["jwst"].absolute, 1, ".3f",
        )  # fmt: skip
    else:
        report.skip("ratios to jwst", common.NO_JWST)
    rows = []
    for name, at in wall.items():
        walls = ", ".join(f"{usage.wall:.1f}" for usage in used[name])
        rms = f"{scores[name].relative:.3f}", f"{scores[name].absolute:.3f}"
        rows.append([NAMES[name], f"{at:.1f}", f"{cpu[name]:.1f}", walls, *rms])
    heads = ["process", "wall, s (median)", "CPU, s (median)", "wall of each run, s",
             "relative rms, mas", "absolute rms, mas"]  # fmt: skip
    report.table(heads, rows)


def finding(report: Report, files: Sequence[Path]) -> None:
    """Time the search for stars in single frames, in memory, on one core."""
    ours = {finder: [_find(path, finder) for path in files] for finder in truth.FINDERS}
    theirs: dict[str, list[float]] = {}
    if common.have_jwst():
        text = common.jwst("find", *files, side=SIDE, finders=list(truth.FINDERS), repeat=3)
        for line in map(json.loads, filter(lambda line: line[:1] == "{", text.splitlines())):
            theirs.setdefault(line["finder"], []).append(min(line["cpu"]))
        # once more afterwards, since the load of a machine changes
        again = {finder: [_find(path, finder) for path in files] for finder in truth.FINDERS}
        ours = {
            finder: [min(pair) for pair in zip(times, again[finder], strict=True)]
            for finder, times in ours.items()
        }
    else:
        report.skip("finding, ratios to jwst", common.NO_JWST)
    rows = []
    for finder, times in ours.items():
        mine, yours = median(times), median(theirs.get(finder, [float("nan")]))
        if theirs:
            report.above(f"finding with `{finder}`, jwst / webbalign", yours / mine, FINDING, ".1f")
        rows.append([finder, f"{mine:.2f}", f"{yours:.2f}"])
    report.table(["finder", "webbalign, CPU s per frame", "jwst, CPU s per frame"], rows)


def _find(path: Path, finder: str) -> float:
    """Return the CPU time of one search."""
    from webbalign.core.sources import SourceFinding
    from webbalign.products.image_files import read_image
    from webbalign.steps import _find_in_image as step

    image = read_image(path)
    times = []
    for _ in range(3):
        start = time.process_time()
        step._search(image, SourceFinding(starfinder=finder))
        times.append(time.process_time() - start)
    return min(times)


def solving(report: Report, made: truth.MosaicSet) -> None:
    """Time matching and solving from catalogs in memory."""
    from webbalign.execution import executor
    from webbalign.steps.solving import solve_starlists
    from webbalign.steps.tweakreg_options import Solve
    from webbalign.steps.tweakreg_parts import find_stars

    folder = common.fresh("tweakreg-speed-catalogs")
    with executor("processes", CORES) as pool:
        found = find_stars(made.files["F150W"], output_dir=folder, map=pool.map)
    options = Solve(abs_refcat=str(made.gaia))
    wall, cpu = [], []
    for _ in range(5):
        start, used = time.perf_counter(), time.process_time()
        solve_starlists(found, options)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    what = f"matching and solving {len(found)} frames, the reference catalog read from its file"
    report.below(f"{what}: wall time", median(wall), SOLVING, ".2f", " s")
    report.number_only(f"{what}: CPU time", f"{median(cpu):.2f} s")


def parts(report: Report, made: truth.MosaicSet) -> None:
    """Say where the time of one frame goes, each part alone on one core."""
    from webbalign.core.sources import SourceFinding
    from webbalign.products.catalogs import CatalogFiles
    from webbalign.products.corrector import Correction
    from webbalign.products.image_files import read_image, read_info
    from webbalign.products.sip import SipApproximation
    from webbalign.steps._find_in_image import FindTask, find_in_image

    path, folder = made.files["F150W"][0], common.fresh("tweakreg-speed-parts")
    correction = Correction(np.eye(2), np.array([0.5, -0.3]))

    def correct() -> None:
        from webbalign.products.corrected import save_corrected

        save_corrected(
            path, folder / "product.fits", correction, status="COMPLETE", sip=SipApproximation(),
            history="", overwrite=True,
        )  # fmt: skip

    def search() -> None:
        find_in_image(FindTask(path, "", SourceFinding(), CatalogFiles()))

    work: dict[str, Any] = {
        "read its header and WCS": lambda: read_info(path),
        "read it": lambda: read_image(path),
        "read it, find its stars": search,
        "read, correct and write it": correct,
    }
    rows = []
    for name, function in work.items():
        wall, cpu = [], []
        for _ in range(5):
            start, used = time.perf_counter(), time.process_time()
            function()
            wall.append(time.perf_counter() - start)
            cpu.append(time.process_time() - used)
        rows.append([name, f"{min(wall):.2f}", f"{min(cpu):.2f}"])
    shutil.rmtree(folder)
    report.table(["one frame of 2048 x 2048", "wall, s (least)", "CPU, s (least)"], rows)


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__, n=(1, "runs of jwst"))
    two_cores()
    report = Report("tweakreg 4", "tweakreg_speed", "Fast")
    made = truth.nircam(chosen.quick)
    whole_runs(report, made, chosen.n)
    finding(report, made.files["F150W"][: 1 if chosen.quick else 4])
    solving(report, made)
    parts(report, made)
    report.note(
        f"NIRCam F150W, {len(made.files['F150W'])} frames of 2 visits x 4 dithers, Gaia-like "
        f"catalog from a file, {CORES} cores for either program, whole processes with imports; "
        "webbalign takes as many worker processes as there are cores, jwst has one. The "
        "criterion speaks of wall time; CPU times are less disturbed by what else the machine "
        "does. Finding has the image in memory, is the least of several repetitions, and takes "
        "the defaults of either program (webbalign's includes its own centroids)."
    )
    return report.write(common.jwst_version())


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
