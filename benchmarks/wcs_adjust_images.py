"""wcs adjust, criterion 1: corrections from the images of a diffuse band, and their errors."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

from typing import Any

import numpy as np

from benchmarks import tweakreg_truth as truth
from benchmarks import wcs_adjust_truth as adjust
from benchmarks.report import Report

BAND, OTHER = "F770W", "F1000W"
BEYOND = 5.0  # mas
PULL = 0.8, 1.25
SMALL = 512  # px, side of the images of the many seeds by which errors are judged


def run(
    made: truth.MosaicSet, bands: tuple[str, ...], label: str
) -> tuple[Any, dict[str, adjust.Offsets]]:
    """Correlate the first band; what is left in each band."""
    folder = common.fresh(f"wcs-adjust-images-{label}")
    table = adjust.measured({bands[0]: made.files[bands[0]]}, folder, method="cross_corr")
    left: dict[str, adjust.Offsets] = {}
    for band in bands:
        paths = adjust.applied(table, made.files[band], folder / band)
        left[band] = adjust.offsets(made, paths, left[bands[0]].plane if left else None)
        for path in paths:
            path.unlink()
    return table, left


def accuracy(report: Report, made: truth.MosaicSet, bands: tuple[str, ...], label: str) -> None:
    """Check what is left, and that no visit is wrong."""
    table, left = run(made, bands, label.replace(" ", "-").replace(",", ""))
    for band in bands:
        floor = left[band].after_best(left[bands[0]]).relative
        value = left[band].relative
        report.below(
            f"{band}, {label}: {value:.2f} mas, beyond the {floor:.2f} mas that jitter leaves to a "
            f"perfect measurement in {bands[0]}",
            adjust.beyond(value, floor), BEYOND, ".2f", " mas",
        )  # fmt: skip
    visits(report, table, left[bands[0]], f"{bands[0]}, {label}")


def visits(report: Report, table: Any, left: adjust.Offsets, label: str) -> None:
    """Check that every visit is aligned, and none wrong."""
    off = left.by_visit()
    wrong = [name for name, value in off.items() if not value <= adjust.WRONG]
    aligned = [str(entry.key) for entry in table.entries if entry.is_aligned]
    report.true(
        f"{label}: visits called aligned, and wrong ones (over {adjust.WRONG:g} mas from the best)",
        not wrong and len(aligned) == len(off),
        f"{len(aligned)} of {len(off)}, {len(wrong)} wrong; at most {max(off.values()):.2f} mas",
        "all, 0",
    )  # fmt: skip


def errors(report: Report, quick: bool, seeds: int) -> None:
    """Check the stated errors over many skies and pointings."""
    rows, found, worst = [], [], 0.0
    for seed in range(1, seeds + 1):
        made = adjust.mosaic((BAND,), quick, seed=seed, size=320 if quick else SMALL)
        table, left = run(made, (BAND,), f"seed-{seed}")
        pull = adjust.pulls(table, left[BAND])
        found.append(pull)
        off = max(left[BAND].by_visit().values())
        worst = max(worst, off)
        entry = next(entry for entry in table.entries if entry.errors.any())
        rows.append(
            [seed, len(pull), f"{off:.2f}", f"{1e3 * entry.errors.max():.2f}",
             *(f"{value:.2f}" for value in _rms(pull, axis=0))]
        )  # fmt: skip
    every = np.concatenate(found)
    what = f"{BAND}, {seeds} fields of {SMALL} px: pull"
    report.within(f"{what} of shifts", [_rms(every[:, :2])], *PULL)
    report.within(f"{what} of rolls", [_rms(every[:, 2])], *PULL)
    report.below(f"{BAND}, {seeds} fields: worst visit, from its best correction", worst,
                 adjust.WRONG, ".2f", " mas")  # fmt: skip
    report.table(
        ["seed", "visits", "worst visit, mas", "largest stated error, mas", "pull x", "pull y",
         "pull roll"], rows,
    )  # fmt: skip


def _rms(values: Any, axis: int | None = None) -> Any:
    return np.sqrt(np.mean(np.square(values), axis=axis))


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__, seeds=(16, "fields by which errors are judged"))
    report = Report("wcs adjust 1b", "wcs_adjust_images", "Images of a diffuse band")
    made = adjust.mosaic((BAND, OTHER), chosen.quick)
    accuracy(report, made, (BAND, OTHER), "4 visits of one field")
    if not chosen.quick:
        tiles = adjust.mosaic((BAND,), chosen.quick, tiles=(2, 2), tile_overlap=0.2)
        accuracy(report, tiles, (BAND,), "4 tiles that overlap by a fifth")
    fields = 2 if chosen.quick else chosen.seeds
    errors(report, chosen.quick, fields)
    report.note(
        "`--method cross_corr`; nebulosity and few stars, four visits of four dithers, pointing "
        "errors of 0.3-1 arcsec, 0.01 deg of roll, 3 mas per axis and exposure. Judged by the GWCS "
        "of the corrected files on 49 pixels of each, after one rigid move of the field; `beyond` "
        "is meant in quadrature. The other band has exposures of its own, whose jitter nothing "
        "measured elsewhere can know. Pulls: errors of shift and roll of each visit with respect "
        "to the reference visit, whose own error is that of the frame, divided by the stated "
        "errors; their rms over all visits and fields. Visits of a field share the error of the "
        f"reference: {fields} fields tell the pull to about {0.37 / fields**0.5:.0%}."
    )
    return report.write()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
