"""wcs adjust, criterion 1: corrections from the stars of one band, right in all bands."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

from typing import Any

from benchmarks import tweakreg_truth as truth
from benchmarks import wcs_adjust_truth as adjust
from benchmarks.report import Report

EACH, BEYOND = 1.0, 1.0  # mas
FEW_STARS = {"minobj": 5, "snr_threshold": 5.0}  # MIRI's bands show a few dozen


def run(
    made: truth.MosaicSet, bands: tuple[str, str], label: str, **options: Any
) -> dict[str, adjust.Offsets]:
    """Measure in the first band; what is left in each band once the table is applied."""
    folder = common.fresh(f"wcs-adjust-{label}")
    table = adjust.measured({bands[0]: made.files[bands[0]]}, folder, **options)
    left = {}
    for band in bands:
        paths = adjust.applied(table, made.files[band], folder / band)
        plane = next(iter(left.values())).plane if left else None
        left[band] = adjust.offsets(made, paths, plane)
        for path in paths:  # gigabytes
            path.unlink()
    return left


def each_exposure(
    report: Report, made: truth.MosaicSet, bands: tuple[str, str], **options: Any
) -> None:
    """Check one correction per exposure."""
    left = run(made, bands, f"{bands[0]}-exposures", **options)
    first, other = bands
    what = f"{first}, {len(left[first].visits)} images, one correction per exposure: rms"
    report.below(what, left[first].relative, EACH, ".3f", " mas")
    shared = _exposures(made, first) >= _exposures(made, other)
    if shared:
        what = f"{other}, {len(left[other].visits)} images, by what {first} gave: rms"
        report.below(what, left[other].relative, EACH, ".3f", " mas")
        return
    # exposures that were not measured get the mean of their visit
    floor = left[other].after_best(left[first]).relative
    excess = adjust.beyond(left[other].relative, floor)
    report.below(
        f"{other}, other exposures, by what {first} gave: {left[other].relative:.2f} mas, "
        f"beyond the {floor:.2f} mas of a perfect {first}",
        excess, EACH, ".2f", " mas",
    )  # fmt: skip


def _exposures(made: truth.MosaicSet, band: str) -> set[str]:
    return {path.name.rsplit("_", 2)[0] for path in made.files[band]}


def each_visit(
    report: Report, made: truth.MosaicSet, bands: tuple[str, str], **options: Any
) -> None:
    """Check one correction per visit."""
    group = "nircam" if bands == adjust.NIRCAM else "miri"
    left = run(made, bands, f"{bands[0]}-visits", group_dithers=[group], **options)
    for band in bands:
        floor = left[band].after_best(left[bands[0]]).relative
        value = left[band].relative
        own = left[band].after_best().relative
        report.below(
            f"{band}, one correction per visit: {value:.2f} mas, beyond the {floor:.2f} mas that "
            f"jitter leaves to a perfect measurement in {bands[0]}",
            adjust.beyond(value, floor), BEYOND, ".2f", " mas",
        )  # fmt: skip
        if band != bands[0]:
            report.number_only(f"{band}: left to corrections fitted to it", f"{own:.2f} mas")


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__, seed=(1, "of the simulation"))
    report = Report("wcs adjust 1a", "wcs_adjust_stars", "Stars of one band for all bands")
    for bands, options in ((adjust.NIRCAM, {}), (adjust.MIRI, {"tweakreg_parameters": FEW_STARS})):
        density = {"star_density": 2000.0} if chosen.quick else {}
        made = adjust.mosaic(bands, chosen.quick, seed=chosen.seed, **density)
        each_exposure(report, made, bands, **options)
        each_visit(report, made, bands, **options)
    report.note(
        "Four visits of four dithers in each band; pointing errors of 0.3-1 arcsec and 0.01 deg of "
        "roll per visit, 3 mas per axis and exposure (4.2 mas in all). The rms is that of the "
        "distance between the found and the true place of 49 pixels of every corrected file, after "
        "one shift and one rotation of the whole field, which images cannot tell. F150W is taken "
        "together with F300M and shares its exposures. MIRI's bands are exposures of their own, "
        "whose jitter nothing measured in another band can know: what a perfect measurement of "
        "the visit would leave is the floor there, and `beyond` is meant in quadrature. MIRI's "
        "bands have nebulosity and few stars; `minobj` and `snr_threshold` are 5 for them."
    )
    return report.write()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
