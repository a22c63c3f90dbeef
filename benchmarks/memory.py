"""Criterion 6: memory stays small, whatever the number of integrations."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import shutil

from benchmarks.report import Report

LIMIT = 1000.0  # MB
GROWTH = 50.0  # MB from the smallest to the largest run that still count as none


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__)
    report = Report(6, "memory", "Small")
    references = {"ref_nints": 2, "ref_dithers": 5} if chosen.quick else {"ref_nints": 10}
    counts = (5, 10, 20) if chosen.quick else (15, 30, 60)
    rows, peaks = [], {}
    for nints in counts:
        made = common.simulated(nints=nints, **references)
        output = common.fresh("memory")
        n = len(made.truth["exposures"]) - 2
        npsf = n * references["ref_nints"]
        need = 2 * 12e-9 * nints * npsf * 320 * 320 + 2
        free = shutil.disk_usage(output).free / 1e9
        if free < need:
            report.skip(
                f"2 x {nints} integrations", f"{need:.0f} GB of disk needed, {free:.0f} free"
            )
            continue
        command = common.webbalign_command(
            made.association, output, align_refs__align_to="each", figure="false",
            align_refs__override_psfmask=made.mask,
        )  # fmt: skip
        used = common.measure(command, output / "log.txt")
        peaks[nints] = used.peak
        size = max(path.stat().st_size for path in output.glob("*_psfalign.fits")) / 1e9
        rows.append([f"2 x {nints}", f"{n} x {references['ref_nints']}", f"{size:.2f}",
                     f"{used.peak:.0f}", f"{used.wall:.0f}", f"{used.cpu:.0f}"])  # fmt: skip
        shutil.rmtree(output)
    middle = counts[1]
    if middle in peaks:
        what = f"2 x {middle} science, {rows[0][1]} reference integrations, `each`: peak resident"
        report.below(what, peaks[middle], LIMIT, ".0f", " MB")
    if len(peaks) == len(counts):
        growth = peaks[counts[-1]] - peaks[counts[0]]
        what = f"growth of the peak from 2 x {counts[0]} to 2 x {counts[-1]} science integrations"
        report.below(what, growth, GROWTH, ".0f", " MB")
    heads = ["science", "references", "each psfalign, GB", "peak, MB", "wall, s", "CPU, s"]
    report.table(heads, rows)
    report.note(
        "`webbalign coron3` in a process of its own, NIRCam 320 x 320; peak resident memory is the "
        "ru_maxrss of the operating system, memory-mapped pages and imports included. The "
        f"criterion names no number for growth: up to {GROWTH:.0f} MB over a fourfold number of "
        "integrations is called none here."
    )
    return report.write()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
