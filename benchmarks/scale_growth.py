"""Scale, criterion 2: time and peak memory against integrations, references and exposures."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits

from benchmarks.report import Report
from benchmarks.tweakreg_memory import watch
from webbalign.products.associations import make_association

MEMORY = "2GB"
WORKERS = 2
FLAT = 1.10  # growth of the peak that counts as none
LINEAR = 1.15  # time per integration, tenfold over once, that still counts as linear
PLOT = common.FOLDER / "scale_growth.png"


@dataclass
class Line:
    """Measurements along one direction of growth.

    Attributes
    ----------
    what : str
    sizes : list of int
        What grows.
    walls, peaks : list of float
        s, and MB of all processes together.
    """

    what: str
    sizes: list[int] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)


def repeated(source: Path, target: Path, times: int, rng: np.random.Generator) -> None:
    """Write an exposure with its integrations several times over, each with a noise of its own."""
    with fits.open(source, memmap=False) as hdulist:
        nints = hdulist["SCI"].shape[0]
        for hdu in hdulist:
            if hdu.data is not None and hdu.is_image and hdu.data.shape[:1] == (nints,):
                hdu.data = np.concatenate([hdu.data] * times)
        error = np.nan_to_num(hdulist["ERR"].data)
        hdulist["SCI"].data += (0.3 * error * rng.standard_normal(error.shape)).astype("f4")
        hdulist[0].header["NINTS"] = nints * times
        hdulist.writeto(target, output_verify="silentfix")


def association(folder: Path, made: common.Sequence_, science: int, psf: int, copies: int) -> Path:
    """Make a larger set of a simulated one.

    Parameters
    ----------
    folder : Path
    made : Sequence_
    science, psf : int
        How often the integrations of science and reference exposures are repeated.
    copies : int
        How many exposures are made of each science exposure.
    """
    rng = np.random.default_rng(7)
    members = json.loads(made.association.read_text())["products"][0]["members"]
    names = []
    for member in members:
        is_psf = member["exptype"] == "psf"
        for copy in range(1 if is_psf else copies):
            name = member["expname"]
            if copy:
                name = name.replace("_00001_", f"_{copy + 1:05d}_", 1)
            repeated(
                made.folder / member["expname"], folder / name, psf if is_psf else science, rng
            )
            names.append(folder / name)
    path = folder / "grown_asn.json"
    path.write_text(json.dumps(make_association(names, folder=folder)))
    return path


def measured(made: common.Sequence_, science: int, psf: int, copies: int) -> tuple[float, float]:
    """Run coron3 on a set; return seconds and the peak of all processes, MB."""
    folder, output = common.fresh("growth-in"), common.fresh("growth-out")
    source = association(folder, made, science, psf, copies)
    command = common.webbalign_command(
        source, output, align_refs__align_to="each", align_refs__save_psfalign="false",
        align_refs__override_psfmask=made.mask, figure="false", report="false",
        executor="processes", workers=WORKERS, memory=MEMORY,
    )  # fmt: skip
    begin = time.perf_counter()
    peak = watch(command, output / "log.txt")
    wall = time.perf_counter() - begin
    shutil.rmtree(folder)
    shutil.rmtree(output)
    print(f"  x{science} science, x{psf} references, x{copies} exposures: "
          f"{wall:.1f} s, {peak.resident:.0f} MB", flush=True)  # fmt: skip
    return wall, peak.resident


def draw(lines: list[Line], path: Path) -> None:
    """Draw time and memory over what grows."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(lines), figsize=(4 * len(lines), 6), sharex="col")
    for (upper, lower), line in zip(axes.T, lines, strict=True):
        upper.plot(line.sizes, line.walls, "o-", label="measured")
        scale = line.walls[0] / line.sizes[0]
        upper.plot(line.sizes, [scale * size for size in line.sizes], ":", label="proportional")
        upper.set(title=line.what, ylabel="wall time, s", ylim=(0, None))
        lower.plot(line.sizes, line.peaks, "o-", color="tab:red")
        lower.axhline(2000, ls=":", color="grey")
        lower.set(xlabel="number", ylabel="peak of all processes, MB", ylim=(0, None))
    axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__)
    report = Report("5.2", "scale_growth", "Scale: growth")
    made = common.simulated(nints=2, ref_nints=1 if chosen.quick else 2)
    nref = sum(item["is_psf"] for item in made.truth["exposures"])
    nref *= 1 if chosen.quick else 2
    times = (1, 3) if chosen.quick else (1, 2, 5, 10)
    # how often the integrations of science and of references are repeated in all directions
    few, some = (1, 1) if chosen.quick else (5, 5)
    lines = [Line("science integrations"), Line("references"), Line("science exposures")]
    for k in times:
        for line, (science, psf, copies, size) in zip(
            lines,
            (
                (few * k, some, 1, 4 * few * k),
                (1, some * k, 1, nref * some * k),
                (1, some, k, 2 * k),
            ),
            strict=True,
        ):
            wall, peak = measured(made, science, psf, copies)
            line.sizes.append(size)
            line.walls.append(wall)
            line.peaks.append(peak)
    for line in lines:
        factor = line.sizes[-1] / line.sizes[0]
        what = f"{factor:.3g} times the {line.what}"
        report.below(f"{what}: peak memory, ratio", line.peaks[-1] / line.peaks[0], FLAT, ".3f")
        if line is not lines[1]:
            ratio = line.walls[-1] / line.walls[0] / factor
            report.below(f"{what}: time over {factor:.3g} times the time", ratio, LINEAR, ".2f")
    bound = max(peak for line in lines for peak in line.peaks)
    report.below(f"largest peak under --memory {MEMORY}", bound, 2000.0, ".0f", " MB")
    rows = [
        [line.what, str(size), f"{wall:.1f}", f"{peak:.0f}"]
        for line in lines
        for size, wall, peak in zip(line.sizes, line.walls, line.peaks, strict=True)
    ]
    report.table(["what grows", "number", "wall, s", "peak, MB"], rows)
    report.note(
        f"`webbalign coron3 --executor processes --workers {WORKERS} --memory {MEMORY}`, `each`, "
        "4-D product not saved, NIRCam 320 x 320. The peak is the sum of the resident memory of "
        "all processes, a page that several share counted in each. Sets are a simulated one with "
        "its integrations repeated, each with new noise."
    )
    if not chosen.quick:
        draw(lines, PLOT)
        report.note(f"![growth]({PLOT.name})")
    return report.write()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
