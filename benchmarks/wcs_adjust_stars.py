"""wcs adjust, criterion 1: corrections from the stars of one band, right in all bands."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

from typing import Any

from benchmarks import tweakreg_truth as truth
from benchmarks import wcs_adjust_truth as adjust
from benchmarks.report import Report
from benchmarks.wcs_adjust_limit import noise_limit

EACH, BEYOND = 1.0, 1.0  # mas


def run(
    made: truth.MosaicSet, bands: tuple[str, ...], label: str, **options: Any
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


def each_exposure(report: Report, made: truth.MosaicSet, bands: tuple[str, str]) -> None:
    """Check one correction per exposure."""
    left = run(made, bands, f"{bands[0]}-exposures")
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


def each_visit(report: Report, made: truth.MosaicSet, bands: tuple[str, str]) -> None:
    """Check one correction per visit."""
    group = "nircam" if bands == adjust.NIRCAM else "miri"
    left = run(made, bands, f"{bands[0]}-visits", group_dithers=[group])
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
            alone = left[band].of_corrections(left[bands[0]])
            report.number_only(
                f"{band}: error of the corrections alone, to which its own jitter adds by chance",
                f"{alone:.2f} mas",
            )


def other_fields(report: Report, first: int, count: int, quick: bool) -> None:
    """Measure other fields of MIRI, which have other stars, and what their noise allows."""
    band, rows = adjust.MIRI[0], []
    for seed in range(first, first + count):
        made = adjust.mosaic(adjust.MIRI, quick, seed=seed, **_density(quick))
        each = run(made, (band,), f"{band}-exposures")[band].relative
        visit = run(made, (band,), f"{band}-visits", group_dithers=["miri"])[band]
        floor = visit.after_best().relative
        own, shared = noise_limit(made, band)
        beyond = adjust.beyond(visit.relative, floor)
        rows.append([seed, *(f"{value:.2f}" for value in (each, shared, own, floor, beyond))])
    report.table(
        ["field (seed)", f"{band}, per exposure: rms, mas", "its noise limit, mas",
         "that without a common roll, mas", "per visit: left by jitter, mas",
         "per visit: beyond it, mas"],
        rows,
    )  # fmt: skip


def _density(quick: bool) -> dict[str, float]:
    return {"star_density": 2000.0} if quick else {}


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(
        __doc__, seed=(1, "of the simulation"), fields=(5, "fields of MIRI, of which one in full")
    )
    report = Report("wcs adjust 1a", "wcs_adjust_stars", "Stars of one band for all bands")
    for bands in (adjust.NIRCAM, adjust.MIRI):
        made = adjust.mosaic(bands, chosen.quick, seed=chosen.seed, **_density(chosen.quick))
        each_exposure(report, made, bands)
        own, shared = noise_limit(made, bands[0])
        text = f"{shared:.3f} mas (without a common roll {own:.3f})"
        report.number_only(f"{bands[0]}, one correction per exposure: noise limit", text)
        each_visit(report, made, bands)
    others = chosen.fields - 1
    if others and not chosen.quick:
        other_fields(report, chosen.seed + 1, others, chosen.quick)
    report.note(
        "Four visits of four dithers in each band; pointing errors of 0.3-1 arcsec and 0.01 deg of "
        "roll per visit, 3 mas per axis and exposure (4.2 mas in all). The rms is that of the "
        "distance between the found and the true place of 49 pixels of every corrected file, after "
        "one shift and one rotation of the whole field, which images cannot tell. F150W is taken "
        "together with F300M and shares its exposures. MIRI's bands are exposures of their own, "
        "whose jitter nothing measured in another band can know: what a perfect measurement of "
        "the visit would leave is the floor there, and `beyond` is meant in quadrature. No option "
        "is set. MIRI's bands have nebulosity and few stars: the noise limit is the Cramer-Rao "
        "bound of the same rms from the noise of the pixels, with all stars of a signal to noise "
        "of 5 in two exposures or more, if the PSF is known and places, fluxes and sky are fitted."
    )
    return report.write()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
