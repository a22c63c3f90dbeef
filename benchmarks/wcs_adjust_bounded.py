"""wcs adjust, criterion 5: correlation of full frames takes little time and memory."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import sys
import time
from pathlib import Path
from statistics import median

from benchmarks import tweakreg_truth as truth
from benchmarks import wcs_adjust_images as images
from benchmarks import wcs_adjust_truth as adjust
from benchmarks.report import Report
from benchmarks.tweakreg_memory import watch
from benchmarks.tweakreg_speed import CORES, two_cores

BAND = "F770W"
SECONDS, MEGABYTES = 120.0, 2000.0


def command(folder: Path, output: Path, *more: str) -> list[str]:
    """Return the shell command that measures the band."""
    words = [sys.executable, "-m", "webbalign", "wcs-adjust", "get", str(folder)]
    words += ["--bands", BAND, "--method", "cross_corr", "--output-dir", str(output)]
    return [*words, "--workers", str(CORES), "--quiet", *more]


def one_band(made: truth.MosaicSet, folder: Path) -> Path:
    """Lay the images of a set out as the command wants them."""
    (folder / BAND).mkdir(parents=True)
    for path in made.files[BAND]:
        (folder / BAND / path.name).symlink_to(path)
    return folder


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__, n=(3, "runs"))
    two_cores()
    report = Report("wcs adjust 5", "wcs_adjust_bounded", "Bounded")
    more = {} if chosen.quick else {"size": None}
    made = adjust.mosaic((BAND,), chosen.quick, **more)
    folder = common.fresh("wcs-adjust-bounded")
    target = one_band(made, folder / "target")
    number = len(made.files[BAND])
    what = f"{number} frames of {BAND}, {CORES} cores"
    wall, cpu = [], []
    for turn in range(1 if chosen.quick else chosen.n):
        used = common.measure(command(target, folder / f"out{turn}"), folder / f"{turn}.log")
        print(f"  {used.wall:.1f} s, CPU {used.cpu:.1f} s", flush=True)
        wall.append(used.wall)
        cpu.append(used.cpu)
    report.below(f"{what}: wall time", median(wall), SECONDS, ".1f", " s")
    report.number_only(f"{what}: CPU time of all processes", f"{median(cpu):.1f} s")
    if Path("/proc/self/smaps_rollup").is_file():
        start = time.perf_counter()
        peak = watch(command(target, folder / "watched"), folder / "watched.log")
        seconds = time.perf_counter() - start
        report.below(f"{what}: peak memory, summed over {peak.processes} processes",
                     peak.resident, MEGABYTES, ".0f", " MB")  # fmt: skip
        shared = f"{peak.proportional:.0f} MB (this run took {seconds:.0f} s)"
        report.number_only(f"{what}: peak memory, shared pages counted once", shared)
    else:
        report.skip("memory", "the operating system does not say what processes share")
    images.visits(report, *_left(made, folder), what)
    report.note(
        "`webbalign wcs-adjust get --method cross_corr` from files to the table, "
        f"{'4 visits of full frames' if not chosen.quick else 'small frames'}, confined to "
        f"{CORES} cores; the median of the runs. Memory is looked at 20 times a second in a run "
        "of its own: resident sizes, in which a page that processes share counts in each."
    )
    return report.write()


def _left(made: truth.MosaicSet, folder: Path) -> tuple[object, adjust.Offsets]:
    """Return the table of the first run, and what it leaves."""
    from webbalign.products.wcs_adjust_file import read_wcs_adjust

    table = read_wcs_adjust(folder / "out0" / "target_wcs_adjust.toml")
    paths = adjust.applied(table, made.files[BAND], folder / "corrected")
    left = adjust.offsets(made, paths)
    for path in paths:
        path.unlink()
    return table, left


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
