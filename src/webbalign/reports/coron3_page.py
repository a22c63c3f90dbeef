"""The report of a coron3 run, made from its products (ours, or those of jwst)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.core.annuli import annular_rms
from webbalign.products.coron_products import CoronProducts, ExposureProducts
from webbalign.products.names import root
from webbalign.reports import coron3_plots as plots
from webbalign.reports.axes import number
from webbalign.reports.combined_plots import has_errors, plot_combined
from webbalign.reports.coron3_limits import limits
from webbalign.reports.page import Comparison, Link, Page, Plot, Section, Table, write_page

__all__ = ["coron3_page", "report_coron3"]

# Rings of the table, arcsec.
RINGS = (0.4, 0.7, 1.0, 1.5, 2.5)
# Of fewer integrations no outliers can be told.
LEAST_INTEGRATIONS = 3


def report_coron3(
    products: CoronProducts,
    folder: str | Path | None = None,
    *,
    star_flux: float | None = None,
    marks: Sequence[tuple[float, float]] = (),
) -> list[Path]:
    """Write the report of a run beside its products, or into `folder`.

    Parameters
    ----------
    products : CoronProducts
    folder : str or Path, optional
    star_flux : float, optional
        Flux of the star in Jy, for contrasts.
    marks : sequence of (float, float)
        Sky positions (RA, Dec in degrees) to mark.

    Returns
    -------
    list of Path
        What was written; the page first.
    """
    target = Path(folder or products.path.parent) / f"{root(products.path)}_report.html"
    return write_page(coron3_page(products, target.parent, star_flux, marks), target)


def coron3_page(
    products: CoronProducts,
    folder: Path,
    star_flux: float | None = None,
    marks: Sequence[tuple[float, float]] = (),
) -> Page:
    """Make the report; `folder` is where it is going to lie."""
    header = products.header
    words = [header.get(key) for key in ("INSTRUME", "FILTER", "CORONMSK")]
    target = header.get("TARGPROP") or header.get("TARGNAME") or "unnamed target"
    count = len(products.exposures)
    return Page(
        title=f"coron3: {target}",
        subtitle=f"{' '.join(filter(None, words))}, program {header.get('PROGRAM', 'unknown')}, "
        f"{count} science exposure{'s' * (count > 1)}; {products.path.name}",
        warnings=list(_warnings(products)),
        sections=[
            _result(products, marks),
            _before_and_after(products),
            limits(products, star_flux),
            _alignment(products),
            _starlight(products),
            _files(products, folder),
        ],
    )


def _warnings(products: CoronProducts) -> Iterator[str]:
    """Say in words what the user should look at."""
    if not has_errors(products.combined):
        yield f"{products.path.name} holds no errors: no significance can be given."
    yield from _about_rolls(products)
    few = [e.name for e in products.exposures if len(e.subtracted.data) < LEAST_INTEGRATIONS]
    if few:
        yield (
            f"{', '.join(few)}: fewer than {LEAST_INTEGRATIONS} integrations, among which outliers "
            "cannot be told."
        )
    for exposure in products.exposures:
        for text, missing in (("_crfints", exposure.crfints), ("_psfalign", exposure.psfalign)):
            if missing is None:
                yield f"{exposure.name}: its {text} file is not here; what it tells is left out."
        table = exposure.shifts
        if table is None and exposure.psfalign is not None:
            yield f"{exposure.name}: {exposure.psfalign.name} holds no table of fitted shifts."
        elif table is not None:
            yield from _about_fits(exposure.name, table)
        status = exposure.subtracted.meta.cal_step
        for step, done in (("alignment", status.align_psfs), ("subtraction", status.klip)):
            if done not in ("COMPLETE", None):
                yield f"{exposure.name}: the {step} is {done}."
        if not _is_cleaned(exposure):
            yield (
                f"{exposure.name}: the rms between 0.4 and 1 arcsec fell by less than a factor of "
                "1.5: the references do not match this star, or it is not where the header says."
            )


def _about_rolls(products: CoronProducts) -> Iterator[str]:
    """Say whether the WCS of the exposures disagree about the star, and that it blurs the image."""
    if products.combined_on == "star":
        return
    known = [e for e in products.exposures if e.subtracted.meta.wcsinfo.crpix1 is not None]
    for exposure in known[1:]:
        sky = exposure.subtracted.meta.wcs(*exposure.star, with_bounding_box=False)
        place = known[0].subtracted.meta.wcs.invert(*sky, with_bounding_box=False)
        distance = float(np.hypot(*np.subtract(place, known[0].star)))
        if distance > 0.5:
            yield (
                f"By their WCS the star of {exposure.name} is {distance:.1f} px away from that of "
                f"{known[0].name}: the combined image is blurred by this, unless it was combined "
                "on the star (--resample.combine-on star)."
            )


def _about_fits(name: str, table: np.ndarray) -> Iterator[str]:
    failed = table["status"] != b"OK"
    if failed.any():
        words = ", ".join(sorted({str(word, "ascii") for word in table["status"][failed]}))
        yield f"{name}: {failed.sum()} of {len(table)} references could not be aligned ({words})."
    standing_off = plots.outlying(table) & ~failed
    if standing_off.any():
        count = standing_off.sum()
        yield f"{name}: {count} of {len(table)} fits stand off the others of their reference."


def _is_cleaned(exposure: ExposureProducts) -> bool:
    if exposure.before is None:
        return True  # as far as can be told
    edges = np.array([0.4, 1.0]) / _scale(exposure.subtracted)
    before = annular_rms(exposure.before, exposure.star, edges)[0]
    after = annular_rms(exposure.after, exposure.star, edges)[0]
    return not before < 1.5 * after


def _result(products: CoronProducts, marks: Sequence[tuple[float, float]]) -> Section:
    return Section(
        "result", "The combined image",
        items=plot_combined(products, marks),
    )  # fmt: skip


def _before_and_after(products: CoronProducts) -> Section:
    known = [exposure for exposure in products.exposures if exposure.before is not None]
    items: list[Plot | Table | Comparison] = [
        plots.views(exposure, _scale(exposure.subtracted)) for exposure in known
    ]
    items.append(plots.plot_rms(products.exposures, _scale(products.exposures[0].subtracted)))
    items.append(_rms_table(products))
    return Section("subtraction", "Before and after", items=items)


def _rms_table(products: CoronProducts) -> Table:
    rows = []
    for exposure in products.exposures:
        edges = np.array(RINGS) / _scale(exposure.subtracted)
        after = annular_rms(exposure.after, exposure.star, edges)
        before = np.full(len(after), np.nan)
        if exposure.before is not None:
            before = annular_rms(exposure.before, exposure.star, edges)
        cells = [f"{number(b)} → {number(a)}" for b, a in zip(before, after, strict=True)]
        rows.append([exposure.name, *cells])
    rings = [f"{a:g}–{b:g}″" for a, b in pairwise(RINGS)]
    unit = products.combined.meta.bunit_data or "the unit of the images"
    return Table(
        "Rms in rings", ["exposure", *rings], rows, f"Mean of the integrations, in {unit}."
    )


def _alignment(products: CoronProducts) -> Section:
    known = [exposure for exposure in products.exposures if exposure.shifts is not None]
    items: list[Plot | Table | Comparison] = []
    if known:
        items += [plots.plot_shifts(known), plots.plot_fits(known)]
    items += [plots.plot_weight(known[0])] if known and known[0].weight is not None else []
    text = _about_alignment(known) if known else "The products hold no table of fitted shifts."
    return Section("alignment", "Alignment of the references", text, items)


def _about_alignment(known: Sequence[ExposureProducts]) -> str:
    """Say how far the references were shifted, and under which weight."""
    tables = np.concatenate([e.shifts for e in known if e.shifts is not None])
    length = np.hypot(tables["dx"], tables["dy"])
    error = np.hypot(tables["dx_err"], tables["dy_err"]) / np.sqrt(2)
    text = (
        f"{len(tables)} pairs of a reference and a science integration; median shift "
        f"{np.nanmedian(length):.3f} px, known to {np.nanmedian(error):.2g} px."
    )
    names = ", ".join(sorted({e.mask_name for e in known if e.mask_name}))
    return f"{text} The weight of the pixels: {names}." if names else text


def _starlight(products: CoronProducts) -> Section:
    known = [e for e in products.exposures if e.eigenvalues is not None]
    if not known:
        text = "The products hold no eigenvalues and no modes."
        return Section("starlight", "Model of the starlight", text)
    items = [plots.plot_eigenvalues(known)]
    items += [plots.plot_modes(known[0])] if known[0].modes is not None else []
    return Section("starlight", "Model of the starlight", items=items)


def _files(products: CoronProducts, folder: Path) -> Section:
    rows: list[list[str | Link]] = [[_link(path, folder), _size(path)] for path in products.files]
    items: list[Plot | Table | Comparison] = [_exposure_table(products)]
    items += [_reference_table(products, folder)] if products.references else []
    plot = plots.plot_flagged(products)
    items += [plot] if plot is not None else []
    items.append(Table("Products", ["file", "size"], rows))
    return Section("files", "What went in, and what came out", items=items)


def _exposure_table(products: CoronProducts) -> Table:
    rows = []
    for exposure in products.exposures:
        meta = exposure.subtracted.meta
        flagged = exposure.n_flagged
        rows.append([
            exposure.name, meta.target.proposer_name or "-",
            " ".join(filter(None, (meta.instrument.filter, meta.instrument.coronagraph))),
            number(meta.aperture.position_angle, ".2f"), str(exposure.subtracted.shape[0]),
            "-" if exposure.shifts is None else str(len(np.unique(exposure.shifts["psf_int"]))),
            "-" if flagged is None else _range(flagged),
        ])  # fmt: skip
    head = ["exposure", "target", "filter, mask", "PA [deg]", "integrations", "references",
            "flagged pixels per integration"]  # fmt: skip
    return Table("Science exposures", head, rows)


def _reference_table(products: CoronProducts, folder: Path) -> Table:
    rows: list[list[str | Link]] = []
    for reference in products.references:
        header, flagged = reference.header, reference.n_flagged
        rows.append([
            reference.name if reference.crfints is None else _link(reference.crfints, folder),
            header.get("TARGPROP") or header.get("TARGNAME") or "-",
            " ".join(filter(None, map(header.get, ("FILTER", "CORONMSK")))) or "-",
            "-" if flagged is None else str(len(flagged)),
            "-" if flagged is None else _range(flagged),
            "-" if reference.crfints is None else _size(reference.crfints),
        ])  # fmt: skip
    head = ["exposure", "target", "filter, mask", "integrations", "flagged pixels per integration",
            "size"]  # fmt: skip
    return Table("Exposures of reference stars", head, rows)


def _range(counts: np.ndarray) -> str:
    least, largest = int(counts.min()), int(counts.max())
    middle = int(np.median(counts))
    return str(least) if least == largest else f"{least} to {largest}, median {middle}"


def _link(path: Path, folder: Path) -> Link:
    import os

    return Link(path.name, Path(os.path.relpath(path, folder)).as_posix())


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def _scale(model: Any) -> float:
    """Return the size of a pixel in arcsec."""
    return float(np.sqrt(model.meta.photometry.pixelarea_arcsecsq or np.nan))
